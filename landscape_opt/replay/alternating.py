"""Collect whole trajectories, then update θ on points drawn from a buffer: the algorithm as published."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..descent import Limits, Visit, descend
from ..mappings.context import Context
from ..objective import Evaluation
from ..ring import Ring
from ..solvers.solver import Start
from .points import Guide, Points, Replay, State

NO_LOSS = float("nan")


class Alternating(Replay):
    """A buffer of trajectories {(z_t, y)}, t = 0 … T, collected with θ frozen and drawn from in random order.

    Of what the collecting evaluates, an anchored mapping reuses all: evaluation k is the context of the point after it, and
    is never taken again. :class:`~landscape_opt.theta_objective.DistanceToEnd` asks for no more than that, so that an update
    on it spends nothing. A loss at the point does: it is that of θ as it is now, and θ has moved since the point was
    collected; the gradient there would be that of another point. Only the first update of a round sees the θ of the
    collecting, at those of its points that this round has collected: a share of 1/updates_per_round at most, for which
    ∂L/∂x of every point would have to be kept. They are evaluated as all others are.

    Args:
        num_steps: T, steps of a trajectory.
        updates_per_round: updates of θ after each collection.
        batch_size: points of one update.
        capacity: points kept; the oldest go first.
        max_bytes: of all points together, 4 GiB by default; where fewer than ``capacity`` fit, fewer are kept.
        device: where the points lie, as ``"cpu"`` for a fit on a GPU whose memory they would fill; None is where x lies.

    Raises:
        ValueError: if a number is below 1.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> replay = Alternating(num_steps=5, updates_per_round=4, batch_size=32)
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, replay=replay, batch_size=16)
        >>> len(inverter.fit(y, num_rounds=2, progress=False).history[-1].trajectory_loss)
        6
    """

    def __init__(
        self,
        num_steps: int = 20,
        updates_per_round: int = 20,
        batch_size: int = 256,
        capacity: int = 50_000,
        max_bytes: int = 2**32,
        device: torch.device | str | None = None,
    ) -> None:
        for name, value in (("num_steps", num_steps), ("updates_per_round", updates_per_round), ("batch_size", batch_size),
                            ("capacity", capacity), ("max_bytes", max_bytes)):  # fmt: skip
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.num_steps, self.updates_per_round = num_steps, updates_per_round
        self.batch_size, self.capacity, self.max_bytes = batch_size, capacity, max_bytes
        self.buffer = Ring(capacity, max_bytes, device)

    def collect(self, target: Batch, guide: Guide) -> tuple[float, ...]:
        """Descend from the start for T steps, and keep every point on the way."""
        mapping, features = guide.mapping, guide.features(target)
        z = torch.zeros(batches.size(target), mapping.dim_z).to(mapping.x_init)
        with torch.no_grad():
            start = Start(mapping(z, Context(features)), features)
        passed: list[tuple[Tensor, State]] = []
        # z_0 … z_T are T + 1 points, and each is evaluated.
        limits = Limits(self.num_steps + 1)
        watch = partial(_keep_point, passed, mapping.reanchors)
        descent = descend(guide.objective, guide.collect_solver(), start, target, limits, watch)
        guide.memory.add(descent.x, descent.prediction)
        mapping.attain(descent.loss)
        for position, (rows, point) in enumerate(passed):
            # In the order of files from before: parts are matched by their places.
            first = {"target": batches.rows(target, rows), **dict.fromkeys(("z", "loss_before")), "end": descent.x[rows]}
            entries = {**first, **point}
            if position == 0 and mapping.reanchors:
                self.buffer.add({**entries, "loss_before": torch.full_like(entries["loss_before"], NO_LOSS)})
            self.buffer.add(entries)
        return tuple(float(loss.nanmean()) for loss in descent.history.loss[:-1])

    def sample(self, guide: Guide) -> Points:
        """Random points of the buffer."""
        held = len(self.buffer)
        index = torch.randint(held, (min(self.batch_size, held),), generator=guide.generator)
        drawn: State = self.buffer.rows(index)
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

    def to(self, device: torch.device) -> None:
        """Move the buffer with the landscape, unless it was given a place of its own."""
        if self.buffer.device is None and self.buffer.storage is not None:
            self.buffer.to([device] * len(batches.leaves(self.buffer.storage)))

    def state_dict(self) -> State:
        """The buffer."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Take back a buffer, also of files from before it was a ring."""
        self.buffer.load_state_dict(state)


def _keep_point(passed: list[tuple[Tensor, State]], reanchors: bool, visit: Visit) -> None:
    """Of one step of the trajectories, its rows and what the buffer holds of them but for their targets and ends."""
    evaluation = visit.evaluation
    z = evaluation.x.new_zeros(len(evaluation.x), 0) if visit.z is None else visit.z
    point: State = {
        "z": torch.zeros_like(z) if reanchors else z,
        "loss_before": evaluation.loss if reanchors else torch.full_like(evaluation.loss, NO_LOSS),
    }
    if reanchors:
        point |= {"x": evaluation.x, "grad_x": evaluation.grad_x}
        point |= {"loss": evaluation.loss, "grad_prediction": evaluation.grad_prediction}
    passed.append((visit.rows, point))
