"""Several points for every row: each is evaluated once, and the descent goes on from the best."""

from __future__ import annotations

from torch import Tensor

from ..objective import Evaluation, Jacobian
from .solver import Run, Solver, Start, Wanted


class BestOf(Solver):
    """Evaluates K points of every row, one after the other, then starts ``then`` at the best of them.

    Args:
        points: (B, K, d), in the order in which they are tried; a run begins at the first.
        then: what moves the rows afterwards.

    Example:
        >>> import torch
        >>> from landscape_opt.descent import Limits, descend
        >>> from landscape_opt.layout import Layout
        >>> from landscape_opt.objective import Objective
        >>> from landscape_opt.solvers import LBFGS
        >>> objective = Objective(
        ...     torch.square, lambda prediction, y: (prediction - y).square().sum(1), Layout(torch.ones(1))
        ... )
        >>> points = torch.tensor([[[0.1], [-1.5]]])  # two for the one row
        >>> descent = descend(objective, BestOf(points, LBFGS()), Start(points[:, 0]), torch.tensor([[4.0]]), Limits(30))
        >>> round(float(descent.x), 3)
        -2.0
    """

    def __init__(self, points: Tensor, then: Solver) -> None:
        self.points, self.then = points, then

    def start(self, start: Start) -> BestOfRun:
        """Begin at the first point of every row."""
        return BestOfRun(self, start)


class BestOfRun(Run):
    """The state of a trial of points, then of what follows it."""

    def __init__(self, settings: BestOf, start: Start) -> None:
        self.then, self.points = settings.then, settings.points
        self.told = start
        self.run: Run | None = None
        self.best: Evaluation | None = None
        self.num_tried = 0

    @property
    def z(self) -> Tensor | None:  # type: ignore[override]  # of whoever moves the rows
        """Where what follows has one."""
        return None if self.run is None else self.run.z

    @property
    def in_x(self) -> bool | Tensor:  # type: ignore[override]  # of whoever moves the rows
        """As in what follows."""
        return True if self.run is None else self.run.in_x

    @property
    def current(self) -> Run:
        """The descent, once it has begun."""
        return self if self.run is None else self.run.current

    def observe(self, evaluation: Evaluation) -> None:
        """Keep the better point; begin the descent when all have been tried."""
        if self.run is not None:
            self.run.observe(evaluation)
            return
        evaluation = evaluation.without_prediction()
        if self.best is None:
            self.best = evaluation
        else:
            better = evaluation.finite & ~(self.best.finite & (self.best.loss <= evaluation.loss))
            self.best = evaluation.where(better, self.best)
        self.num_tried += 1
        if self.num_tried == self.points.shape[1]:
            self.run = self.then.start(Start(self.best.x, self.told.target, self.told.known, self.told.row_ids))
            self.run.observe(self.best)

    def propose(self) -> Tensor:
        """The next point to try, or that of the descent."""
        return self.points[:, self.num_tried] if self.run is None else self.run.propose()

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.points, self.told = self.points[index], self.told.rows(index)
        self.best = None if self.best is None else self.best.rows(index)
        if self.run is not None:
            self.run.keep(index)

    @property
    def wanted(self) -> Wanted | None:
        """What the descent asks for."""
        return None if self.run is None else self.run.wanted

    def take(self, jacobian: Jacobian) -> None:
        """For the descent."""
        assert self.run is not None
        self.run.take(jacobian)

    def verdict(self) -> Tensor | None:
        """What the descent says; no row ends while points are tried."""
        return None if self.run is None else self.run.verdict()
