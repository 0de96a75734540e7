"""Classic problems, every row its own start: the batched solvers beside SciPy and torch.optim, which take one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..descent import Limits, descend
from ..landscape import LearnedLandscape
from ..layout import Layout
from ..least_squares import LeastSquares
from ..objective import Objective
from ..problems.zoo import Classic, classic, classic_names
from ..solvers import LBFGS, Backtracking, LevenbergMarquardt, Solver, Start, TorchOptim
from .one_by_one import MEMORY, SCIPY, TORCH, Outcome, evaluations_to_minimum, run_scipy, run_scipy_lm, run_torch

MAX_EVALUATIONS = 600
ADAM_RATE = 0.1
TIMED = "rosenbrock 10-D"
TIMED_LOSS = 1e-8


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
        outcomes[name] = (*batched, run_scipy(problem, max_evaluations), run_scipy_lm(problem, max_evaluations))
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
    return Outcome(name, evaluations_to_minimum(problem, descent.history.best[:max_evaluations]), descent)


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
