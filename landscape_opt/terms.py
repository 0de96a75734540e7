"""What an inversion asks for beside the loss: a mask of what was observed, further terms, bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .layout import Layout

ExtraTerm: TypeAlias = "Callable[[Any, Any], Tensor] | PerTarget"
Bounds: TypeAlias = "tuple[Any, Any]"


class PerTarget:
    """An extra term that is told something of every target: a point for every hand, a last pose for every body.

    Rows leave the batch as they end and others take their places, so that a function of x and the prediction alone cannot
    know which targets it sees.

    Args:
        term: (x, prediction, told) → (B,), with the rows of ``told`` that belong to those of x.
        told: a Tensor, or a tuple or dict of Tensors, with one row for each target.

    Raises:
        TypeError: if ``term`` is not callable, or ``told`` not made of Tensors.

    Example:
        >>> import torch
        >>> near = PerTarget(lambda x, prediction, last: (x - last).square().sum(1), torch.zeros(5, 3))
        >>> near(torch.ones(2, 3), None, near.told[:2])
        tensor([3., 3.])
    """

    def __init__(self, term: Callable[[Any, Any, Any], Tensor], told: Batch) -> None:
        if not callable(term):
            raise TypeError(f"term must be a function (x, prediction, told) → (B,), got {type(term).__name__}")
        batches.size(told)
        self.term, self.told = term, told

    def __call__(self, x: Any, prediction: Any, told: Any) -> Tensor:
        """The term of some rows, (B,)."""
        return self.term(x, prediction, told)


@dataclass(frozen=True)
class Terms:
    """Additions to the objective of one inversion.

    Attributes:
        masked: whether weights of the targets' elements come with them, {"target": …, "observed": …}.
        extra: callables (x, prediction) → (B,), added to the loss; x in the format of ``x_init``. What is told to each
            :class:`PerTarget` comes with the targets, too, {"target": …, "told": (…)}.
        lower: of x, flat, (d,); minus infinity where there is none. None: no bounds at all.
        upper: likewise.
    """

    masked: bool = False
    extra: tuple[ExtraTerm, ...] = ()
    lower: Tensor | None = None
    upper: Tensor | None = None

    @property
    def bundled(self) -> bool:
        """Whether targets come as a dict, with what else is known of them."""
        return self.masked or bool(self._per_target)

    @property
    def _per_target(self) -> list[PerTarget]:
        return [term for term in self.extra if isinstance(term, PerTarget)]

    def bundle(self, target: Batch, observed: Any) -> Any:
        """Targets as the objective takes them. Raises ValueError where a term is told of another number of targets."""
        if not self.bundled:
            return target
        told = tuple(term.told for term in self._per_target)
        for one in told:
            if batches.size(one) != batches.size(target):
                raise ValueError(
                    f"a PerTarget term is told of {batches.size(one)} targets, there are {batches.size(target)}"
                )
        return {"target": target, **({"observed": observed} if self.masked else {}), **({"told": told} if told else {})}

    def values(self, x: Any, prediction: Any, bundle: Any) -> list[Any]:
        """The extra terms of some rows, (B,) each."""
        told = iter(bundle["told"] if self._per_target else ())
        return [
            term(x, prediction, next(told)) if isinstance(term, PerTarget) else term(x, prediction) for term in self.extra
        ]

    def feasible(self, x: Tensor) -> Tensor:
        """The nearest x (B, d) within the bounds."""
        return x if self.lower is None or self.upper is None else torch.minimum(torch.maximum(x, self.lower), self.upper)

    def free(self, x: Tensor, grad_x: Tensor) -> Tensor:
        """The gradient without the parts that a bound takes up: zero at a solution on the bound."""
        if self.lower is None or self.upper is None:
            return grad_x
        held = ((x <= self.lower) & (grad_x > 0)) | ((x >= self.upper) & (grad_x < 0))
        return torch.where(held, 0.0, grad_x)


def given_target(target: Any, terms: Terms) -> Any:
    """The user's own batch of targets."""
    return target["target"] if terms.bundled else target


def weighed(prediction: Batch, bundle: Any) -> tuple[Any, Any]:
    """Prediction and target, alike in what was not observed.

    Where the weight w is 0 both are 0; elsewhere the prediction p becomes y + √w (p − y), so that a squared error is
    weighed by w, and a mask of True and False takes elements in or leaves them out of any loss that compares
    element by element.
    """
    shapes = [[leaf.shape for leaf in batches.leaves(part)] for part in (prediction, bundle["target"])]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"observed needs a target of the shape of the prediction, got {[tuple(one) for one in shapes[1]]} and "
            f"{[tuple(one) for one in shapes[0]]}; put the mask into the target instead, and read it in loss_fn"
        )
    weights, target = iter(batches.leaves(bundle["observed"])), iter(batches.leaves(bundle["target"]))
    targets: list[Tensor] = []

    def weigh(leaf: Tensor) -> Tensor:
        w, y = next(weights), next(target)
        seen = w > 0
        y = torch.where(seen, y, 0)
        targets.append(y)
        if w.dtype == torch.bool:
            return torch.where(seen, leaf, y)
        return torch.where(seen, y + w.sqrt() * (leaf - y), y)

    mixed = batches.map_leaves(weigh, prediction)
    taken = iter(targets)
    return mixed, batches.map_leaves(lambda _: next(taken), bundle["target"])


def checked_mask(observed: Any, target: Batch) -> Any:
    """The mask, a weight for every element of the target.

    Raises:
        TypeError: if it is not made of Tensors.
        ValueError: if its parts do not fit those of the target, or hold something negative or not finite.
    """
    parts, wanted = batches.leaves(observed), batches.leaves(target)
    if len(parts) != len(wanted):
        raise ValueError(f"observed has {len(parts)} parts, the target {len(wanted)}; give one mask for each part")
    expanded = []
    for mask, leaf in zip(parts, wanted, strict=True):
        if mask.shape != leaf.shape[: mask.ndim]:
            raise ValueError(
                f"observed has shape {tuple(mask.shape)}, the target {tuple(leaf.shape)}; they must be the same, or "
                "observed may lack last dimensions"
            )
        if mask.is_floating_point() and not bool((mask.isfinite() & (mask >= 0)).all()):
            raise ValueError("observed holds weights that are negative or not finite")
        if not mask.is_floating_point():
            mask = mask.bool()
        expanded.append(mask.reshape(*mask.shape, *[1] * (leaf.ndim - mask.ndim)).expand_as(leaf))
    taken = iter(expanded)
    return batches.map_leaves(lambda _: next(taken), target)


def without_hidden(target: Batch, observed: Batch) -> Any:
    """The target with 0 where nothing was observed: what stands there, NaN perhaps, is never looked at."""
    return batches.map_pairs(lambda leaf, mask: torch.where(mask > 0, leaf, torch.zeros_like(leaf)), target, observed)


def checked_bounds(bounds: Any, layout: Layout) -> tuple[Tensor | None, Tensor | None]:
    """Lower and upper bound of a flat x, (d,).

    Raises:
        ValueError: if there are not two of them, or a lower one is above its upper one.
    """
    if bounds is None:
        return None, None
    if not isinstance(bounds, Sequence) or len(bounds) != 2:
        raise ValueError("bounds must be a pair (lower, upper), each a number, a Tensor, or in the format of x_init")
    lower, upper = (layout.flat_like(bound) for bound in bounds)
    if bool((lower > upper).any()) or bool(lower.isnan().any()) or bool(upper.isnan().any()):
        raise ValueError("bounds: a lower bound is above its upper bound, or one is NaN")
    return lower, upper
