"""The one loop that moves points: used by fit, by invert and by every baseline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .objective import Evaluation, Objective
from .results import InversionHistory, Status
from .solvers.solver import Run, Solver, Start

WORTH_THE_NAME = 1e-3


@dataclass(frozen=True)
class Visit:
    """One evaluation as the loop sees it, for those who watch.

    Attributes:
        step: evaluations before this one.
        rows: which rows of the batch it holds, (b,): those that have not finished.
        z: where these rows stand in the learned space, (b, dim_z), or None.
        evaluation: what F showed.
    """

    step: int
    rows: Tensor
    z: Tensor | None
    evaluation: Evaluation


Observer: TypeAlias = Callable[[Visit], None]


@dataclass(frozen=True)
class Descent:
    """The best point of every row, flat, and how its descent ended. Attributes as in InversionResult."""

    x: Tensor
    z: Tensor
    prediction: Any
    loss: Tensor
    status: Tensor
    num_evaluations: Tensor
    history: InversionHistory

    def rows(self, index: Tensor) -> Descent:
        """The rows that ``index`` picks."""
        names = ("x", "z", "loss", "status", "num_evaluations")
        picked: dict[str, Any] = {name: getattr(self, name)[index] for name in names}
        return Descent(prediction=batches.rows(self.prediction, index), history=self.history.rows(index), **picked)

    @classmethod
    def joined(cls, parts: Sequence[Descent]) -> Descent:
        """The descents of several batches below one another."""
        if len(parts) == 1:
            return parts[0]
        names = ("x", "z", "loss", "status", "num_evaluations")
        together: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        prediction = batches.joined([part.prediction for part in parts])
        return cls(prediction=prediction, history=InversionHistory.joined([part.history for part in parts]), **together)


@dataclass(frozen=True)
class Limits:
    """When a descent ends.

    Attributes:
        max_evaluations: evaluations of F per row.
        target_loss: a row has converged at this loss; None never.
        absolute: or at ``absolute + relative · loss at the start``, unless both are zero.
        relative: see ``absolute``.
        patience: a row has stalled when so many evaluations have not lowered its best loss by a thousandth.
        deadline: of ``time.monotonic()``.
    """

    max_evaluations: int
    target_loss: float | None = None
    absolute: float = 0.0
    relative: float = 0.0
    patience: int | None = None
    deadline: float | None = None

    def tolerance(self, loss_at_start: Tensor) -> Tensor:
        """The loss at which a row has converged, (B,); minus infinity where nothing was asked for."""
        never = torch.full_like(loss_at_start, -torch.inf)
        wanted = never if self.target_loss is None else torch.full_like(never, self.target_loss)
        if self.absolute == 0 and self.relative == 0:
            return wanted
        by_start = self.absolute + self.relative * loss_at_start
        return torch.maximum(wanted, torch.where(by_start.isfinite(), by_start, never))


def descend(
    objective: Objective,
    solver: Solver,
    start: Start,
    target: Batch,
    limits: Limits,
    observer: Observer | None = None,
) -> Descent:
    """Move every row from its start by the solver's proposals, and return the best point of each.

    One pass of the loop is one evaluation of F per row, whatever the solver does with it. Finished rows leave the
    batch. Ctrl-C and the deadline keep the best so far.
    """
    start = replace(start, x=objective.terms.feasible(start.x))
    run = solver.start(start)
    track = _Track(start, run, limits)
    x = start.x
    try:
        for step in range(limits.max_evaluations):
            evaluation = objective.evaluate(x, target)
            run_z = run.z
            track.take(evaluation, run_z, run.in_x)
            run.observe(evaluation)
            if observer is not None:
                observer(Visit(step, track.rows, run_z, evaluation))
            going = track.judge(evaluation, run.verdict())
            if going is not None:
                run.keep(going)
                target = batches.rows(target, going)
            if track.is_over():
                return track.descent()
            x = objective.terms.feasible(run.propose())
        reading = objective.read(x, target)
        track.finish(x, reading.loss, reading.prediction, run.z, run.in_x)
    except KeyboardInterrupt:
        if track.prediction is None:
            raise
        track.stop(Status.INTERRUPTED)
    return track.descent()


class _Track:
    """Best so far, status and history of all rows, while fewer and fewer are still moving."""

    def __init__(self, start: Start, run: Run, limits: Limits) -> None:
        batch_size, like = len(start.x), start.x
        self.limits = limits
        self.rows = torch.arange(batch_size, device=like.device)
        self.x = start.x.clone()
        self.z = (like.new_zeros(batch_size, 0) if run.z is None else run.z).clone()
        self.prediction: Any = None
        self.best = like.new_full((batch_size,), torch.inf)
        self.current = self.best.clone()
        self.status = torch.full((batch_size,), int(Status.MAX_EVALUATIONS), device=like.device)
        self.num_evaluations = torch.zeros(batch_size, dtype=torch.long, device=like.device)
        self.tolerance = torch.full_like(self.best, -torch.inf)
        self.losses: list[Tensor] = []
        self.bests: list[Tensor] = []
        self.places: list[Tensor] = []
        self.in_x = torch.zeros(batch_size, dtype=torch.bool, device=like.device)
        self.to_beat = self.best.clone()  # the best loss at the last gain worth the name
        self.waited = torch.zeros(batch_size, dtype=torch.long, device=like.device)

    def take(self, evaluation: Evaluation, z: Tensor | None, in_x: bool | Tensor) -> None:
        """Record an evaluation of the rows that are still moving."""
        self.num_evaluations[self.rows] += 1
        self._record(evaluation.x, evaluation.loss, evaluation.prediction, z, in_x)

    def finish(self, x: Tensor, loss: Tensor, prediction: Batch, z: Tensor | None, in_x: bool | Tensor) -> None:
        """Record the last point, which was read without a gradient."""
        self._record(x, loss, prediction, z, in_x)
        if len(self.losses) == 1:  # a budget of nothing: the start alone was read
            self.status[~loss.isfinite()] = Status.NONFINITE_START
        self.status[self.rows[self._converged()]] = Status.CONVERGED

    def _record(self, x: Tensor, loss: Tensor, prediction: Batch | None, z: Tensor | None, in_x: bool | Tensor) -> None:
        first = not self.losses
        if self.prediction is None:
            self.prediction = prediction
        if first:
            self.best[self.rows] = loss
            self.tolerance = self.limits.tolerance(loss)
        self.current[self.rows] = loss
        self.in_x[self.rows] = in_x
        # NaN never wins: comparisons with it are False, and a NaN start is kept out of the running by its status.
        better = loss < self.best[self.rows]
        if bool(better.any()) and not first:
            index = self.rows[better]
            self.best[index] = loss[better]
            self.x[index] = x[better]
            if prediction is not None:
                self.prediction = batches.put_rows(self.prediction, index, batches.rows(prediction, better))
            if z is not None and z.shape[1:] == self.z.shape[1:]:
                self.z[index] = z[better]
        self.losses.append(self.current.clone())
        self.bests.append(self.best.clone())
        self.places.append(self.in_x.clone())

    def _converged(self) -> Tensor:
        return (self.best <= self.tolerance)[self.rows]

    def judge(self, evaluation: Evaluation, verdict: Tensor | None) -> Tensor | None:
        """Give finished rows their status; returns the positions that go on, or None if all do."""
        ended = torch.full_like(self.rows, int(Status.MAX_EVALUATIONS))
        if verdict is not None:
            ended = verdict.to(ended)
        if self.limits.patience is not None:
            ended[self._without_gain() >= self.limits.patience] = Status.STALLED
        flat = (evaluation.grad_x == 0).all(1) & evaluation.finite
        ended[flat] = Status.NO_GRADIENT
        ended[flat & (evaluation.loss == 0)] = Status.CONVERGED  # no loss can be lower
        if len(self.losses) == 1:
            ended[~evaluation.finite] = Status.NONFINITE_START
        ended[self._converged()] = Status.CONVERGED
        if self.limits.deadline is not None and time.monotonic() > self.limits.deadline:
            ended[ended == Status.MAX_EVALUATIONS] = Status.TIMEOUT
        over = ended != Status.MAX_EVALUATIONS
        if not bool(over.any()):
            return None
        self.status[self.rows[over]] = ended[over]
        self.rows = self.rows[~over]
        return (~over).nonzero()[:, 0]

    def _without_gain(self) -> Tensor:
        """Evaluations since the best loss of a row fell by a thousandth, of the rows that are moving."""
        gained = self.best < (1.0 - WORTH_THE_NAME) * self.to_beat
        gained |= self.to_beat == torch.inf
        self.to_beat = torch.where(gained, self.best, self.to_beat)
        self.waited = torch.where(gained, 0, self.waited + 1)
        return self.waited[self.rows]

    def is_over(self) -> bool:
        """Whether no row is moving."""
        return len(self.rows) == 0

    def stop(self, status: Status) -> None:
        """End the rows that are still moving."""
        self.status[self.rows] = int(status)

    def descent(self) -> Descent:
        """The record."""
        history = InversionHistory(torch.stack(self.losses), torch.stack(self.bests), torch.stack(self.places))
        return Descent(self.x, self.z, self.prediction, self.best, self.status, self.num_evaluations, history)
