"""From the learned space to a solver in X that inherits what was learned, each row when its time has come."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..objective import Evaluation
from .landscape import LandscapeStep
from .lbfgs import LBFGS
from .solver import Run, Solver, Start
from .together import Together

MIN_GAIN = 0.5
"""A row that a step in the learned space leaves above this share of its best loss hands the row over."""


class HandOver(Solver):
    """Steps in the learned space first, then per-sample L-BFGS in X.

    A fixed mapping ends on a plateau and a quasi-Newton method begins slowly; each is good where the other is not.
    A row hands over when a step no longer halves its loss, or after ``num_steps`` of them. L-BFGS begins at its best
    point with the learned metric step · J Jᵀ as its initial inverse Hessian, and with the (s, y) pairs of the steps so
    far. Nothing depends on the budget, so that a larger budget continues the path of a smaller one (law 4).

    Args:
        mapping: θ.
        first: what moves z; None takes the landscape step.
        num_steps: of it before the hand-over, at most.
        memory: of L-BFGS.
        second: what moves x afterwards; None takes L-BFGS with the learned metric.
        min_gain: the share of its best loss that a step in the learned space may leave of a row's loss at most; None
            takes a half for the landscape step, and infinity, that is all ``num_steps`` steps, for another ``first``.

    Raises:
        ValueError: if ``num_steps`` is negative, or ``min_gain`` not positive.

    Example:
        >>> import torch
        >>> from landscape_opt import LearnedLandscape
        >>> from landscape_opt.descent import Limits, descend
        >>> from landscape_opt.layout import Layout
        >>> from landscape_opt.objective import Objective
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> objective = Objective(torch.sinh, squares, Layout(torch.zeros(2)))
        >>> start, target = Start(torch.zeros(1, 2)), torch.tensor([[3.0, -4.0]])
        >>> solver = HandOver(LearnedLandscape(torch.sinh, torch.zeros(2)).plain(), num_steps=2)
        >>> descent = descend(objective, solver, start, target, Limits(40))
        >>> bool(descent.loss < 1e-6), bool(descent.history.in_x[-1])  # the last points were those of L-BFGS
        (True, True)
    """

    def __init__(
        self,
        mapping: Mapping,
        first: Solver | None = None,
        num_steps: int = 3,
        memory: int = 10,
        second: Solver | None = None,
        min_gain: float | None = None,
    ) -> None:
        if num_steps < 0:
            raise ValueError(f"num_steps must not be negative, got {num_steps}")
        if min_gain is not None and not min_gain > 0:
            raise ValueError(f"min_gain must be positive, got {min_gain}")
        self.mapping, self.num_steps, self.memory, self.second = mapping, num_steps, memory, second
        self.min_gain = min_gain or (MIN_GAIN if first is None else torch.inf)
        self.first = LandscapeStep(mapping) if first is None else first

    def start(self, start: Start) -> HandOverRun:
        """Begin in the learned space."""
        return HandOverRun(self, start)


class HandOverRun(Together):
    """The state of a descent whose rows change spaces one after the other."""

    def __init__(self, settings: HandOver, start: Start) -> None:
        super().__init__(settings.first.start(start), start.x)
        self.settings, self.told = settings, start.context
        self.waiting = torch.ones(len(start.x), dtype=torch.bool, device=start.x.device)  # rows that have not changed over
        self.seen: list[Evaluation] = []
        self.best: Evaluation | None = None
        self.best_z = start.x.new_zeros(len(start.x), settings.mapping.dim_z)

    def observe(self, evaluation: Evaluation) -> None:
        """Pass the evaluation to whoever proposed the point; hand over the rows whose steps are done."""
        super().observe(evaluation)
        if not bool(self.waiting.any()):
            return
        evaluation = evaluation.without_prediction()
        self.seen.append(evaluation)
        over = self.waiting & self._is_over(evaluation)
        better = evaluation.finite & (True if self.best is None else (evaluation.loss <= self.best.loss))
        self.best = evaluation if self.best is None else evaluation.where(better, self.best)
        if self.z is not None:  # another ``first`` may move x
            self.best_z = torch.where(better[:, None], self.z, self.best_z)
        if bool(over.any()):
            self._hand_over(over.nonzero()[:, 0])

    def _is_over(self, evaluation: Evaluation) -> Tensor:
        """Rows for which this was the last step in the learned space, (B,)."""
        if self.best is None or len(self.seen) > self.settings.num_steps:
            return torch.full_like(self.waiting, len(self.seen) > self.settings.num_steps)
        return ~(evaluation.loss <= self.settings.min_gain * self.best.loss)

    def _hand_over(self, rows: Tensor) -> None:
        assert self.best is not None
        mapping, solver, best = self.settings.mapping, self.settings.second, self.best.rows(rows)
        if solver is None:
            z = self.best_z[rows]
            told = self.told.rows(rows)
            context = Context(told.target, told.known, best)
            metric = mapping.metric(torch.zeros_like(z) if mapping.reanchors else z, context)
            solver = LBFGS(self.settings.memory, metric=metric, pairs=tuple(one.rows(rows) for one in self.seen))
        run: Run = solver.start(Start(best.x))
        run.observe(best)
        self.waiting[rows] = False
        self.begin(rows, run)
        self._join_groups()  # now: how rows are grouped follows from the hand-overs alone, and so can be made again
        if not bool(self.waiting.any()):
            self.seen, self.best, self.told = [], None, Context()

    def _joined_z(self) -> Tensor | None:
        """In X a row keeps the z of its best point in the learned space."""
        z = super()._joined_z()
        return None if z is None else torch.where(self.waiting[:, None], z, self.best_z)

    def join(self, other: Run) -> bool:
        """Take in another run, once all rows of both have changed over."""
        if not isinstance(other, HandOverRun) or bool(self.waiting.any()) or bool(other.waiting.any()):
            return False
        if (self.z is None) != (other.z is None):
            return False
        size = len(self)
        self.groups += [replace(group, positions=size + group.positions) for group in other.groups]
        self.waiting, self.best_z = torch.cat([self.waiting, other.waiting]), torch.cat([self.best_z, other.best_z])
        self.z = self._joined_z()
        self._join_groups()
        return True

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        super().keep(index)
        self.waiting, self.best_z, self.told = self.waiting[index], self.best_z[index], self.told.rows(index)
        self.best = None if self.best is None else self.best.rows(index)
        self.seen = [evaluation.rows(index) for evaluation in self.seen]
