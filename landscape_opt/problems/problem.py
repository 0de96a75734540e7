"""What a benchmark needs to know of an inverse problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..batches import Batch
from ..landscape import LearnedLandscape
from ..layout import Layout, X
from ..mappings.mapping import Mapping
from ..objective import ForwardModel, Given, LossFn
from ..terms import ExtraTerm


@dataclass(frozen=True, eq=False, kw_only=True)
class TargetSet:
    """Targets to invert, with what is asked for beside the loss.

    Attributes:
        targets: A batch, in the format of the problem's other targets.
        observed: Which elements of ``targets`` were observed, True and False, in their format; None is all of them.
        extra_terms: Functions (x, prediction) → (B,) that are added to the loss: constraints that no fit has seen.
        described_as: What is unlike the training targets, in half a sentence.
    """

    targets: Batch = field(repr=False)
    observed: Batch | None = field(default=None, repr=False)
    extra_terms: tuple[ExtraTerm, ...] = field(default=(), repr=False)
    described_as: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Metric:
    """A figure that people of the field know, beside the loss.

    Attributes:
        name: As in a table.
        unit: Of the figure, ``"mm"``; empty where it has none.
        of: Maps (x, prediction, target) to one figure per sample, ``(B,)``.
    """

    name: str
    unit: str
    of: Callable[[Any, Any, Any], Tensor] = field(repr=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A differentiable forward model together with the targets to invert.

    Shapes: ``B`` is the batch, ``X`` the shape of one ``x``, ``Y`` the shape of one target.

    Attributes:
        name: A short name, used in tables.
        forward_model: ``F``, maps ``x`` of shape ``(B, *X)`` to a prediction of shape ``(B, *Y)``.
        loss_fn: Maps (prediction, target), both ``(B, *Y)``, to one loss per sample, ``(B,)``; a
            :class:`~landscape_opt.LeastSquares` where it is a sum of squares.
        x_init: The plain start that every method shares, shape ``X`` (no batch dimension).
        train: Targets that landscapes and encoders are fitted on, shape ``(N, *Y)``.
        validation: Targets that methods are tuned on, shape ``(N, *Y)``.
        test: Targets for the reported figures only, shape ``(N, *Y)``.
        hard_because: One sentence on what makes the inversion difficult.
        partly: Test targets of which a part was not observed. No fit ever sees a mask.
        unfamiliar: Test targets from another distribution than those of the fit.
        metric: The figure that people know.
        given: What F is told of a target beside ``x``, as in :class:`~landscape_opt.LearnedLandscape`.

    Example:
        >>> import torch
        >>> targets = torch.linspace(-1.0, 1.0, 30)[:, None]
        >>> problem = Problem(
        ...     name="sine",
        ...     forward_model=torch.sin,
        ...     loss_fn=lambda prediction, target: (prediction - target).square().sum(1),
        ...     x_init=torch.zeros(1),
        ...     train=targets[:10],
        ...     validation=targets[10:20],
        ...     test=targets[20:],
        ...     hard_because="A sine is flat at its extremes.",
        ... )
        >>> x = problem.x_init.expand(10, 1)
        >>> problem.loss_fn(problem.forward_model(x), problem.test).shape
        torch.Size([10])
    """

    name: str
    forward_model: ForwardModel = field(repr=False)
    loss_fn: LossFn = field(repr=False)
    x_init: X = field(repr=False)
    train: Any = field(repr=False)
    validation: Any = field(repr=False)
    test: Any = field(repr=False)
    hard_because: str
    partly: TargetSet | None = field(default=None, repr=False)
    unfamiliar: TargetSet | None = field(default=None, repr=False)
    metric: Metric | None = None
    given: Given | None = field(default=None, repr=False)

    def landscape(self, mapping: Mapping | None = None) -> LearnedLandscape:
        """A landscape of F, with nothing learned so far."""
        return LearnedLandscape(self.forward_model, self.x_init, mapping, self.given)

    @property
    def dim(self) -> int:
        """Numbers in one x."""
        return Layout(self.x_init).dim

    def test_sets(self) -> dict[str, TargetSet]:
        """What figures are reported on, by name: in distribution first, then what there is beside it."""
        sets = {
            "in distribution": TargetSet(targets=self.test),
            "partly observed": self.partly,
            "out of distribution": self.unfamiliar,
        }
        return {name: one for name, one in sets.items() if one is not None}
