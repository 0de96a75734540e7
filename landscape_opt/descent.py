"""The one loop that moves points: used by fit, by invert and by every baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .objective import Evaluation, Objective
from .results import Status
from .solvers.solver import Solver, Start
from .solvers.together import Together
from .track import Descent, Limits, Track

__all__ = ["Descent", "Limits", "Observer", "Visit", "descend"]


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


def descend(
    objective: Objective,
    solver: Solver,
    start: Start,
    target: Batch,
    limits: Limits,
    observer: Observer | None = None,
) -> Descent:
    """Move every row from its start by the solver's proposals, and return the best point of each.

    One pass of the loop is one evaluation of F per row, whatever the solver does with it, and more where it asks for a
    Jacobian. Finished rows leave the batch, and waiting ones take their place. Ctrl-C and the deadline keep the best so
    far.
    """
    start = replace(start, x=objective.terms.feasible(start.x))
    loop, step = _Loop(objective, solver, start, target, limits), 0
    try:
        while loop.has_rows():
            evaluation = objective.evaluate(loop.x, loop.target)
            z, rows = loop.run.z, loop.track.rows
            loop.track.take(evaluation, z, loop.run.in_x)
            loop.run.observe(evaluation)
            if observer is not None:
                observer(Visit(step, rows, z, evaluation))
            loop.keep(loop.track.judge(evaluation, loop.run.verdict()))
            loop.give_jacobians()
            if not loop.track.is_idle():
                loop.x = objective.terms.feasible(loop.run.propose())
            step += 1
    except KeyboardInterrupt:
        if loop.track.prediction is None or not objective.may_end_early:
            raise
        loop.track.stop(Status.INTERRUPTED)
    return loop.track.descent()


class _Loop:
    """The rows that are moving: their run, their points and their targets."""

    def __init__(self, objective: Objective, solver: Solver, start: Start, target: Batch, limits: Limits) -> None:
        self.objective, self.solver, self.start, self.all_targets = objective, solver, start, target
        self.limit = min(limits.max_active or len(start.x), len(start.x))
        self.waiting = torch.arange(self.limit, len(start.x), device=start.x.device)
        if len(self.waiting) == 0:
            self.x, self.target, self.run = start.x, target, solver.start(start)
        else:
            moving = torch.arange(self.limit, device=start.x.device)
            first = start.rows(moving)
            self.x, self.target = first.x, batches.rows(target, moving)
            self.run = Together(solver.start(first), first.x)
        self.track = Track(start, self.run.z, self.limit, limits)

    def has_rows(self) -> bool:
        """Read the rows whose budget is spent, and fill up from those that wait, until there is one to evaluate."""
        while True:
            self._read_spent()
            self._admit()
            if self.track.is_idle():
                return False
            if not bool(self.track.spent.any()):
                return True

    def keep(self, going: Tensor | None) -> None:
        """Go on with the rows at these positions; None is all of them."""
        if going is None:
            return
        self.x = self.x[going]
        if len(going):  # a run is never left without rows: it is done with, or replaced
            self.run.keep(going)
            self.target = batches.rows(self.target, going)

    def give_jacobians(self) -> None:
        """Give the solver the Jacobians that it asks for, where the budget allows; other rows that ask end here."""
        if self.track.is_idle() or (wanted := self.run.wanted) is None:
            return
        self.keep(self.track.charge(wanted.positions, self.objective.jacobian_cost))
        if not self.track.is_idle() and (wanted := self.run.wanted) is not None:
            self.run.take(self.objective.jacobian(wanted.x, batches.rows(self.target, wanted.positions)))

    def _read_spent(self) -> None:
        spent = self.track.spent.nonzero()[:, 0]
        if len(spent) == 0:
            return
        reading = self.objective.read(self.x[spent], batches.rows(self.target, spent))
        z, in_x = self.run.z, self.run.in_x
        where = in_x[spent] if isinstance(in_x, Tensor) else in_x
        self.keep(self.track.finish(spent, self.x[spent], reading, None if z is None else z[spent], where))

    def _admit(self) -> None:
        """Waiting rows start together once a quarter of the places is free, so that groups stay few."""
        free = self.limit - len(self.track.rows)
        free -= free % self.track.limits.admitted_together
        if len(self.waiting) == 0 or free < min(len(self.waiting), max(1, self.limit // 4)):
            return
        new, self.waiting = self.waiting[:free], self.waiting[free:]
        begun = self.start.rows(new)
        if self.track.is_idle():
            self.x, self.run = begun.x, Together(self.solver.start(begun), begun.x)
        else:
            positions = len(self.track.rows) + torch.arange(len(new), device=new.device)
            assert isinstance(self.run, Together)
            self.run.begin(positions, self.solver.start(begun), begun.x)
            self.x = torch.cat([self.x, begun.x])
        self.track.rows = torch.cat([self.track.rows, new])
        self.target = batches.rows(self.all_targets, self.track.rows)
