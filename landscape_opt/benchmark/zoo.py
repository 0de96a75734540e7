"""Classic problems, every row its own start: the batched solvers beside SciPy and torch.optim, which take one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..descent import Descent, Limits, descend
from ..landscape import LearnedLandscape
from ..layout import Layout
from ..objective import Objective
from ..problems.zoo import Classic
from ..solvers import LBFGS, Solver, Start, TorchOptim
from ..solvers.backtracking import Backtracking

SCIPY = "SciPy L-BFGS-B"
ADAM_RATE = 0.1
TIMED = "rosenbrock 10-D"


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a method fared on the starts of one problem.

    Attributes:
        solver: its name.
        evaluations: of every start until its loss was that of a known minimum, (B,); infinite where it never was.
        descent: the descent of a batched solver.
    """

    solver: str
    evaluations: Tensor = field(repr=False)
    descent: Descent | None = field(default=None, repr=False)

    @property
    def solved(self) -> Tensor:
        """Starts that led to a known minimum, (B,)."""
        return self.evaluations.isfinite()

    @property
    def share(self) -> float:
        """The share of them."""
        return float(self.solved.double().mean())

    @property
    def median(self) -> float:
        """Median evaluations of those that were solved; infinite if none was."""
        return float(self.evaluations[self.solved].median()) if bool(self.solved.any()) else float("inf")


@dataclass(frozen=True)
class ZooReport:
    """What was found on the classic problems.

    Attributes:
        text: all that a command prints.
        outcomes: of every solver, SciPy last, by the name of the problem.
        seconds: wall time of all starts of one problem, by the name of the method.
    """

    text: str
    outcomes: dict[str, tuple[Outcome, ...]]
    seconds: dict[str, float]


def solvers(problem: Classic) -> dict[str, Solver]:
    """The batched solvers that are compared, by name.

    Args:
        problem: whose layout Adam's plain mapping takes.
    """
    mapping = LearnedLandscape(problem.residuals, problem.starts[0]).plain()
    adam: Any = partial(torch.optim.Adam, lr=ADAM_RATE)
    return {
        "L-BFGS": LBFGS(),
        "GD with backtracking": Backtracking(),
        f"Adam lr {ADAM_RATE:g}": TorchOptim(mapping, adam),
    }


def run_solver(problem: Classic, name: str, solver: Solver, max_evaluations: int) -> Outcome:
    """All starts of a problem at once, by the package's own loop.

    Args:
        problem: the residuals and starts.
        name: of the solver.
        solver: a batched one.
        max_evaluations: of every start.
    """
    objective = Objective(problem.residuals, problem.loss_fn, Layout(problem.starts[0]))
    descent = descend(objective, solver, Start(problem.starts), problem.targets, Limits(max_evaluations))
    solved = problem.solved(descent.history.best)
    # history[k] is the loss after k moves, known after k + 1 evaluations
    first = torch.where(solved.any(0), solved.int().argmax(0).double() + 1.0, torch.inf)
    return Outcome(name, first, descent)


def run_scipy(problem: Classic, max_evaluations: int) -> Outcome:
    """``scipy.optimize.minimize(method="L-BFGS-B")`` from one start after another, gradients by autograd.

    It is told to go on until nothing more is gained, as the batched solvers do.

    Args:
        problem: the residuals and starts.
        max_evaluations: of every start.
    """
    losses = [torch.tensor(_scipy_losses(problem, start, max_evaluations)) for start in problem.starts]
    found = []
    for row, seen in enumerate(losses):
        solved = _row(problem, row).solved(torch.cummin(seen.to(problem.starts), 0).values[:, None])[:, 0]
        found.append(float(solved.int().argmax()) + 1.0 if bool(solved.any()) else float("inf"))
    return Outcome(SCIPY, torch.tensor(found, dtype=torch.float64))


def _row(problem: Classic, row: int) -> Classic:
    from dataclasses import replace

    return replace(problem, starts=problem.starts[row : row + 1])


def _scipy_losses(problem: Classic, start: Tensor, max_evaluations: int) -> list[float]:
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    losses: list[float] = []

    def loss_and_gradient(x: Any) -> tuple[float, Any]:
        leaf = torch.tensor(x, dtype=start.dtype)[None].requires_grad_(True)
        loss = problem.loss(leaf).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        losses.append(float(loss.detach()))
        return losses[-1], gradient[0].numpy()

    options = {"maxfun": max_evaluations, "maxiter": max_evaluations, "ftol": 1e-15, "gtol": 1e-12}
    minimize(loss_and_gradient, start.numpy(), method="L-BFGS-B", jac=True, options=options)
    return losses
