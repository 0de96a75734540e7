"""The one loop that moves points: used by fit, by invert and by every baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from torch import Tensor

from . import batches
from .batches import Batch
from .objective import Evaluation, Objective
from .results import Status
from .solvers.solver import Run, Solver, Start
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
    Jacobian. Finished rows leave the batch. Ctrl-C and the deadline keep the best so far.
    """
    start = replace(start, x=objective.terms.feasible(start.x))
    run = solver.start(start)
    track, x, step = Track(start, run, limits), start.x, 0
    try:
        while True:
            x, target = _without_spent(objective, run, track, x, target)
            if track.is_over():
                break
            evaluation = objective.evaluate(x, target)
            run_z = run.z
            track.take(evaluation, run_z, run.in_x)
            run.observe(evaluation)
            if observer is not None:
                observer(Visit(step, track.rows, run_z, evaluation))
            target = _gone_on(track.judge(evaluation, run.verdict()), run, target)
            target = _with_jacobians(objective, run, track, target)
            if track.is_over():
                break
            x, step = objective.terms.feasible(run.propose()), step + 1
    except KeyboardInterrupt:
        if track.prediction is None:
            raise
        track.stop(Status.INTERRUPTED)
    return track.descent()


def _without_spent(objective: Objective, run: Run, track: Track, x: Tensor, target: Batch) -> tuple[Tensor, Batch]:
    """Read the last point of the rows whose budget is spent; the points and targets of the others."""
    spent = track.spent.nonzero()[:, 0]
    if len(spent) == 0:
        return x, target
    reading = objective.read(x[spent], batches.rows(target, spent))
    z, in_x = run.z, run.in_x
    going = track.finish(
        spent, x[spent], reading, None if z is None else z[spent], in_x[spent] if isinstance(in_x, Tensor) else in_x
    )
    if going is None or len(going) == 0:
        return x, target
    return x[going], _gone_on(going, run, target)


def _gone_on(going: Tensor | None, run: Run, target: Batch) -> Batch:
    """The targets of the rows that go on; None is all of them."""
    if going is None or len(going) == 0:
        return target
    run.keep(going)
    rows: Batch = batches.rows(target, going)
    return rows


def _with_jacobians(objective: Objective, run: Run, track: Track, target: Batch) -> Batch:
    """Give the solver the Jacobians that it asks for, where the budget allows; other rows that ask end here."""
    if track.is_over() or (wanted := run.wanted) is None:
        return target
    target = _gone_on(track.charge(wanted.positions, objective.jacobian_cost), run, target)
    if not track.is_over() and (wanted := run.wanted) is not None:
        run.take(objective.jacobian(wanted.x, batches.rows(target, wanted.positions)))
    return target
