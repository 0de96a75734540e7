"""The rows of a stream: trajectories of staggered ages, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..objective import Evaluation


@dataclass(frozen=True)
class Stream:
    """The rows on the way, N of them. ``age`` counts the evaluations behind a row; 0 is fresh."""

    target: Batch
    evaluation: Evaluation
    z: Tensor
    age: Tensor
    leave_at: Tensor
    known: Tensor
    fixed_x: Tensor
    is_fixed: Tensor

    def begun(self, rows: Tensor, horizon: int, place: Tensor, elsewhere: Tensor, told: Tensor) -> Stream:
        """The same, but that ``rows`` are fresh: those ``elsewhere`` at their ``place``, and those ``told`` their target."""
        return replace(
            self,
            age=torch.where(rows, 0, self.age),
            leave_at=torch.where(rows, horizon, self.leave_at),
            z=torch.where(rows[:, None], 0.0, self.z),
            known=torch.where(rows, told.to(self.known), self.known),
            fixed_x=torch.where(rows[:, None], place, self.fixed_x),
            is_fixed=torch.where(rows, elsewhere, self.is_fixed),
        )

    def to(self, device: torch.device, like: Batch | None) -> Stream:
        """The same on a device, and the targets where those of ``like`` lie; None takes them along."""
        moved = {field.name: _on(device, getattr(self, field.name)) for field in fields(self)}
        if like is not None:
            moved["target"] = batches.map_pairs(lambda held, new: held.to(new.device), self.target, like)
        return Stream(**moved)


def _on(device: torch.device, part: Any) -> Any:
    """A part of the stream on a device: a Tensor, a batch or an evaluation."""
    if isinstance(part, Evaluation):
        return replace(part, **{field.name: _on(device, getattr(part, field.name)) for field in fields(part)})
    return None if part is None else batches.map_leaves(lambda leaf: leaf.to(device), part)
