"""Solvers that take one problem at a time, SciPy's and torch's, by the same count of evaluations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..descent import Descent
from ..problems.zoo import Classic

SCIPY = "SciPy L-BFGS-B"
SCIPY_LM = "SciPy LM"
TORCH = "torch.optim.LBFGS"
MEMORY = 10
"""Pairs of every L-BFGS that is compared."""
NEVER = -1.0
"""A loss that no least-squares problem falls to."""
UNTIL_NOTHING = 1e-15
"""Tolerances of those that are told to go on until nothing more is gained, as the batched solvers do."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a method fared on the starts of one problem.

    Attributes:
        solver: its name.
        evaluations: of every start until the loss was that of a known minimum, (B,); infinite where it never was.
        descent: of a batched solver.
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


def run_scipy(problem: Classic, max_evaluations: int, target_loss: float = NEVER) -> Outcome:
    """``scipy.optimize.minimize(method="L-BFGS-B")`` from one start after another, gradients by autograd.

    It is told to go on until nothing more is gained, as the batched solvers do.

    Args:
        problem: the residuals and starts.
        max_evaluations: of every start.
        target_loss: at which a start has ended.
    """
    return _one_by_one(SCIPY, _with_scipy, problem, max_evaluations, target_loss)


def run_scipy_lm(problem: Classic, max_evaluations: int, target_loss: float = NEVER) -> Outcome:
    """``scipy.optimize.least_squares(method="lm")``, MINPACK's Levenberg–Marquardt, one start after another.

    A Jacobian is charged as the batched LM is charged for it.

    Args:
        problem: the residuals and starts.
        max_evaluations: of every start.
        target_loss: at which a start has ended.
    """
    return _one_by_one(SCIPY_LM, _with_scipy_lm, problem, max_evaluations, target_loss)


def run_torch(problem: Classic, max_evaluations: int, target_loss: float = NEVER) -> Outcome:
    """``torch.optim.LBFGS`` with its strong Wolfe search, from one start after another.

    Args:
        problem: the residuals and starts.
        max_evaluations: of every start.
        target_loss: at which a start has ended.
    """
    return _one_by_one(TORCH, _with_torch, problem, max_evaluations, target_loss)


class _EndedError(Exception):
    """Leaves a solver that takes one problem at a time."""


class _Counted:
    """A problem at one x, (d,), with the losses so far; ends the solver when there is no reason to go on."""

    def __init__(self, problem: Classic, max_evaluations: int, target_loss: float) -> None:
        self.problem, self.max_evaluations, self.target_loss = problem, max_evaluations, target_loss
        self.losses: list[float] = []

    def evaluate(self, x: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient."""
        leaf = x.detach()[None].requires_grad_(True)
        loss = self.problem.loss(leaf)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        self._note(loss.item())
        return self.losses[-1], gradient[0]

    def residuals(self, x: Tensor) -> Tensor:
        """r, (m,), one evaluation."""
        residuals = self.problem.residuals(x[None])[0]
        self._note(0.5 * float(residuals.square().sum()))
        return residuals

    def jacobian(self, x: Tensor) -> Tensor:
        """∂r/∂x, (m, d), charged as min(m, d) evaluations."""
        matrix: Tensor = torch.autograd.functional.jacobian(lambda point: self.problem.residuals(point[None])[0], x)
        for _ in range(min(matrix.shape)):
            self._note(self.losses[-1])
        return matrix

    def _note(self, loss: float) -> None:
        self.losses.append(loss)
        if loss <= self.target_loss or len(self.losses) >= self.max_evaluations:
            raise _EndedError


def _one_by_one(
    name: str, minimize: Callable[[_Counted, Tensor], None], problem: Classic, max_evaluations: int, target_loss: float
) -> Outcome:
    best = problem.starts.new_full((max_evaluations, len(problem.starts)), torch.inf)
    for row, start in enumerate(problem.starts):
        counted = _Counted(problem, max_evaluations, target_loss)
        with suppress(_EndedError):
            minimize(counted, start)
        best[: len(counted.losses), row] = torch.tensor(counted.losses, dtype=best.dtype).nan_to_num(torch.inf)
    return Outcome(name, evaluations_to_minimum(problem, torch.cummin(best, 0).values))


def _scipy_optimize() -> Any:
    try:
        from scipy import optimize  # type: ignore[import,unused-ignore]
    except ImportError as error:
        raise ImportError(
            "SciPy, which this compares with, comes with scikit-learn and is not installed: "
            'pip install "landscape_opt[examples]"'
        ) from error
    return optimize


def _with_scipy(counted: _Counted, start: Tensor) -> None:
    def loss_and_gradient(x: Any) -> tuple[float, Any]:
        loss, gradient = counted.evaluate(torch.tensor(x, dtype=start.dtype))
        return loss, gradient.double().numpy()

    most = counted.max_evaluations
    options = {"maxcor": MEMORY, "maxfun": most, "maxiter": most, "ftol": UNTIL_NOTHING, "gtol": 1e-12}
    _scipy_optimize().minimize(
        loss_and_gradient, start.double().numpy(), method="L-BFGS-B", jac=True, options=options
    )  # fmt: skip


def _with_scipy_lm(counted: _Counted, start: Tensor) -> None:
    def as_numpy(function: Callable[[Tensor], Tensor], x: Any) -> Any:
        return function(torch.tensor(x, dtype=start.dtype)).double().numpy()

    tolerances = dict.fromkeys(("ftol", "xtol", "gtol"), UNTIL_NOTHING)
    _scipy_optimize().least_squares(
        partial(as_numpy, counted.residuals), start.double().numpy(), partial(as_numpy, counted.jacobian), method="lm",
        max_nfev=counted.max_evaluations, **tolerances,
    )  # fmt: skip


def _with_torch(counted: _Counted, start: Tensor) -> None:
    x, most = nn.Parameter(start.clone()), counted.max_evaluations
    optimizer = torch.optim.LBFGS(
        [x], max_iter=most, max_eval=most, tolerance_grad=1e-12, tolerance_change=UNTIL_NOTHING, history_size=MEMORY,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def step() -> float:
        loss, x.grad = counted.evaluate(x)
        return loss

    optimizer.step(step)


def evaluations_to_minimum(problem: Classic, best: Tensor) -> Tensor:
    """Evaluations until a start was solved, (B,), of the best losses after 1, 2, … evaluations, (K, B)."""
    solved = problem.solved(best)
    return torch.where(solved.any(0), solved.int().argmax(0).double() + 1.0, torch.inf)
