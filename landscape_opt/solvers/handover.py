"""From the learned space to a solver in X that inherits what was learned."""

from __future__ import annotations

import torch
from torch import Tensor

from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..objective import Evaluation, Jacobian
from .landscape import LandscapeStep
from .lbfgs import LBFGS
from .solver import Run, Solver, Start, Wanted


class HandOver(Solver):
    """Steps in the learned space first, then per-sample L-BFGS in X.

    A fixed mapping ends on a plateau and a quasi-Newton method begins slowly; each is good where the other is not.
    L-BFGS begins at the best point with the learned metric step · J Jᵀ as its initial inverse Hessian, and with the
    (s, y) pairs of the steps so far. The number of steps does not depend on the budget, so that a larger budget
    continues the path of a smaller one (law 4).

    Args:
        mapping: θ.
        first: what moves z; None takes the landscape step.
        num_steps: of it before the hand-over.
        memory: of L-BFGS.
        second: what moves x afterwards; None takes L-BFGS with the learned metric.
    """

    def __init__(
        self,
        mapping: Mapping,
        first: Solver | None = None,
        num_steps: int = 3,
        memory: int = 10,
        second: Solver | None = None,
    ) -> None:
        if num_steps < 0:
            raise ValueError(f"num_steps must not be negative, got {num_steps}")
        self.mapping, self.num_steps, self.memory, self.second = mapping, num_steps, memory, second
        self.first = LandscapeStep(mapping) if first is None else first

    def start(self, start: Start) -> HandOverRun:
        """Begin in the learned space."""
        return HandOverRun(self, start)


class HandOverRun(Run):
    """The state of a descent that changes spaces."""

    def __init__(self, settings: HandOver, start: Start) -> None:
        self.settings = settings
        self.run: Run = settings.first.start(start)
        self.in_x = False
        self.z: Tensor = start.x.new_zeros(len(start.x), settings.mapping.dim_z)
        self.told = start.context
        self.seen: list[Evaluation] = []
        self.best: Evaluation | None = None
        self.best_z = self.z

    def observe(self, evaluation: Evaluation) -> None:
        """Pass the evaluation to whoever proposed the point; hand over when the steps are done."""
        self.run.observe(evaluation)
        if self.in_x:
            return
        evaluation = evaluation.without_prediction()
        self.seen.append(evaluation)
        better = evaluation.finite & (True if self.best is None else (evaluation.loss <= self.best.loss))
        self.best = evaluation if self.best is None else evaluation.where(better, self.best)
        self.best_z = torch.where(better[:, None], self.z, self.best_z)
        if len(self.seen) > self.settings.num_steps:
            self._hand_over(self.best)

    def propose(self) -> Tensor:
        """The next point of the phase that is on."""
        x = self.run.propose()
        if not self.in_x and self.run.z is not None:
            self.z = self.run.z
        return x

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.run.keep(index)
        self.z = self.z[index]
        if self.in_x:
            return
        self.best_z = self.best_z[index]
        self.told = self.told.rows(index)
        self.best = None if self.best is None else self.best.rows(index)
        self.seen = [evaluation.rows(index) for evaluation in self.seen]

    @property
    def wanted(self) -> Wanted | None:
        """What the phase that is on asks for."""
        return self.run.wanted

    def take(self, jacobian: Jacobian) -> None:
        """For the phase that is on."""
        self.run.take(jacobian)

    def verdict(self) -> Tensor | None:
        """What the phase that is on says: landscape steps never end a row, they hand over."""
        return self.run.verdict()

    def _hand_over(self, best: Evaluation) -> None:
        mapping, solver = self.settings.mapping, self.settings.second
        z = torch.zeros_like(self.best_z) if mapping.reanchors else self.best_z
        if solver is None:
            metric = mapping.metric(z, Context(self.told.target, self.told.known, best))
            solver = LBFGS(self.settings.memory, metric=metric, pairs=tuple(self.seen))
        self.run = solver.start(Start(best.x))
        self.run.observe(best)
        self.in_x, self.seen = True, []
