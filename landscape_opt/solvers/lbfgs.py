"""L-BFGS with a memory and a line search for every row, all rows in lock-step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..mappings.mapping import Metric
from ..objective import Evaluation
from ..results import Status
from .solver import Run, Solver, Start

SUFFICIENT_DECREASE = 1e-4
MAX_BACKTRACKS = 12
MIN_CURVATURE = 1e-10


class LBFGS(Solver):
    """Limited-memory BFGS in X with Armijo backtracking (Nocedal & Wright 2006, algorithms 7.4 and 3.1).

    Every trial point of the line search is one evaluation. A row whose search fails drops its memory, but for the
    newest pair, whose scale it keeps, and follows the gradient (in the metric); if that fails too it has stalled.

    Args:
        memory: (s, y) pairs kept for every row.
        first_step: length scale of the first step, initial inverse Hessian ``first_step · 1``; None takes a step of
            length one, whatever the units of the loss (law 2).
        metric: initial inverse Hessian v ↦ H v that replaces it: what a learned landscape hands over.
        pairs: evaluations seen before the start, in order; their differences fill the memory.
    """

    def __init__(
        self,
        memory: int = 10,
        first_step: float | None = None,
        metric: Metric | None = None,
        pairs: tuple[Evaluation, ...] = (),
    ) -> None:
        if memory < 1:
            raise ValueError(f"memory must be at least 1, got {memory}")
        if first_step is not None and not first_step > 0:
            raise ValueError(f"first_step must be positive, got {first_step}")
        self.memory, self.first_step, self.metric, self.pairs = memory, first_step, metric, pairs

    def start(self, start: Start) -> LBFGSRun:
        """Begin with an empty memory, or with the pairs handed over."""
        return LBFGSRun(self, start)


@dataclass
class _Memory:
    """Pairs s = Δx, y = Δ∂L/∂x of every row, newest last; unusable ones have weight 0."""

    s: Tensor  # (memory, B, d)
    y: Tensor
    rho: Tensor  # (memory, B): 1 / sᵀy, or 0

    @classmethod
    def empty(cls, memory: int, like: Tensor) -> _Memory:
        return cls(
            like.new_zeros(memory, *like.shape), like.new_zeros(memory, *like.shape), like.new_zeros(memory, len(like))
        )

    def push(self, s: Tensor, y: Tensor, rows: Tensor) -> None:
        """Add a pair to the rows where it has positive curvature."""
        curvature = (s * y).sum(1)
        usable = rows & (curvature > MIN_CURVATURE * s.norm(dim=1) * y.norm(dim=1)) & curvature.isfinite()
        usable &= (1.0 / curvature).isfinite()
        self.s = torch.where(usable[None, :, None], torch.cat([self.s[1:], s[None]]), self.s)
        self.y = torch.where(usable[None, :, None], torch.cat([self.y[1:], y[None]]), self.y)
        self.rho = torch.where(usable[None], torch.cat([self.rho[1:], (1.0 / curvature)[None]]), self.rho)

    def forget(self, rows: Tensor) -> None:
        """All but the newest pair, which alone still knows how long a step is."""
        older = torch.where(rows[None], 0.0, self.rho[:-1])
        self.rho = torch.cat([older, self.rho[-1:]])

    def keep(self, index: Tensor) -> None:
        self.s, self.y, self.rho = self.s[:, index], self.y[:, index], self.rho[:, index]


class LBFGSRun(Run):
    """The state of L-BFGS on a batch."""

    def __init__(self, settings: LBFGS, start: Start) -> None:
        self.first_step, self.metric = settings.first_step, settings.metric
        self.memory = _Memory.empty(settings.memory, start.x)
        for before, after in zip(settings.pairs, settings.pairs[1:], strict=False):
            everyone = before.finite & after.finite
            self.memory.push(after.x - before.x, after.grad_x - before.grad_x, everyone)
        self.rows = torch.arange(len(start.x), device=start.x.device)  # rows of the metric that are still here
        self.num_at_start = len(start.x)
        self.at: Evaluation | None = None
        self.direction = torch.zeros_like(start.x)
        self.slope = start.x.new_zeros(len(start.x))
        self.length = start.x.new_ones(len(start.x))
        self.backtracks = torch.zeros(len(start.x), dtype=torch.long, device=start.x.device)
        self.failures = torch.zeros_like(self.backtracks)

    def observe(self, evaluation: Evaluation) -> None:
        """Accept the rows with sufficient decrease and turn; shorten the step of the others."""
        evaluation = evaluation.without_prediction()
        if self.at is None:
            self.at = evaluation
            self._turn(torch.ones_like(self.backtracks, dtype=torch.bool))
            return
        at = self.at
        wanted = at.loss + SUFFICIENT_DECREASE * self.length * self.slope
        # Strictly lower as well: where the decrease asked for is below rounding, equal losses would go on for ever.
        accepted = evaluation.finite & (evaluation.loss <= wanted) & (evaluation.loss < at.loss) & (self.slope < 0)
        self.memory.push(evaluation.x - at.x, evaluation.grad_x - at.grad_x, accepted)
        self._backtrack(evaluation, ~accepted)
        self.at = evaluation.where(accepted, at)
        failed = ~accepted & (self.backtracks > MAX_BACKTRACKS)
        self.memory.forget(failed)
        self.failures = torch.where(accepted, torch.zeros_like(self.failures), self.failures + failed.long())
        self._turn(accepted | failed)

    def propose(self) -> Tensor:
        """x + t p."""
        assert self.at is not None
        return self.at.x + self.length[:, None] * self.direction

    def verdict(self) -> Tensor:
        """STALLED where the search failed along the gradient too."""
        return torch.where(self.failures > 1, Status.STALLED, Status.MAX_EVALUATIONS)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.memory.keep(index)
        self.at = None if self.at is None else self.at.rows(index)
        for name in ("rows", "direction", "slope", "length", "backtracks", "failures"):
            setattr(self, name, getattr(self, name)[index])

    def _backtrack(self, trial: Evaluation, rejected: Tensor) -> None:
        """The minimum of the parabola through both losses and the slope, kept within [0.1, 0.5] of the step."""
        assert self.at is not None
        excess = trial.loss - self.at.loss - self.length * self.slope
        parabola = -self.slope * self.length.square() / (2.0 * excess)
        shorter = torch.where(parabola.isfinite(), parabola, 0.1 * self.length)
        shorter = torch.maximum(torch.minimum(shorter, 0.5 * self.length), 0.1 * self.length)
        self.length = torch.where(rejected, shorter, self.length)
        self.backtracks = torch.where(rejected, self.backtracks + 1, torch.zeros_like(self.backtracks))

    def _turn(self, rows: Tensor) -> None:
        """New search directions for these rows."""
        assert self.at is not None
        gradient = self.at.grad_x
        quasi_newton = -self._inverse_hessian(gradient)
        slope = (quasi_newton * gradient).sum(1)
        usable = (slope < 0) & quasi_newton.isfinite().all(1) & (self.failures == 0)
        plain = -self._initial(gradient)
        direction = torch.where(usable[:, None], quasi_newton, plain)
        self.direction = torch.where(rows[:, None], direction, self.direction)
        self.slope = torch.where(rows, (self.direction * gradient).sum(1), self.slope)
        self.length = torch.where(rows, torch.ones_like(self.length), self.length)
        self.backtracks = torch.where(rows, torch.zeros_like(self.backtracks), self.backtracks)

    def _plain_step(self) -> Tensor:
        """Step along the gradient before anything is known of the curvature, (B, 1)."""
        assert self.at is not None
        if self.first_step is not None:
            return torch.full_like(self.slope, self.first_step)[:, None]
        size: Tensor = self.at.grad_x.norm(dim=1, keepdim=True)
        return 1.0 / size.clamp_min(torch.finfo(size.dtype).tiny)

    def _inverse_hessian(self, v: Tensor) -> Tensor:
        """H v by the two-loop recursion; H₀ is the metric (or a plain step), scaled by the newest pair."""
        memory, weights = self.memory, []
        for s, y, rho in zip(memory.s.flip(0), memory.y.flip(0), memory.rho.flip(0), strict=True):
            alpha = rho * (s * v).sum(1)
            weights.append(alpha)
            v = v - alpha[:, None] * y
        v = self._initial(v)
        for s, y, rho, alpha in zip(memory.s, memory.y, memory.rho, reversed(weights), strict=True):
            beta = rho * (y * v).sum(1)
            v = v + (alpha - beta)[:, None] * s
        return v

    def _initial(self, v: Tensor) -> Tensor:
        y, rho = self.memory.y[-1], self.memory.rho[-1]
        known = rho > 0
        base_v = v if self.metric is None else self._with_metric(v)
        base_y = y if self.metric is None else self._with_metric(y)
        ratio = 1.0 / (rho * (y * base_y).sum(1))
        scale = torch.where(known & ratio.isfinite() & (ratio > 0), ratio, torch.ones_like(ratio))[:, None] * base_v
        return scale if self.metric is not None else torch.where(known[:, None], scale, self._plain_step() * v)

    def _with_metric(self, v: Tensor) -> Tensor:
        """The metric was made for all rows of the start; finished ones are fed zeros."""
        assert self.metric is not None
        if len(self.rows) == self.num_at_start:
            return self.metric(v)
        return self.metric(v.new_zeros(self.num_at_start, v.shape[1]).index_put((self.rows,), v))[self.rows]
