"""Other starts for rows that stand badly or get nowhere: every attempt a run of its own, the best is kept by the loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..look_up import LookUp
from ..memory import Candidates
from ..objective import Evaluation
from ..results import Status
from .best_of import BestOf
from .solver import Solver, Start
from .together import Together


@dataclass(frozen=True)
class Look:
    """When rows are looked at, and what is asked of them.

    Attributes:
        every: evaluations between two looks, counted from the start, whatever the budget is (law 4).
        min_gain: share of its loss that a row is to gain between two looks.
    """

    every: int
    min_gain: float


AT_ALL = Look(every=8, min_gain=5e-3)
"""Any row. A gain of a tenth was far worse on digits, where all rows are slow and none is caught."""
AT_THE_CAUGHT = Look(every=4, min_gain=0.1)
"""Rows far above what those of the fit ended with: caught, rather than slow. Of these more are free after 50 evaluations, on
Panda, skeleton, phase retrieval and waves."""


WAYS_OUT_EVERY = 3
"""Evaluations between two looks for caught rows to which the fit has learned a way out."""


class Restarts(Solver):
    """Runs ``first``, and moves a row to a candidate where that is better or the row gains too little.

    After the first evaluation, a row goes to its best candidate if that promises a much lower loss. A row whose gradient
    promises little while its loss is far above what rows of the fit ended with goes, once, where the fit has learned that
    such rows find a way out. A row that has gained less than half a percent in eight evaluations, or a tenth in four while
    its loss is far above what rows of the fit ended with, or whose run has ended by itself above the level that counts as
    solved, goes to its next candidate; after the last one, back to the best point that it has met.

    Args:
        first: from the start.
        again: from a candidate, without the target's features: the landscape has judged them already.
        look_up: gives the candidates.

    Example:
        >>> import torch
        >>> from landscape_opt import Memory
        >>> from landscape_opt.descent import Limits, descend
        >>> from landscape_opt.layout import Layout
        >>> from landscape_opt.look_up import UnrankedPoints
        >>> from landscape_opt.objective import Objective
        >>> from landscape_opt.solvers import LBFGS
        >>> two_minima = lambda x: (x.square() - 1.0).square() + 0.3 * (x + 1.1)
        >>> objective = Objective(two_minima, lambda prediction, y: prediction[:, 0], Layout(torch.ones(1)))
        >>> memory = Memory()
        >>> memory.add(torch.tensor([[-0.8]]), two_minima(torch.tensor([[-0.8]])))
        >>> solver = Restarts(LBFGS(), LBFGS(), UnrankedPoints(memory, level=1.0))
        >>> descent = descend(objective, solver, Start(torch.ones(1, 1)), torch.zeros(1, 1), Limits(60))
        >>> bool(descent.x < 0.0)  # the higher minimum, at which it began, has been left
        True
    """

    def __init__(self, first: Solver, again: Solver, look_up: LookUp) -> None:
        self.first, self.again, self.look_up = first, again, look_up

    def start(self, start: Start) -> RestartsRun:
        """Begin with one run for all rows."""
        return RestartsRun(self, start)


_PER_ROW = (
    "rows", "best", "best_x", "lately", "at_all", "at_the_caught", "next", "trial_ends", "ended", "place", "has_left"
)  # fmt: skip


class RestartsRun(Together):
    """The state of a descent with several attempts at a time."""

    def __init__(self, settings: Restarts, start: Start) -> None:
        super().__init__(settings.first.start(start), start.x)
        size, like = len(start.x), start.x
        self.settings = settings
        self.rows = start.ids  # of the batch that candidates are looked up for
        self.best = like.new_full((size,), torch.inf)  # over all attempts
        self.best_x = like.clone()
        self.lately = self.best.clone()  # best of this attempt
        self.at_all, self.at_the_caught = self.best.clone(), self.best.clone()  # the same at the last look
        self.next = torch.zeros_like(self.rows)  # candidate to try next
        self.trial_ends = torch.zeros_like(self.rows)  # evaluation by which the points on trial are through
        self.found: Candidates | None = None  # of the rows that have asked, one below the other
        self.place = torch.full_like(self.rows, -1)  # of a row in them
        self.ended = torch.full_like(self.rows, int(Status.MAX_EVALUATIONS))
        self.told = start.context
        self.has_left = torch.zeros_like(self.rows, dtype=torch.bool)  # by a way out
        self.num_seen = 0

    def observe(self, evaluation: Evaluation) -> None:
        """Pass the rows to their runs, and move those that need another start."""
        super().observe(evaluation)
        self.ended = super().verdict()
        better = evaluation.finite & (evaluation.loss < self.best)
        self.best = torch.where(better, evaluation.loss, self.best)
        self.best_x = torch.where(better[:, None], evaluation.x, self.best_x)
        self.lately = torch.where(evaluation.finite, torch.minimum(self.lately, evaluation.loss), self.lately)
        leaving = self._leave(evaluation)
        self._move(self._in_need(evaluation) & ~leaving, evaluation)
        self.num_seen += 1

    def _in_need(self, evaluation: Evaluation) -> Tensor:
        """Rows that are to start elsewhere, (B,)."""
        unsolved = self.best > self.settings.look_up.solved
        if self.num_seen == 0:
            return unsolved & evaluation.finite & (self.settings.look_up.promise > 0)
        over = (self.ended == Status.STALLED) | (self.ended == Status.NONFINITE)
        if self.num_seen % AT_ALL.every == 0:
            over |= self._is_idle(self.at_all, AT_ALL)
            self.at_all = self.lately.clone()
        if self.num_seen % AT_THE_CAUGHT.every == 0:
            on_their_way = self.num_seen >= self.trial_ends  # points on trial do not gain, one on another
            caught = self._is_idle(self.at_the_caught, AT_THE_CAUGHT) & (self.lately > self.settings.look_up.caught)
            over |= caught & on_their_way
            self.at_the_caught = torch.where(on_their_way, self.lately, torch.inf)
        return over & unsolved

    def _leave(self, evaluation: Evaluation) -> Tensor:
        """Move the rows that are caught where the fit has learned a way out; which they were, (B,)."""
        look_up, leaving = self.settings.look_up, torch.zeros_like(self.has_left)
        if self.num_seen == 0 or self.num_seen % WAYS_OUT_EVERY != 0:
            return leaving
        asking = ~self.has_left & (evaluation.loss <= self.lately) & (evaluation.loss > look_up.caught)
        places = (asking & evaluation.finite & (self.best > look_up.solved)).nonzero()[:, 0]
        if len(places) == 0:
            return leaving
        found = look_up.ways_out(evaluation.without_prediction().rows(places), self.told.rows(places))
        if found is None:
            return leaving
        leaving[places[found.rows]] = True
        self.has_left |= leaving
        self._begin(places[found.rows], found.x, self.settings.again)
        return leaving

    def _is_idle(self, before: Tensor, look: Look) -> Tensor:
        return self.lately > (1.0 - look.min_gain) * before

    def _move(self, needy: Tensor, evaluation: Evaluation) -> None:
        """Start the needy rows anew, where there is a point to start from: the next candidate, then their own best point."""
        moved = needy.nonzero()[:, 0]
        if len(moved) == 0:
            return
        found = self._candidates(moved)
        number, count = self.next[moved], found.x.shape[1]
        has_point = number <= count
        if self.num_seen == 0:
            promised = torch.inf if found.loss is None else found.loss[self.place[moved], 0]
            has_point &= promised < self.settings.look_up.promise * evaluation.loss[moved]
        moved, number = moved[has_point], number[has_point]
        points = found.x[self.place[moved]]
        candidate = points[torch.arange(len(moved), device=moved.device), number.clamp_max(count - 1)]
        x = torch.where((number < count)[:, None], candidate, self.best_x[moved])
        self.next[moved] += 1
        # Points whose loss is not known are tried, each by an evaluation; then the row goes on from the best.
        on_trial = (number == 0) & (found.loss is None)
        self._begin(moved[~on_trial], x[~on_trial], self.settings.again)
        tried = moved[on_trial]
        self._begin(tried, x[on_trial], BestOf(points[on_trial], self.settings.again))
        self.next[tried] = count
        self.trial_ends[tried] = self.num_seen + count

    def _begin(self, moved: Tensor, x: Tensor, solver: Solver) -> None:
        if len(moved) == 0:
            return
        self.begin(moved, solver.start(Start(x)), x)
        self.ended[moved] = Status.MAX_EVALUATIONS
        self.lately[moved] = self.at_all[moved] = self.at_the_caught[moved] = torch.inf

    def _candidates(self, asking: Tensor) -> Candidates:
        """Of all rows that have asked, these among them; ``place`` says where."""
        unknown = asking[self.place[asking] < 0]
        if len(unknown):
            new = self.settings.look_up.candidates(self.rows[unknown])
            known = 0 if self.found is None else len(self.found.x)
            self.place[unknown] = known + torch.arange(len(unknown), device=unknown.device)
            self.found = new if self.found is None else self.found.beside(new)
        assert self.found is not None
        return self.found

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        super().keep(index)
        self.told = self.told.rows(index)
        for name in _PER_ROW:
            setattr(self, name, getattr(self, name)[index])

    def verdict(self) -> Tensor:
        """What the runs say, but for the rows that have been moved."""
        return self.ended
