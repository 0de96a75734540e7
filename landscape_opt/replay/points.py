"""Points that θ is fitted on, and the interface of every source of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..memory import Memory
from ..objective import Evaluation, Objective


@dataclass(frozen=True)
class Points:
    """States of trajectories, with everything that θ's objective compares.

    Attributes:
        target: (B, …), a batch.
        context: what θ is told.
        z: the point in Z, frozen, (B, dim_z); ignored by a mapping that anchors a chart at every evaluation, whose own
            gradient step from z = 0 is retaken under θ as it is now.
        fixed_x: rows whose x is given instead of mapped, (B, d), where ``is_fixed``; None if there are none.
        is_fixed: (B,).
        loss_before: L at the evaluation before this point, (B,), NaN where there was none.
        end: where the row's trajectory converged, (B, d); None where that is not known yet.
    """

    target: Batch
    context: Context
    z: Tensor
    loss_before: Tensor
    fixed_x: Tensor | None = None
    is_fixed: Tensor | None = None
    end: Tensor | None = None

    def rows(self, index: Tensor) -> Points:
        """The rows that ``index`` picks."""
        return Points(
            target=batches.rows(self.target, index),
            context=self.context.rows(index),
            z=self.z[index],
            loss_before=self.loss_before[index],
            fixed_x=None if self.fixed_x is None else self.fixed_x[index],
            is_fixed=None if self.is_fixed is None else self.is_fixed[index],
            end=None if self.end is None else self.end[index],
        )

    def origin(self, mapping: Mapping) -> Tensor:
        """Where the step to these points began, (B, d) or (d,): at the last evaluation, or at the plain start."""
        evaluation = self.context.evaluation
        if evaluation is None:
            return mapping.x_init
        return torch.where(self.loss_before.isnan()[:, None], mapping.x_init, evaluation.x)

    def reach(self, mapping: Mapping) -> Tensor:
        """x of these points under θ as it is now, (B, d), with its graph."""
        context, fresh = self.context, self.loss_before.isnan()
        if context.evaluation is None or not mapping.reanchors:
            x: Tensor = mapping(self.z, context)
        elif not bool(fresh.any()):
            x = _landscape_step(mapping, context)
        else:
            old, new = (~fresh).nonzero()[:, 0], fresh.nonzero()[:, 0]
            before_any = Context(context.target, context.known).rows(new)
            parts = [mapping(self.z[new], before_any)]
            if len(old):
                parts.append(_landscape_step(mapping, context.rows(old)))
            x = torch.cat(parts)[torch.cat([new, old]).argsort()]
        if self.fixed_x is None or self.is_fixed is None:
            return x
        return torch.where(self.is_fixed[:, None], self.fixed_x, x)


def _landscape_step(mapping: Mapping, context: Context) -> Tensor:
    """The landscape's own gradient step from z = 0; the graph runs through both uses of J."""
    assert context.evaluation is not None
    local, grad_x = mapping.local(context), context.evaluation.grad_x
    return local(-mapping.z_step * local.pull_back(torch.zeros_like(grad_x), grad_x))


@dataclass(frozen=True)
class Guide:
    """What a replay needs to collect: the parts of the inverter that it may use.

    Attributes:
        objective: evaluates F.
        mapping: θ, frozen while collecting.
        features: reads targets for θ.
        collect_solver: makes the solver that collects trajectories.
        generator: of the fit.
        memory: takes the points at which trajectories end.
    """

    objective: Objective
    mapping: Mapping
    features: Callable[[Batch], Tensor | None]
    collect_solver: Callable[[], Any]
    generator: torch.Generator
    memory: Memory


State: TypeAlias = dict[str, Any]


class Replay(ABC):
    """Where fit's points come from.

    A round is :meth:`collect` with θ frozen, then as many times as ``updates_per_round``: :meth:`sample`, an update
    of θ on the points, and :meth:`observe`, which hears what the update saw.
    """

    updates_per_round: int

    @abstractmethod
    def collect(self, target: Batch, guide: Guide) -> tuple[float, ...]:
        """Take in a batch of targets; returns the mean loss along the trajectories that ended since the last call."""

    @abstractmethod
    def sample(self, guide: Guide) -> Points:
        """Points to update θ on."""

    def observe(self, points: Points, evaluation: Evaluation | None, guide: Guide) -> None:  # noqa: B027  # a buffer need not listen
        """Hear the evaluation that the update made at the points."""

    def to(self, device: torch.device) -> None:  # noqa: B027  # what keeps nothing has nothing to move
        """Move what is kept to where the landscape lies now; :meth:`collect` does so where that has changed."""

    def restart(self) -> None:  # noqa: B027  # a buffer has no rows on the way
        """Let go of rows on the way: the θ that led them there has been taken back."""

    @abstractmethod
    def state_dict(self) -> State:
        """Everything that the next round depends on."""

    @abstractmethod
    def load_state_dict(self, state: State) -> None:
        """Take back what :meth:`state_dict` gave."""
