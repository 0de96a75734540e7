"""A line search of its own for every row, all rows in lock-step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..objective import Evaluation
from .backtracking import MAX_NONFINITE, NONFINITE_SHRINK, SUFFICIENT_DECREASE

CURVATURE = 0.9
"""A step is too short where the slope at its end is still more than this share of the slope at its start."""
MAX_TRIALS = 13
"""Trial points of one search."""
GROW = 4.0
"""Of a step that is too short; a step that is too long is cut to between ``NONFINITE_SHRINK`` and half."""
_PER_ROW = ("low", "high", "length", "slope", "slope_at", "direction", "trials", "nonfinite")


@dataclass(frozen=True)
class Point:
    """What a search keeps of an evaluation: x (B, d), loss (B,) and gradient (B, d)."""

    x: Tensor
    loss: Tensor
    grad_x: Tensor

    @classmethod
    def of(cls, evaluation: Evaluation) -> Point:
        """Where F was evaluated."""
        return cls(evaluation.x, evaluation.loss, evaluation.grad_x)

    def where(self, mask: Tensor, other: Point) -> Point:
        """These rows where ``mask`` (B,), the other's elsewhere."""
        wide = mask[:, None]
        return Point(
            torch.where(wide, self.x, other.x),
            torch.where(mask, self.loss, other.loss),
            torch.where(wide, self.grad_x, other.grad_x),
        )

    def rows(self, index: Tensor) -> Point:
        """The rows that ``index`` picks."""
        return Point(self.x[index], self.loss[index], self.grad_x[index])

    def beside(self, other: Point) -> Point:
        """These rows and, behind them, the other's."""
        return Point(
            torch.cat([self.x, other.x]), torch.cat([self.loss, other.loss]), torch.cat([self.grad_x, other.grad_x])
        )


@dataclass(frozen=True)
class Judgement:
    """What a trial point has decided.

    Attributes:
        done: rows whose search has ended with a lower loss, (B,).
        failed: rows whose search has ended where it began, (B,).
    """

    done: Tensor
    failed: Tensor


class LineSearch:
    """Looks along a direction for the weak Wolfe conditions (Nocedal & Wright 2006, equations 3.6).

    Every trial point is one evaluation, and a first point that will do is the only one. A point with sufficient decrease
    becomes the low end of the row's bracket, and where its slope says that the step is too short the search goes on
    beyond it; any other point becomes the high end.

    Args:
        start: the evaluation that the first searches begin at.

    Attributes:
        origin: where the search of every row began.
        at: the low end of its bracket: the best point of the search with sufficient decrease.
        low: its step length, (B,); 0 at the origin.
        high: the step length of the high end, (B,); infinite while there is none.
        length: the step length of the trial point, (B,).
    """

    def __init__(self, start: Evaluation) -> None:
        self.origin = self.at = Point.of(start)
        self.direction = torch.zeros_like(start.x)
        self.low = torch.zeros_like(start.loss)
        self.high = torch.full_like(self.low, torch.inf)
        self.length = torch.ones_like(self.low)
        self.slope = torch.zeros_like(self.low)  # at the origin
        self.slope_at = torch.zeros_like(self.low)
        self.trials = torch.zeros_like(self.low, dtype=torch.long)
        self.nonfinite = torch.zeros_like(self.trials)  # trial points in a row that were not

    def begin(self, rows: Tensor, direction: Tensor) -> None:
        """New searches for these rows (B,), from the best point of the last, with a step of 1 along directions (B, d)."""
        self.origin = self.at.where(rows, self.origin)
        self.direction = torch.where(rows[:, None], direction, self.direction)
        slope = (direction * self.at.grad_x).sum(1)
        self.slope, self.slope_at = torch.where(rows, slope, self.slope), torch.where(rows, slope, self.slope_at)
        self.low, self.high = self.low.masked_fill(rows, 0.0), self.high.masked_fill(rows, torch.inf)
        self.length, self.trials = self.length.masked_fill(rows, 1.0), self.trials.masked_fill(rows, 0)

    def propose(self) -> Tensor:
        """The next trial points, (B, d)."""
        return self.origin.x + self.length[:, None] * self.direction

    def observe(self, trial: Evaluation) -> Judgement:
        """Take in the evaluation of the trial points, and choose the next ones."""
        finite = trial.finite
        self.nonfinite = torch.where(finite, torch.zeros_like(self.nonfinite), self.nonfinite + 1)
        wanted = self.origin.loss + SUFFICIENT_DECREASE * self.length * self.slope
        # Strictly lower as well: where the decrease asked for is below rounding, equal losses would go on for ever.
        lower = finite & (trial.loss <= wanted) & (trial.loss < self.at.loss) & (self.slope < 0)
        slope = (trial.grad_x * self.direction).sum(1)
        done = lower & (slope >= CURVATURE * self.slope)
        self.trials = self.trials + 1
        length = torch.where(lower, self._longer(), self._shorter(trial, finite))
        self.high = torch.where(lower, self.high, self.length)
        self.low, self.slope_at = torch.where(lower, self.length, self.low), torch.where(lower, slope, self.slope_at)
        self.at = Point.of(trial).where(lower, self.at)
        self.length = length
        # Where a longer step meets points that are not finite, the shorter one is taken as it is.
        over = ~done & ((self.trials >= MAX_TRIALS) | (~finite & (self.low > 0)))
        return Judgement(done | (over & (self.low > 0)), over & (self.low == 0))

    @property
    def walled_in(self) -> Tensor:
        """Rows around which F is not finite, however short the step, (B,)."""
        return self.nonfinite > MAX_NONFINITE

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.origin, self.at = self.origin.rows(index), self.at.rows(index)
        for name in _PER_ROW:
            setattr(self, name, getattr(self, name)[index])

    def join(self, other: LineSearch) -> None:
        """Take in the rows of another, behind one's own."""
        self.origin, self.at = self.origin.beside(other.origin), self.at.beside(other.at)
        for name in _PER_ROW:
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))

    def _shorter(self, trial: Evaluation, finite: Tensor) -> Tensor:
        """The minimum of the parabola through both losses and the low slope, within [0.1, 0.5] of the bracket."""
        width = self.length - self.low
        excess = trial.loss - self.at.loss - width * self.slope_at
        parabola = -self.slope_at * width.square() / (2.0 * excess)
        part = torch.where(finite & parabola.isfinite(), parabola, NONFINITE_SHRINK * width)
        return self.low + torch.maximum(torch.minimum(part, 0.5 * width), NONFINITE_SHRINK * width)

    def _longer(self) -> Tensor:
        """The middle of the bracket, or beyond the trial point while nothing bounds it."""
        return torch.where(self.high.isfinite(), 0.5 * (self.length + self.high), GROW * self.length)
