"""L-BFGS with a memory and a line search for every row, all rows in lock-step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..mappings.metric import RowMetric, WholeMetric
from ..objective import Evaluation
from ..results import Status
from .line_search import LineSearch, Point
from .solver import Run, Solver, Start

MIN_CURVATURE = 1e-10
_PAIRS = ("s", "y", "rho")


class LBFGS(Solver):
    """Limited-memory BFGS in X with a line search (Nocedal & Wright 2006, algorithm 7.4 and section 3.1).

    Every trial point of the line search is one evaluation. A row whose search fails drops its memory, but for the
    newest pair, whose scale it keeps, and follows the gradient (in the metric); if that fails too it has stalled.

    Args:
        memory: (s, y) pairs kept for every row.
        first_step: length scale of the first step, initial inverse Hessian ``first_step · 1``; None takes a step of
            length one, whatever the units of the loss (law 2).
        metric: initial inverse Hessian v ↦ H v that replaces it: what a learned landscape hands over, or any function of
            (B, d) for the rows of the start.
        pairs: evaluations seen before the start, in order; their differences fill the memory.

    Raises:
        ValueError: if ``memory`` is below 1, or ``first_step`` not positive.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares)
        >>> target = torch.tensor([[3.0, -4.0]])
        >>> result = inverter.invert(target, 30, solver=LBFGS(memory=5), allow_unfitted=True)
        >>> bool(result.loss < 1e-6)
        True
    """

    def __init__(
        self,
        memory: int = 10,
        first_step: float | None = None,
        metric: RowMetric | Callable[[Tensor], Tensor] | None = None,
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
    """Pairs s = Δx, y = Δ∂L/∂x of every row, newest last; unusable ones have weight 0.

    There are only as many as the row with the most has, one at least: what is empty costs as much as what is full.
    """

    room: int
    s: Tensor  # (K, B, d), K at most the room
    y: Tensor
    rho: Tensor  # (K, B): 1 / sᵀy, or 0

    @classmethod
    def empty(cls, room: int, like: Tensor) -> _Memory:
        return cls(room, torch.zeros_like(like)[None], torch.zeros_like(like)[None], like.new_zeros(1, len(like)))

    def push(self, s: Tensor, y: Tensor, rows: Tensor) -> None:
        """Add a pair to the rows where it has positive curvature."""
        curvature = (s * y).sum(1)
        usable = rows & (curvature > MIN_CURVATURE * s.norm(dim=1) * y.norm(dim=1)) & curvature.isfinite()
        usable &= (1.0 / curvature).isfinite()
        if len(self.rho) < self.room and bool((self.rho[0] != 0).any()):
            self.grow(len(self.rho) + 1)
        self.s = torch.where(usable[None, :, None], torch.cat([self.s[1:], s[None]]), self.s)
        self.y = torch.where(usable[None, :, None], torch.cat([self.y[1:], y[None]]), self.y)
        self.rho = torch.where(usable[None], torch.cat([self.rho[1:], (1.0 / curvature)[None]]), self.rho)

    def grow(self, size: int) -> None:
        """Empty pairs before the oldest, until there are ``size``."""
        for name in _PAIRS:
            pairs = getattr(self, name)
            setattr(self, name, torch.cat([pairs.new_zeros(size - len(pairs), *pairs.shape[1:]), pairs]))

    def forget(self, rows: Tensor) -> None:
        """All but the newest pair, which alone still knows how long a step is."""
        older = torch.where(rows[None], 0.0, self.rho[:-1])
        self.rho = torch.cat([older, self.rho[-1:]])

    def keep(self, index: Tensor) -> None:
        self.s, self.y, self.rho = self.s[:, index], self.y[:, index], self.rho[:, index]

    def join(self, other: _Memory) -> None:
        size = max(len(self.rho), len(other.rho))
        self.grow(size)
        other.grow(size)
        for name in _PAIRS:
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)], dim=1))


class LBFGSRun(Run):
    """The state of L-BFGS on a batch."""

    def __init__(self, settings: LBFGS, start: Start) -> None:
        self.first_step, self.metric = settings.first_step, _of_rows(settings.metric, len(start.x))
        self.memory = _Memory.empty(settings.memory, start.x)
        for before, after in zip(settings.pairs, settings.pairs[1:], strict=False):
            everyone = before.finite & after.finite
            self.memory.push(after.x - before.x, after.grad_x - before.grad_x, everyone)
        self.search: LineSearch | None = None
        self.failures = torch.zeros(len(start.x), dtype=torch.long, device=start.x.device)

    @property
    def at(self) -> Point:
        """The best point of every row with sufficient decrease."""
        assert self.search is not None
        return self.search.at

    def observe(self, evaluation: Evaluation) -> None:
        """Turn the rows whose line search has ended; the others go on along theirs."""
        if self.search is None:
            self.search = LineSearch(evaluation)
            self._turn(self.search, torch.ones_like(self.failures, dtype=torch.bool))
            return
        search, judged = self.search, self.search.observe(evaluation)
        self.memory.push(search.at.x - search.origin.x, search.at.grad_x - search.origin.grad_x, judged.done)
        self.memory.forget(judged.failed)
        self.failures = torch.where(judged.done, torch.zeros_like(self.failures), self.failures + judged.failed.long())
        self._turn(search, judged.done | judged.failed)

    def propose(self) -> Tensor:
        """x + t p."""
        assert self.search is not None
        return self.search.propose()

    def verdict(self) -> Tensor:
        """STALLED where the search failed along the gradient too, NONFINITE where F is not finite along it."""
        assert self.search is not None
        ended = torch.where(self.failures > 1, Status.STALLED, Status.MAX_EVALUATIONS)
        return torch.where(self.search.walled_in, Status.NONFINITE, ended)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.memory.keep(index)
        self.failures = self.failures[index]
        self.metric = None if self.metric is None else self.metric.rows(index)
        if self.search is not None:
            self.search.keep(index)

    def join(self, other: Run) -> bool:
        """Take in another L-BFGS of the same settings, once both have begun."""
        if not isinstance(other, LBFGSRun) or self.search is None or other.search is None:
            return False
        if (self.first_step, self.memory.room) != (other.first_step, other.memory.room):
            return False
        metric = None
        if self.metric is not None and other.metric is not None:
            metric = self.metric.beside(other.metric)
        if metric is None and (self.metric is not None or other.metric is not None):
            return False
        self.metric = metric
        self.memory.join(other.memory)
        self.search.join(other.search)
        self.failures = torch.cat([self.failures, other.failures])
        return True

    def _turn(self, search: LineSearch, rows: Tensor) -> None:
        """New search directions for these rows."""
        gradient = search.at.grad_x
        quasi_newton = -self._inverse_hessian(gradient)
        usable = ((quasi_newton * gradient).sum(1) < 0) & quasi_newton.isfinite().all(1) & (self.failures == 0)
        if not bool(usable.all()):
            quasi_newton = torch.where(usable[:, None], quasi_newton, -self._initial(gradient))
        search.begin(rows, quasi_newton)

    def _plain_step(self) -> Tensor:
        """Step along the gradient before anything is known of the curvature, (B, 1)."""
        if self.first_step is not None:
            return torch.full_like(self.at.loss, self.first_step)[:, None]
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
        base_v, base_y = (v, y) if self.metric is None else (self.metric(v), self.metric(y))
        ratio = 1.0 / (rho * (y * base_y).sum(1))
        scale = torch.where(known & ratio.isfinite() & (ratio > 0), ratio, torch.ones_like(ratio))[:, None] * base_v
        return scale if self.metric is not None else torch.where(known[:, None], scale, self._plain_step() * v)


def _of_rows(metric: RowMetric | Callable[[Tensor], Tensor] | None, size: int) -> RowMetric | None:
    return metric if metric is None or isinstance(metric, RowMetric) else WholeMetric(metric, size)
