"""Gradient descent whose step every row finds by itself, all rows in lock-step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..objective import Evaluation
from ..results import Status
from .solver import Run, Solver, Start

SUFFICIENT_DECREASE = 1e-4
GROW, SHRINK = 2.0, 0.5
NONFINITE_SHRINK = 0.1
"""A loss that is not finite says nothing of where it becomes so: back away at once."""
MAX_NONFINITE = 5
"""So many shorter steps after a trial point that is not finite; if all of theirs are not finite either, the row ends."""


class Backtracking(Solver):
    """Gradient descent in X with Armijo backtracking (Armijo 1966; Nocedal & Wright 2006, algorithm 3.1).

    Every trial point is one evaluation. A row whose point is accepted doubles its step, one whose point is rejected goes
    back and halves it, or takes a tenth where the point was not finite. There is nothing to tune.

    Args:
        first_step: length of the first step in x, whatever the unit of the loss (law 2).

    Raises:
        ValueError: if ``first_step`` is not positive and finite.

    Example:
        >>> import torch
        >>> from landscape_opt.descent import Limits, descend
        >>> from landscape_opt.layout import Layout
        >>> from landscape_opt.objective import Objective
        >>> objective = Objective(lambda x: x, lambda x, y: (x - y).square().sum(1), Layout(torch.zeros(2)))
        >>> start, target = Start(torch.zeros(1, 2)), torch.tensor([[3.0, -4.0]])
        >>> descent = descend(objective, Backtracking(), start, target, Limits(40))
        >>> bool(descent.loss < 1e-6)
        True
    """

    def __init__(self, first_step: float = 1.0) -> None:
        if not 0 < first_step < float("inf"):
            raise ValueError(f"first_step must be positive, got {first_step}")
        self.first_step = first_step

    def start(self, start: Start) -> BacktrackingRun:
        """Begin with the same length of step in every row."""
        return BacktrackingRun(self.first_step, start)


class BacktrackingRun(Run):
    """The state of a gradient descent with backtracking.

    Attributes:
        at: the last accepted evaluation of every row.
        step: of every row, times its gradient, (B,).
    """

    def __init__(self, first_step: float, start: Start) -> None:
        self.first_step = first_step
        self.at: Evaluation | None = None
        self.step = start.x.new_ones(len(start.x))
        self.nonfinite = torch.zeros(len(start.x), dtype=torch.long, device=start.x.device)
        self.stuck = torch.zeros_like(self.nonfinite, dtype=torch.bool)

    def observe(self, evaluation: Evaluation) -> None:
        """Accept the rows with sufficient decrease; the others stay where they are, with a shorter step."""
        evaluation = evaluation.without_prediction()
        if self.at is None:
            size = evaluation.grad_x.norm(dim=1)
            self.at, self.step = evaluation, self.first_step / size.clamp_min(torch.finfo(size.dtype).tiny)
            return
        at, finite = self.at, evaluation.finite
        wanted = at.loss - SUFFICIENT_DECREASE * self.step * at.grad_x.square().sum(1)
        # Strictly lower as well: where the decrease asked for is below rounding, equal losses would go on for ever.
        accepted = finite & (evaluation.loss <= wanted) & (evaluation.loss < at.loss)
        # No point lies between this one and where the row stands: there is no shorter step to take.
        self.stuck = ~accepted & finite & (evaluation.x == at.x).all(1)
        self.nonfinite = torch.where(finite, torch.zeros_like(self.nonfinite), self.nonfinite + 1)
        factor = torch.where(finite, SHRINK, NONFINITE_SHRINK).to(self.step)
        self.step = self.step * torch.where(accepted, GROW, factor)
        self.at = evaluation.where(accepted, at)

    def propose(self) -> Tensor:
        """One step against the gradient."""
        assert self.at is not None
        return self.at.x - self.step[:, None] * self.at.grad_x

    def verdict(self) -> Tensor:
        """STALLED where the step is below rounding, NONFINITE where F is not finite however short it is."""
        ended = torch.where(self.stuck, Status.STALLED, Status.MAX_EVALUATIONS)
        return torch.where(self.nonfinite > MAX_NONFINITE, Status.NONFINITE, ended)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.at = None if self.at is None else self.at.rows(index)
        self.step, self.nonfinite, self.stuck = self.step[index], self.nonfinite[index], self.stuck[index]
