"""LearnedLandscape: the mapping θ, then the frozen forward model F."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from . import batches
from .batches import Batch
from .guest import frozen, seed_torch
from .layout import Layout, X
from .mappings.anchored import AnchoredMapping
from .mappings.context import Context
from .mappings.mapping import Mapping, MappingSpec, PlainMapping
from .objective import Evaluation, ForwardModel, Given
from .precision import Autocast
from .workload import counted


class LearnedLandscape(nn.Module):
    """A forward model seen through a learned input space: z ↦ F(θ(z; context)).

    F is a guest. It is held, never owned: it is no submodule, so ``parameters()``, ``to()`` and ``state_dict()``
    speak of θ alone, and F's weights, buffers, modes and gradients stay as they are.

    Args:
        forward_model: F, an ``nn.Module`` or a function, batched in dimension 0: x (B, …) → prediction (a Tensor,
            or a tuple or dict of Tensors, batch first). With ``given`` it takes a second argument.
        x_init: the plain start, *without* batch dimension; a Tensor, or a dict of Tensors if F takes a dict.
        mapping: θ; None takes a fresh :class:`~landscape_opt.mappings.AnchoredMapping`.
        given: picks from a batch of targets what F is given beside x, row by row:
            ``given=lambda target: target["camera"]``.
        precision: what F is computed in: None as it is, ``Autocast(torch.bfloat16)`` in half precision, with all else in
            float32 (:class:`~landscape_opt.precision.Autocast`).

    Raises:
        TypeError: if ``forward_model`` is not callable, or ``x_init`` not floating-point.

    Example:
        >>> import torch
        >>> from landscape_opt import LearnedLandscape
        >>> landscape = LearnedLandscape(torch.nn.Linear(3, 5), x_init=torch.zeros(3))
        >>> landscape(torch.zeros(2, 3)).shape  # before any fit θ(z) = x_init + z
        torch.Size([2, 5])
    """

    def __init__(
        self,
        forward_model: ForwardModel,
        x_init: X,
        mapping: Mapping | None = None,
        given: Given | None = None,
        precision: Autocast | None = None,
    ) -> None:
        super().__init__()
        if not callable(forward_model):
            raise TypeError(f"forward_model must be callable, got {type(forward_model).__name__}")
        if mapping is not None and not isinstance(mapping, Mapping):
            raise TypeError(f"mapping must be a landscape_opt.mappings.Mapping, got {type(mapping).__name__}")
        if given is not None and not callable(given):
            raise TypeError(f"given must be a function of a batch of targets, got {type(given).__name__}")
        if precision is not None and not isinstance(precision, Autocast):
            raise TypeError(f"precision must be an Autocast, as Autocast(torch.bfloat16), got {precision!r}")
        self.layout = Layout(x_init)
        self._guest = (forward_model,)  # in a tuple, so that nn.Module does not adopt it
        self.mapping = AnchoredMapping() if mapping is None else mapping
        self.given, self.precision = given, precision
        if precision is not None:
            precision.around(forward_model, self.layout)  # refuses an x that autocast leaves alone

    @property
    def forward_model(self) -> ForwardModel:
        """F, as it was given."""
        return self._guest[0]

    @property
    def is_fitted(self) -> bool:
        """Whether θ has seen a round of fitting."""
        return self.mapping.is_built and bool(self.mapping.fitted)

    def x(self, z: Tensor, target: Batch | None = None, evaluation: Evaluation | None = None) -> Any:
        """θ(z; what is known), in the format of ``x_init``.

        Args:
            z: (B, d).
            target: a batch of targets, where θ is to be told.
            evaluation: the last evaluation of F, where there is one.
        """
        features = None if target is None else self.features(target)
        return self.layout.structured(self._mapped(z, Context(features, None, evaluation)))

    def forward(self, z: Tensor, target: Batch | None = None, evaluation: Evaluation | None = None) -> Any:
        """F(θ(z; what is known)): the prediction, differentiable in z and θ."""
        extra = () if self.given is None else (self.given(target),)
        with self.guest() as forward_model:
            return forward_model(self.x(z, target, evaluation), *extra)

    @contextmanager
    def guest(self) -> Iterator[ForwardModel]:
        """F as all that is computed here calls it: frozen, and in its precision."""
        with frozen(self.forward_model) as forward_model:
            yield forward_model if self.precision is None else self.precision.around(forward_model, self.layout)

    def _mapped(self, z: Tensor, context: Context) -> Tensor:
        if self.mapping.is_built:
            mapped: Tensor = self.mapping(z, context)
            return mapped
        return z + (self.layout.row if context.evaluation is None else context.evaluation.x)

    def features(self, target: Batch) -> Tensor | None:
        """What θ can read of a batch of targets, (B, m), or None."""
        return batches.features(target, self.layout.dtype, self.layout.device)

    def known_features(self, target: Batch, observed: Batch) -> Tensor | None:
        """Which of the features were observed, (B, m) of 0 and 1; one pooled of many counts if all of them were."""
        weights = batches.map_pairs(
            lambda leaf, mask: (mask > 0).to(leaf.dtype) if leaf.is_floating_point() else (mask > 0).long(), target, observed
        )
        seen = self.features(weights)
        return None if seen is None else (seen > 0.999).to(seen)

    def build(self, forward_model: ForwardModel, target: Batch, seed: int) -> None:
        """Give θ its weights, once a batch of targets shows the sizes."""
        if self.mapping.is_built:
            self.check_fits(target)
            return
        few = batches.rows(target, torch.arange(min(8, batches.size(target))))
        extra = () if self.given is None else (self.given(few),)
        x = self.layout.structured(self.layout.start(batches.size(few)))
        workload = counted(lambda: forward_model(x, *extra), batches.size(few))
        seen = batches.features(workload.prediction, self.layout.dtype, self.layout.device)
        spec = MappingSpec(
            x_init=self.layout.row,
            num_target_features=self._num_features(target),
            num_prediction_features=0 if seen is None else seen.shape[1],
            evaluation_cost=workload.evaluation_cost,
            call_cost=workload.call_cost,
        )
        seed_torch(seed, self.layout.device)  # inside private_randomness: the user's global state never sees it
        self.mapping.build(spec)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What ``to()``, ``cuda()`` and ``cpu()`` come down to: x lies where θ does. Its dtype is that of ``x_init``."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.layout.to(fn(self.layout.row).device)
        if self.mapping.spec is not None:
            self.mapping.spec = replace(self.mapping.spec, x_init=self.layout.row)
        return self

    def check_fits(self, target: Batch) -> None:
        """Refuse targets of another size than θ was built for."""
        self.mapping.check_fits(self._num_features(target))

    def _num_features(self, target: Batch) -> int:
        features = self.features(target)
        return 0 if features is None else features.shape[1]

    def in_use(self) -> Mapping:
        """The mapping that descent goes through: θ once it is fitted, before that the plain one."""
        return self.mapping if self.is_fitted else self.plain()

    def plain(self) -> PlainMapping:
        """The mapping that learns nothing: descent through it is descent in X."""
        mapping = PlainMapping()
        mapping.build(MappingSpec(self.layout.row, 0, 0))
        return mapping
