"""Other starts for rows that stand badly or get nowhere: every attempt a run of its own, the best is kept by the loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..memory import LookUp
from ..objective import Evaluation, Jacobian
from ..results import Status
from .solver import Run, Solver, Start, Wanted

PATIENCE = 8
"""Evaluations between two looks at a row, counted from the start, whatever the budget is (law 4)."""
MIN_GAIN = 1e-3


class Restarts(Solver):
    """Runs ``first``, and moves a row to a candidate where that is better or the row gains too little.

    After the first evaluation, a row with an unusual loss goes to its best candidate if that promises a lower one. A row
    that has gained less than a thousandth in eight evaluations, or whose run has ended by itself above the level that
    counts as solved, goes to its next candidate; after the last one, back to the best point that it has met.

    Args:
        first: from the start.
        again: from a candidate, without the target's features: the landscape has judged them already.
        look_up: gives the candidates.
    """

    def __init__(self, first: Solver, again: Solver, look_up: LookUp) -> None:
        self.first, self.again, self.look_up = first, again, look_up

    def start(self, start: Start) -> RestartsRun:
        """Begin with one run for all rows."""
        return RestartsRun(self, start)


@dataclass
class _Attempt:
    """Rows that started together: where they stand in the batch, and their run. A fresh one has not been evaluated."""

    positions: Tensor
    run: Run
    fresh_x: Tensor | None


class RestartsRun(Run):
    """The state of a descent with several attempts at a time."""

    def __init__(self, settings: Restarts, start: Start) -> None:
        size, like = len(start.x), start.x
        self.settings = settings
        self.rows = torch.arange(size, device=like.device)  # of the batch that was started
        self.attempts = [_Attempt(self.rows, settings.first.start(start), None)]
        self.z = self.attempts[0].run.z
        self.best = like.new_full((size,), torch.inf)  # over all attempts
        self.best_x = like.clone()
        self.lately = self.best.clone()  # best of this attempt
        self.before = self.best.clone()  # the same at the last look
        self.next = torch.zeros_like(self.rows)  # candidate to try next
        self.found: dict[int, tuple[Tensor, Tensor]] = {}  # candidates of a row: x (K, d), loss (K,)
        self.ended = torch.full_like(self.rows, int(Status.MAX_EVALUATIONS))
        self.num_seen = 0

    @property
    def in_x(self) -> Tensor:  # type: ignore[override]  # attempts are in different phases
        """Rows that are moved in X, (B,)."""
        where = torch.zeros_like(self.rows, dtype=torch.bool)
        for attempt in self.attempts:
            where[attempt.positions] = attempt.run.in_x
        return where

    def observe(self, evaluation: Evaluation) -> None:
        """Pass the rows to their runs, and move those that need another start."""
        self.ended = torch.full_like(self.rows, int(Status.MAX_EVALUATIONS))
        for attempt in self.attempts:
            attempt.run.observe(evaluation.rows(attempt.positions))
            attempt.fresh_x = None
            if (verdict := attempt.run.verdict()) is not None:
                self.ended[attempt.positions] = verdict.to(self.ended)
        better = evaluation.finite & (evaluation.loss < self.best)
        self.best = torch.where(better, evaluation.loss, self.best)
        self.best_x = torch.where(better[:, None], evaluation.x, self.best_x)
        self.lately = torch.where(evaluation.finite, torch.minimum(self.lately, evaluation.loss), self.lately)
        self._move(self._in_need(evaluation), evaluation)
        self.num_seen += 1

    def _in_need(self, evaluation: Evaluation) -> Tensor:
        """Rows that are to start elsewhere, (B,)."""
        unsolved = self.best > self.settings.look_up.solved
        if self.num_seen == 0:
            return unsolved & evaluation.finite & (evaluation.loss > self.settings.look_up.unusual)
        over = (self.ended == Status.STALLED) | (self.ended == Status.NONFINITE)
        if self.num_seen % PATIENCE == 0:
            over |= self.lately > (1.0 - MIN_GAIN) * self.before
            self.before = self.lately.clone()
        return over & unsolved

    def _move(self, needy: Tensor, evaluation: Evaluation) -> None:
        """Start the needy rows anew, where there is a point to start from."""
        self._look_up(self.rows[needy])
        points = {int(position): self._next_start(int(position), evaluation) for position in needy.nonzero()[:, 0]}
        going = {position: x for position, x in points.items() if x is not None}
        if not going:
            return
        moved, start = torch.tensor(list(going), device=self.rows.device), torch.stack(list(going.values()))
        self._leave(moved)
        self.attempts.append(_Attempt(moved, self.settings.again.start(Start(start)), start))
        self.ended[moved] = Status.MAX_EVALUATIONS
        self.lately[moved] = self.before[moved] = torch.inf

    def _look_up(self, rows: Tensor) -> None:
        unknown = torch.tensor([row for row in rows.tolist() if row not in self.found], device=rows.device)
        if len(unknown) == 0:
            return
        found = self.settings.look_up.candidates(unknown)
        self.found.update({int(row): (found.x[k], found.loss[k]) for k, row in enumerate(unknown)})

    def _next_start(self, position: int, evaluation: Evaluation) -> Tensor | None:
        """The next candidate of a row, then its own best point, then nothing."""
        points, losses = self.found[int(self.rows[position])]
        number = int(self.next[position])
        if number > len(points) or (
            self.num_seen == 0 and not bool(losses[0] < self.settings.look_up.promise * evaluation.loss[position])
        ):
            return None
        self.next[position] += 1
        return points[number] if number < len(points) else self.best_x[position]

    def _leave(self, moved: Tensor) -> None:
        """Take rows out of the attempts that they were in."""
        staying = torch.ones_like(self.rows, dtype=torch.bool)
        staying[moved] = False
        for attempt in self.attempts:
            kept = staying[attempt.positions]
            if not bool(kept.all()):
                attempt.run.keep(kept.nonzero()[:, 0])
                attempt.positions = attempt.positions[kept]
        self.attempts = [attempt for attempt in self.attempts if len(attempt.positions)]

    def propose(self) -> Tensor:
        """The next point of every attempt."""
        x = torch.empty_like(self.best_x)
        for attempt in self.attempts:
            x[attempt.positions] = attempt.run.propose() if attempt.fresh_x is None else attempt.fresh_x
        self.z = self._joined_z()
        return x

    @property
    def wanted(self) -> Wanted | None:
        """What the attempts ask for, one after the other."""
        asked = [(attempt, attempt.run.wanted) for attempt in self.attempts if attempt.fresh_x is None]
        several = [Wanted(attempt.positions[one.positions], one.x) for attempt, one in asked if one is not None]
        if not several:
            return None
        return Wanted(torch.cat([one.positions for one in several]), torch.cat([one.x for one in several]))

    def take(self, jacobian: Jacobian) -> None:
        """To every attempt its own."""
        begin = 0
        for attempt in self.attempts:
            one = attempt.run.wanted if attempt.fresh_x is None else None
            if one is not None:
                part = slice(begin, begin + len(one.positions))
                attempt.run.take(Jacobian(jacobian.residual[part], jacobian.matrix[part]))
                begin = part.stop

    def _joined_z(self) -> Tensor | None:
        if self.z is None:
            return None
        z = self.z.new_zeros(len(self.rows), self.z.shape[1])
        for attempt in self.attempts:
            if attempt.run.z is not None:
                z[attempt.positions] = attempt.run.z
        return z

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        place = torch.full_like(self.rows, -1)
        place[index] = torch.arange(len(index), device=index.device)
        for attempt in self.attempts:
            staying = place[attempt.positions] >= 0
            attempt.run.keep(staying.nonzero()[:, 0])
            attempt.fresh_x = None if attempt.fresh_x is None else attempt.fresh_x[staying]
            attempt.positions = place[attempt.positions[staying]]
        self.attempts = [attempt for attempt in self.attempts if len(attempt.positions)]
        self.z = None if self.z is None else self.z[index]
        for name in ("rows", "best", "best_x", "lately", "before", "next", "ended"):
            setattr(self, name, getattr(self, name)[index])

    def verdict(self) -> Tensor:
        """What the runs say, but for the rows that have been moved."""
        return self.ended
