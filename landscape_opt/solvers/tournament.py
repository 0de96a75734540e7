"""Successive halving: of several descents for one target, the weak ones are given up."""

from __future__ import annotations

import torch
from torch import Tensor

from ..objective import Evaluation, Jacobian
from ..results import Status
from .solver import Run, Solver, Start, Wanted

FIRST_ROUND = 8
"""Evaluations before the first half is given up; the rounds double (Jamieson & Talwalkar 2016)."""


class Tournament(Solver):
    """Runs a solver on all hypotheses, K rows for every target, and drops half of them at 8, 16, 32, … evaluations.

    The better half by the best loss so far goes on, one hypothesis at least. The rounds do not depend on the budget
    (law 4), and no target looks at another's hypotheses (law 1).

    Args:
        solver: of every row.
        num_hypotheses: K.

    Example:
        >>> import torch
        >>> from landscape_opt.descent import Limits, descend
        >>> from landscape_opt.layout import Layout
        >>> from landscape_opt.objective import Objective
        >>> from landscape_opt.solvers import Backtracking
        >>> objective = Objective(torch.sinh, lambda prediction, y: (prediction - y).square().sum(1), Layout(torch.zeros(1)))
        >>> start = Start(torch.tensor([[0.0], [9.0]]))  # two rows for one target
        >>> solver = Tournament(Backtracking(first_step=0.1), num_hypotheses=2)
        >>> descent = descend(objective, solver, start, torch.ones(2, 1), Limits(20))
        >>> Status(int(descent.status[1])).name
        'LEFT_BEHIND'
    """

    def __init__(self, solver: Solver, num_hypotheses: int) -> None:
        self.solver, self.num_hypotheses = solver, num_hypotheses

    def start(self, start: Start) -> TournamentRun:
        """Begin with all hypotheses."""
        return TournamentRun(self, start)


class TournamentRun(Run):
    """The state of a descent in which rows of one target compete."""

    def __init__(self, settings: Tournament, start: Start) -> None:
        self.run = settings.solver.start(start)
        size, device = len(start.x), start.x.device
        self.target = torch.arange(size // settings.num_hypotheses, device=device)
        self.target = self.target.repeat_interleave(settings.num_hypotheses)
        self.best = start.x.new_full((size,), torch.inf)
        self.beaten = torch.zeros(size, dtype=torch.bool, device=device)
        self.num_seen, self.next_round = 0, FIRST_ROUND

    @property
    def z(self) -> Tensor | None:  # type: ignore[override]  # the solver's own
        """As the solver has it."""
        return self.run.z

    @property
    def in_x(self) -> bool | Tensor:  # type: ignore[override]
        """As the solver has it."""
        return self.run.in_x

    def observe(self, evaluation: Evaluation) -> None:
        """Pass it on, and judge when a round is over."""
        self.run.observe(evaluation)
        self.num_seen += 1
        self.best = torch.where(evaluation.finite, torch.minimum(self.best, evaluation.loss), self.best)
        self.beaten = torch.zeros_like(self.beaten)
        if self.num_seen == self.next_round:
            self.next_round *= 2
            place, rivals = self._places()
            self.beaten = place >= (rivals + 1) // 2

    def _places(self) -> tuple[Tensor, Tensor]:
        """The place of every row among those of its target, from 0, and how many they are, both (b,)."""
        by_loss = self.best.argsort(stable=True)
        order = by_loss[self.target[by_loss].argsort(stable=True)]
        counts = torch.bincount(self.target)
        first = counts.cumsum(0) - counts
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device) - first[self.target[order]]
        return place, counts[self.target]

    def propose(self) -> Tensor:
        """As the solver does."""
        return self.run.propose()

    @property
    def wanted(self) -> Wanted | None:
        """As the solver does."""
        return self.run.wanted

    def take(self, jacobian: Jacobian) -> None:
        """For the solver."""
        self.run.take(jacobian)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.run.keep(index)
        self.target, self.best, self.beaten = self.target[index], self.best[index], self.beaten[index]

    def verdict(self) -> Tensor:
        """The solver's, and LEFT_BEHIND for the rows that are given up."""
        said = self.run.verdict()
        going = torch.full_like(self.target, int(Status.MAX_EVALUATIONS)) if said is None else said
        return torch.where(self.beaten & (going == Status.MAX_EVALUATIONS), Status.LEFT_BEHIND, going)
