"""From the learned space to a solver in X that inherits what was learned."""

from __future__ import annotations

import torch
from torch import Tensor

from ..mappings.mapping import Mapping
from ..objective import Evaluation
from .landscape import LandscapeRun
from .lbfgs import LBFGS
from .solver import Run, Solver, Start


class HandOver(Solver):
    """Landscape steps first, then per-sample L-BFGS in X.

    A fixed mapping ends on a plateau and a quasi-Newton method begins slowly; each is good where the other is not.
    L-BFGS begins at the best point with the learned metric step · J Jᵀ as its initial inverse Hessian, and with the
    (s, y) pairs of the landscape steps. The number of steps does not depend on the budget, so that a larger budget
    continues the path of a smaller one (law 4).

    Args:
        mapping: θ.
        num_steps: landscape steps before the hand-over.
        memory: of L-BFGS.
    """

    def __init__(self, mapping: Mapping, num_steps: int = 3, memory: int = 10) -> None:
        if num_steps < 0:
            raise ValueError(f"num_steps must not be negative, got {num_steps}")
        self.mapping, self.num_steps, self.memory = mapping, num_steps, memory

    def start(self, start: Start) -> HandOverRun:
        """Begin in the learned space."""
        return HandOverRun(self, start)


class HandOverRun(Run):
    """The state of a descent that changes spaces."""

    def __init__(self, settings: HandOver, start: Start) -> None:
        self.settings = settings
        self.in_z = LandscapeRun(settings.mapping, start)
        self.z: Tensor = self.in_z.z
        self.solver: Run | None = None
        self.seen: list[Evaluation] = []

    @property
    def in_x(self) -> bool:  # type: ignore[override]  # a descent that changes spaces answers for now
        """Whether the hand-over has happened."""
        return self.solver is not None

    def observe(self, evaluation: Evaluation) -> None:
        """Pass the evaluation to whoever proposed the point; hand over when the steps are done."""
        if self.solver is not None:
            self.solver.observe(evaluation)
            return
        self.in_z.observe(evaluation)
        self.seen.append(evaluation.without_prediction())
        if len(self.seen) > self.settings.num_steps:
            self.solver = self._hand_over()

    def propose(self) -> Tensor:
        """The next point of the phase that is on."""
        if self.solver is not None:
            return self.solver.propose()
        x = self.in_z.propose()
        self.z = self.in_z.z
        return x

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.z = self.z[index]
        if self.solver is not None:
            self.solver.keep(index)
            return
        self.in_z.keep(index)
        self.seen = [evaluation.rows(index) for evaluation in self.seen]

    def verdict(self) -> Tensor | None:
        """Landscape rows never stall: they hand over."""
        return None if self.solver is None else self.solver.verdict()

    def _hand_over(self) -> Run:
        best, context = self.in_z.anchor, self.in_z.context
        assert best is not None
        z = torch.zeros_like(self.z) if self.settings.mapping.reanchors else self.in_z.accepted_z
        solver = LBFGS(self.settings.memory, metric=self.settings.mapping.metric(z, context), pairs=tuple(self.seen))
        run = solver.start(Start(best.x))
        run.observe(best)
        self.seen = []
        return run
