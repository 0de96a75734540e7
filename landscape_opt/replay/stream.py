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
    """The rows on the way, N of them. ``age`` counts the evaluations behind a row; 0 is fresh.

    Of a row that was caught and has begun anew, ``caught_seen``, ``caught_x`` and ``caught_loss`` are what was seen there,
    where that was, and its loss; the loss of others is NaN.
    """

    target: Batch
    evaluation: Evaluation
    z: Tensor
    age: Tensor
    leave_at: Tensor
    known: Tensor
    fixed_x: Tensor
    is_fixed: Tensor
    caught_seen: Tensor
    caught_x: Tensor
    caught_loss: Tensor

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
            caught_loss=torch.where(rows, torch.nan, self.caught_loss),
        )

    def caught_at(self, rows: Tensor, seen: Tensor) -> Stream:
        """The same, and ``rows``, (n,), keep where they were caught and what was ``seen`` there, (n, p)."""
        if self.caught_seen.shape[1] != seen.shape[1]:  # the first
            held = seen.new_zeros(len(self.age), seen.shape[1])
        else:
            held = self.caught_seen
        return replace(
            self,
            caught_seen=held.index_put((rows,), seen),
            caught_x=self.caught_x.index_put((rows,), self.evaluation.x[rows]),
            caught_loss=self.caught_loss.index_put((rows,), self.evaluation.loss[rows]),
        )

    def state(self) -> dict[str, Any]:
        """All of it, in dicts."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        evaluation = {name: getattr(self.evaluation, name) for name in ("x", "loss", "grad_x", "grad_prediction")}
        return {**parts, "evaluation": evaluation}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Stream:
        """What :meth:`state` gave, also in files from before rows were known to be caught."""
        evaluation = Evaluation(**state["evaluation"])
        return cls(**{**never_caught(evaluation.x), **state, "evaluation": evaluation})

    def to(self, device: torch.device, like: Batch | None) -> Stream:
        """The same on a device, and the targets where those of ``like`` lie; None takes them along."""
        moved = {field.name: _on(device, getattr(self, field.name)) for field in fields(self)}
        if like is not None:
            moved["target"] = batches.map_pairs(lambda held, new: held.to(new.device), self.target, like)
        return Stream(**moved)


def never_caught(x: Tensor) -> dict[str, Tensor]:
    """What a stream knows of caught rows where there has been none, for rows x, (N, d)."""
    return {
        "caught_seen": x.new_zeros(len(x), 0),
        "caught_x": torch.zeros_like(x),
        "caught_loss": torch.full_like(x[:, 0], torch.nan),
    }


def _on(device: torch.device, part: Any) -> Any:
    """A part of the stream on a device: a Tensor, a batch or an evaluation."""
    if isinstance(part, Evaluation):
        return replace(part, **{field.name: _on(device, getattr(part, field.name)) for field in fields(part)})
    return None if part is None else batches.map_leaves(lambda leaf: leaf.to(device), part)
