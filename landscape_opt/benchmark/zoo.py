"""Classic problems, every row its own start: the batched solvers beside SciPy and torch.optim, which take one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..descent import Descent, Limits, descend
from ..landscape import LearnedLandscape
from ..layout import Layout
from ..least_squares import LeastSquares
from ..objective import Objective
from ..problems.zoo import Classic, classic, classic_names
from ..solvers import LBFGS, Backtracking, LevenbergMarquardt, Solver, Start, TorchOptim

MAX_EVALUATIONS = 600
ADAM_RATE = 0.1
SCIPY = "SciPy L-BFGS-B"
TORCH = "torch.optim.LBFGS"
TIMED = "rosenbrock 10-D"
TIMED_LOSS = 1e-8
MEMORY = 10
"""Pairs of every L-BFGS that is compared."""
NEVER = -1.0
"""A loss that no least-squares problem falls to."""


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


def run_zoo(
    num_starts: int = 16, max_evaluations: int = MAX_EVALUATIONS, num_timed: int = 256, progress: bool = True
) -> ZooReport:
    """Run every solver on every classic problem, then time L-BFGS on many starts of one.

    Args:
        num_starts: of every problem.
        max_evaluations: of every start.
        num_timed: starts of the problem that is timed.
        progress: whether to show a progress bar.
    """
    outcomes = {}
    for name in _shown(classic_names(), progress):
        problem = classic(name, num_starts)
        batched = [run_solver(problem, of, solver, max_evaluations) for of, solver in solvers(problem).items()]
        outcomes[name] = (*batched, run_scipy(problem, max_evaluations))
    seconds = time_lbfgs(classic(TIMED, num_timed), max_evaluations)
    heading = f"Classic problems, {num_starts} starts each, at most {max_evaluations} evaluations: "
    parts = [
        f"{heading}share of the starts that led\nto a known minimum, and their median evaluations.",
        _table(outcomes),
        _times(seconds, num_timed),
    ]
    return ZooReport("\n\n".join(parts) + "\n", outcomes, seconds)


def solvers(problem: Classic) -> dict[str, Solver]:
    """The batched solvers that are compared, by name.

    Args:
        problem: whose layout Adam's plain mapping takes.
    """
    mapping = LearnedLandscape(problem.residuals, problem.starts[0]).plain()
    adam: Any = partial(torch.optim.Adam, lr=ADAM_RATE)
    return {
        "L-BFGS": LBFGS(MEMORY),
        "LM": LevenbergMarquardt(),
        "GD, backtracking": Backtracking(),
        f"Adam lr {ADAM_RATE:g}": TorchOptim(mapping, adam),
    }


def run_solver(
    problem: Classic, name: str, solver: Solver, max_evaluations: int, target_loss: float | None = None
) -> Outcome:
    """All starts of a problem at once, by the package's own loop.

    Args:
        problem: the residuals and starts.
        name: of the solver.
        solver: a batched one.
        max_evaluations: of every start.
        target_loss: at which a start has ended; None goes on.
    """
    objective = Objective(problem.residuals, LeastSquares(torch.sub), Layout(problem.starts[0]))
    limits = Limits(max_evaluations, target_loss)
    descent = descend(objective, solver, Start(problem.starts), problem.targets, limits)
    return Outcome(name, _first(problem, descent.history.best[:max_evaluations]), descent)


def run_scipy(problem: Classic, max_evaluations: int, target_loss: float = NEVER) -> Outcome:
    """``scipy.optimize.minimize(method="L-BFGS-B")`` from one start after another, gradients by autograd.

    It is told to go on until nothing more is gained, as the batched solvers do.

    Args:
        problem: the residuals and starts.
        max_evaluations: of every start.
        target_loss: at which a start has ended.
    """
    return _one_by_one(SCIPY, _with_scipy, problem, max_evaluations, target_loss)


def run_torch(problem: Classic, max_evaluations: int, target_loss: float = NEVER) -> Outcome:
    """``torch.optim.LBFGS`` with its strong Wolfe search, from one start after another.

    Args:
        problem: the residuals and starts.
        max_evaluations: of every start.
        target_loss: at which a start has ended.
    """
    return _one_by_one(TORCH, _with_torch, problem, max_evaluations, target_loss)


def time_lbfgs(problem: Classic, max_evaluations: int) -> dict[str, float]:
    """Wall time of all starts by batched L-BFGS, SciPy and torch, each to a loss of ``TIMED_LOSS``, by name.

    Args:
        problem: the residuals and starts.
        max_evaluations: of every start.
    """
    methods: dict[str, Callable[[Classic], Outcome]] = {
        "L-BFGS": lambda some: run_solver(some, "L-BFGS", LBFGS(MEMORY), max_evaluations, TIMED_LOSS),
        SCIPY: lambda some: run_scipy(some, max_evaluations, TIMED_LOSS),
        TORCH: lambda some: run_torch(some, max_evaluations, TIMED_LOSS),
    }
    warm_up, seconds = classic(problem.name, 2), {}
    for name, method in methods.items():
        method(warm_up)
        began = time.perf_counter()
        method(problem)
        seconds[name] = time.perf_counter() - began
    return seconds


class _EndedError(Exception):
    """Leaves a solver that takes one problem at a time."""


class _Closure:
    """Loss and gradient at one x, (d,), with the losses so far; ends the solver when there is no reason to go on."""

    def __init__(self, problem: Classic, max_evaluations: int, target_loss: float) -> None:
        self.problem, self.max_evaluations, self.target_loss = problem, max_evaluations, target_loss
        self.losses: list[float] = []

    def __call__(self, x: Tensor) -> tuple[float, Tensor]:
        leaf = x.detach()[None].requires_grad_(True)
        loss = self.problem.loss(leaf)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        self.losses.append(loss.item())
        if self.losses[-1] <= self.target_loss or len(self.losses) >= self.max_evaluations:
            raise _EndedError
        return self.losses[-1], gradient[0]


def _one_by_one(
    name: str, minimize: Callable[[_Closure, Tensor], None], problem: Classic, max_evaluations: int, target_loss: float
) -> Outcome:
    best = problem.starts.new_full((max_evaluations, len(problem.starts)), torch.inf)
    for row, start in enumerate(problem.starts):
        closure = _Closure(problem, max_evaluations, target_loss)
        with suppress(_EndedError):
            minimize(closure, start)
        best[: len(closure.losses), row] = torch.tensor(closure.losses, dtype=best.dtype).nan_to_num(torch.inf)
    return Outcome(name, _first(problem, torch.cummin(best, 0).values))


def _with_scipy(closure: _Closure, start: Tensor) -> None:
    try:
        from scipy.optimize import minimize  # type: ignore[import,unused-ignore]
    except ImportError as error:
        raise ImportError(
            "SciPy, which this compares with, comes with scikit-learn and is not installed: "
            'pip install "landscape_opt[examples]"'
        ) from error

    def loss_and_gradient(x: Any) -> tuple[float, Any]:
        loss, gradient = closure(torch.tensor(x, dtype=start.dtype))
        return loss, gradient.double().numpy()

    most = closure.max_evaluations
    options = {"maxcor": MEMORY, "maxfun": most, "maxiter": most, "ftol": 1e-15, "gtol": 1e-12}
    minimize(loss_and_gradient, start.double().numpy(), method="L-BFGS-B", jac=True, options=options)


def _with_torch(closure: _Closure, start: Tensor) -> None:
    x, most = nn.Parameter(start.clone()), closure.max_evaluations
    optimizer = torch.optim.LBFGS(
        [x], max_iter=most, max_eval=most, tolerance_grad=1e-12, tolerance_change=1e-15, history_size=MEMORY,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def step() -> float:
        loss, x.grad = closure(x)
        return loss

    optimizer.step(step)


def _first(problem: Classic, best: Tensor) -> Tensor:
    """Evaluations until a start was solved, (B,), of the best losses after 1, 2, … evaluations, (K, B)."""
    solved = problem.solved(best)
    return torch.where(solved.any(0), solved.int().argmax(0).double() + 1.0, torch.inf)


def _shown(names: tuple[str, ...], progress: bool) -> Any:
    if not progress:
        return names
    from tqdm import tqdm  # here, because it costs a tenth of a second to import

    return tqdm(names, desc="classic problems", unit="problem")


def _table(outcomes: dict[str, tuple[Outcome, ...]]) -> str:
    names = [one.solver for one in next(iter(outcomes.values()))]
    lines = [f"{'problem':20s}" + "".join(f"{name:>18s}" for name in names)]
    for problem, row in outcomes.items():
        cells = (f"{one.share:.0%} {one.median:5.0f}" if one.share else "0%     -" for one in row)
        lines.append(f"{problem:20s}" + "".join(f"{cell:>18s}" for cell in cells))
    return "\n".join(lines)


def _times(seconds: dict[str, float], num_timed: int) -> str:
    ours = seconds["L-BFGS"]
    lines = [f"Wall time of {num_timed} starts of {TIMED}, each until its loss is {TIMED_LOSS:g}:"]
    for name, taken in seconds.items():
        how = "all at once" if name == "L-BFGS" else f"one by one, {taken / ours:.1f} times as long"
        lines.append(f"  {name:18s} {taken:7.2f} s  {how}")
    return "\n".join(lines)
