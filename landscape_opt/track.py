"""What is known of every row of a descent, while fewer and fewer of them are still moving."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .objective import Evaluation, Reading
from .results import InversionHistory, Status
from .solvers.solver import Start

WORTH_THE_NAME = 1e-3
FAR_ABOVE = 1e3
"""Times the loss at the start: a row that ends above that has diverged."""
MAX_AT_ONCE = 2**22
"""Entries of a history that are made room for before they are known to be needed."""


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


@dataclass(frozen=True)
class Limits:
    """When a descent ends.

    Attributes:
        max_evaluations: evaluations of F per row.
        target_loss: a row has converged at this loss; None never.
        absolute: or at ``absolute + relative · loss at the start``, unless both are zero.
        relative: see ``absolute``.
        patience: a row has stalled when so many evaluations have not lowered its best loss by a thousandth.
        deadline: of ``clock``.
        clock: in seconds.
        max_active: rows that move at a time; the others wait for a place. None: all.
        admitted_together: rows that must begin together come in multiples of this.
    """

    max_evaluations: int
    target_loss: float | None = None
    absolute: float = 0.0
    relative: float = 0.0
    patience: int | None = None
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic
    max_active: int | None = None
    admitted_together: int = 1

    def tolerance(self, loss_at_start: Tensor) -> Tensor:
        """The loss at which a row has converged, (B,); minus infinity where nothing was asked for."""
        never = torch.full_like(loss_at_start, -torch.inf)
        wanted = never if self.target_loss is None else torch.full_like(never, self.target_loss)
        if self.absolute == 0 and self.relative == 0:
            return wanted
        by_start = self.absolute + self.relative * loss_at_start
        return torch.maximum(wanted, torch.where(by_start.isfinite(), by_start, never))


class Track:
    """Best so far, count, status and history of all rows.

    Attributes:
        rows: those that are still moving, (b,).
        num_evaluations: spent on every row, (B,).
    """

    def __init__(self, start: Start, z: Tensor | None, num_active: int, limits: Limits) -> None:
        batch_size, like = len(start.x), start.x
        self.limits = limits
        self.rows = torch.arange(num_active, device=like.device)
        self.x = start.x.clone()
        self.z = like.new_zeros(batch_size, 0 if z is None else z.shape[1])
        self.prediction: Any = None
        self.best = like.new_full((batch_size,), torch.inf)
        self.status = torch.full((batch_size,), int(Status.MAX_EVALUATIONS), device=like.device)
        self.num_evaluations = torch.zeros(batch_size, dtype=torch.long, device=like.device)
        self.tolerance = torch.full_like(self.best, -torch.inf)
        self.at_start = torch.full_like(self.best, torch.nan)
        self.history = _Table(like, limits.max_evaluations + 1)
        self.to_beat = self.best.clone()  # the best loss at the last gain worth the name
        self.waited = torch.zeros(batch_size, dtype=torch.long, device=like.device)

    def take(self, evaluation: Evaluation, z: Tensor | None, in_x: bool | Tensor) -> None:
        """Record an evaluation of the rows that are still moving."""
        self._record(self.rows, evaluation.x, evaluation.loss, evaluation.prediction, z, in_x)
        self.num_evaluations[self.rows] += 1

    def finish(self, positions: Tensor, x: Tensor, reading: Reading, z: Tensor | None, in_x: bool | Tensor) -> Tensor | None:
        """Record the last points of these rows, read without a gradient, and end them; the positions that go on."""
        rows = self.rows[positions]
        self._record(rows, x, reading.loss, reading.prediction, z, in_x)
        statuses = self.status[self.rows]
        at_start = self.num_evaluations[rows] == 0
        statuses[positions[at_start & ~reading.loss.isfinite()]] = Status.NONFINITE_START
        diverged = (self.at_start[rows] > 0) & (reading.loss > FAR_ABOVE * self.at_start[rows])
        statuses[positions[diverged]] = Status.DIVERGED
        over = torch.zeros_like(self.rows, dtype=torch.bool)
        over[positions] = True
        statuses[over & self._converged()] = Status.CONVERGED
        return self._end(over, statuses)

    def _record(
        self, rows: Tensor, x: Tensor, loss: Tensor, prediction: Batch | None, z: Tensor | None, in_x: bool | Tensor
    ) -> None:
        if self.prediction is None and prediction is not None:
            size = len(self.best)
            self.prediction = batches.map_leaves(lambda leaf: leaf.new_zeros(size, *leaf.shape[1:]), prediction)
        first = self.num_evaluations[rows] == 0
        self.tolerance[rows[first]] = self.limits.tolerance(loss[first])
        self.best[rows[first]] = self.at_start[rows[first]] = loss[first]
        # NaN never wins: comparisons with it are False, and a NaN start is kept out of the running by its status. Nor does
        # minus infinity, which is no loss at all.
        better = first | ((loss < self.best[rows]) & loss.isfinite())
        if bool(better.any()):
            index = rows[better]
            self.best[index], self.x[index] = loss[better], x[better]
            if prediction is not None:
                self.prediction = batches.put_rows(self.prediction, index, batches.rows(prediction, better))
            if z is not None and z.shape[1:] == self.z.shape[1:]:
                self.z[index] = z[better]
        self.history.write(self.num_evaluations[rows], rows, loss, self.best[rows], in_x)

    def _converged(self) -> Tensor:
        return (self.best.isfinite() & (self.best <= self.tolerance))[self.rows]

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
        at_start = self.num_evaluations[self.rows] == 1
        ended[at_start & ~evaluation.finite] = Status.NONFINITE_START
        ended[self._converged()] = Status.CONVERGED
        if self.limits.deadline is not None and self.limits.clock() > self.limits.deadline:
            ended[ended == Status.MAX_EVALUATIONS] = Status.TIMEOUT
        return self._end(ended != Status.MAX_EVALUATIONS, ended)

    def charge(self, positions: Tensor, cost: int) -> Tensor | None:
        """Count ``cost`` evaluations for rows that need more than one; those that cannot afford them end, as in judge."""
        rows = self.rows[positions]
        affordable = self.num_evaluations[rows] + cost <= self.limits.max_evaluations
        self.num_evaluations[rows[affordable]] += cost
        over = torch.zeros_like(self.rows, dtype=torch.bool)
        over[positions[~affordable]] = True
        return self._end(over, torch.full_like(self.rows, int(Status.MAX_EVALUATIONS)))

    def _end(self, over: Tensor, statuses: Tensor) -> Tensor | None:
        if not bool(over.any()):
            return None
        self.status[self.rows[over]] = statuses[over]
        self.rows = self.rows[~over]
        return (~over).nonzero()[:, 0]

    def _without_gain(self) -> Tensor:
        """Evaluations since the best loss of a row fell by a thousandth, of the rows that are moving."""
        gained = self.best < (1.0 - WORTH_THE_NAME) * self.to_beat
        gained |= self.to_beat == torch.inf
        self.to_beat = torch.where(gained, self.best, self.to_beat)
        self.waited = torch.where(gained, 0, self.waited + 1)
        return self.waited[self.rows]

    @property
    def spent(self) -> Tensor:
        """Moving rows whose budget is spent, (b,)."""
        return self.num_evaluations[self.rows] >= self.limits.max_evaluations

    def is_idle(self) -> bool:
        """Whether no row is moving."""
        return len(self.rows) == 0

    def stop(self, status: Status) -> None:
        """End the rows that are still moving, and those that have not begun."""
        self.status[self.rows] = int(status)
        self.status[self.num_evaluations == 0] = int(status)

    def descent(self) -> Descent:
        """The record."""
        return Descent(self.x, self.z, self.prediction, self.best, self.status, self.num_evaluations, self.history.filled())


class _Table:
    """Losses by evaluations spent, (K + 1, B), written row by row: rows may spend their evaluations at different times."""

    def __init__(self, like: Tensor, longest: int) -> None:
        self.size = 0
        room = min(longest, MAX_AT_ONCE // max(1, len(like)))
        self.loss, self.best = like.new_zeros(room, len(like)), like.new_zeros(room, len(like))
        self.in_x = torch.zeros(room, len(like), dtype=torch.bool, device=like.device)
        self.written = self.in_x.clone()

    def write(self, index: Tensor, rows: Tensor, loss: Tensor, best: Tensor, in_x: bool | Tensor) -> None:
        """The loss of these rows after ``index`` evaluations."""
        if len(rows) == 0:
            return
        self.size = max(self.size, int(index.max()) + 1)
        if self.size > len(self.loss):
            missing = max(16, 2 * self.size) - len(self.loss)
            for name in ("loss", "best", "in_x", "written"):
                table: Tensor = getattr(self, name)
                setattr(self, name, torch.cat([table, table.new_zeros(missing, table.shape[1])]))
        self.loss[index, rows], self.best[index, rows], self.written[index, rows] = loss, best, True
        self.in_x[index, rows] = in_x

    def filled(self) -> InversionHistory:
        """What was not written holds what was written last."""
        place = torch.arange(self.size, device=self.loss.device)[:, None]
        last = torch.where(self.written[: self.size], place, 0).cummax(0).values
        tables = (table[: self.size].gather(0, last) for table in (self.loss, self.best, self.in_x))
        loss, best, in_x = tables
        begun = self.written[: self.size].any(0)
        return InversionHistory(torch.where(begun, loss, torch.inf), torch.where(begun, best, torch.inf), in_x)
