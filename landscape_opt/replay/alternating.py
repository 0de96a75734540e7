"""Collect whole trajectories, then update θ on points drawn from a buffer: the algorithm as published."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..descent import Limits, Visit, descend
from ..mappings.context import Context
from ..objective import Evaluation
from ..solvers.solver import Start
from .points import Guide, Points, Replay, State

NO_LOSS = float("nan")


class Alternating(Replay):
    """A buffer of trajectories {(z_t, y)}, t = 0 … T, collected with θ frozen and drawn from in random order.

    Args:
        num_steps: T, steps of a trajectory.
        updates_per_round: updates of θ after each collection.
        batch_size: points of one update.
        capacity: points kept; the oldest go first.
    """

    def __init__(
        self, num_steps: int = 20, updates_per_round: int = 20, batch_size: int = 256, capacity: int = 50_000
    ) -> None:
        for name, value in (("num_steps", num_steps), ("updates_per_round", updates_per_round),
                            ("batch_size", batch_size), ("capacity", capacity)):  # fmt: skip
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.num_steps, self.updates_per_round = num_steps, updates_per_round
        self.batch_size, self.capacity = batch_size, capacity
        self.buffer: State | None = None

    def collect(self, target: Batch, guide: Guide) -> tuple[float, ...]:
        """Descend from the start for T steps, and keep every point on the way."""
        mapping, features = guide.mapping, guide.features(target)
        z = torch.zeros(batches.size(target), mapping.dim_z).to(mapping.x_init)
        with torch.no_grad():
            start = Start(mapping(z, Context(features)), features)
        visits: list[Visit] = []
        # z_0 … z_T are T + 1 points, and each is evaluated.
        limits = Limits(self.num_steps + 1)
        descent = descend(guide.objective, guide.collect_solver(), start, target, limits, visits.append)
        guide.memory.add(descent.x, descent.prediction)
        parts = [self._entries(visits, position, target, descent.x, mapping.reanchors) for position in range(len(visits))]
        if mapping.reanchors:
            parts.insert(0, {**parts[0], "loss_before": torch.full_like(parts[0]["loss_before"], NO_LOSS)})
        if self.buffer is not None:
            parts.insert(0, self.buffer)
        everything = batches.joined(parts)
        held = batches.size(everything)
        self.buffer = batches.map_leaves(lambda leaf: leaf[max(0, held - self.capacity) :], everything)
        return tuple(float(loss.nanmean()) for loss in descent.history.loss[:-1])

    def _entries(self, visits: list[Visit], position: int, target: Batch, end: Tensor, reanchors: bool) -> State:
        """The points at one step of the trajectories, as a batch."""
        visit = visits[position]
        evaluation = visit.evaluation.without_prediction()
        z = evaluation.x.new_zeros(len(evaluation.x), 0) if visit.z is None else visit.z
        entries: State = {
            "target": batches.rows(target, visit.rows),
            "z": torch.zeros_like(z) if reanchors else z,
            "loss_before": evaluation.loss if reanchors else torch.full_like(evaluation.loss, NO_LOSS),
            "end": end[visit.rows],
        }
        if reanchors:
            entries["x"], entries["grad_x"] = evaluation.x, evaluation.grad_x
            entries["loss"], entries["grad_prediction"] = evaluation.loss, evaluation.grad_prediction
        return entries

    def sample(self, guide: Guide) -> Points:
        """Random points of the buffer."""
        assert self.buffer is not None
        held = batches.size(self.buffer)
        index = torch.randint(held, (min(self.batch_size, held),), generator=guide.generator)
        drawn: State = batches.rows(self.buffer, index)
        evaluation = None
        if "x" in drawn:
            evaluation = Evaluation(drawn["x"], drawn["loss"], drawn["grad_x"], drawn["grad_prediction"])
        return Points(
            target=drawn["target"],
            context=Context(guide.features(drawn["target"]), None, evaluation),
            z=drawn["z"],
            loss_before=drawn["loss_before"],
            end=drawn["end"],
        )

    def state_dict(self) -> State:
        """The buffer."""
        return {"buffer": self.buffer}

    def load_state_dict(self, state: State) -> None:
        """Take back a buffer."""
        self.buffer = state["buffer"]
