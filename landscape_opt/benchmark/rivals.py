"""What one would do without a landscape: descend in X, by the package's own loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..descent import Descent, Limits, descend
from ..guest import frozen
from ..landscape import LearnedLandscape
from ..objective import Objective
from ..problems.problem import Problem
from ..results import to_budget
from ..solvers import LBFGS, LevenbergMarquardt, Solver, Start, TorchOptim
from .pool import side_by_side

RATES: dict[str, tuple[float, ...]] = {
    "GD": (0.02, 0.05, 0.1, 0.2, 0.4),
    "momentum": (0.003, 0.01, 0.02, 0.04, 0.1),
    "Adam": (0.03, 0.07, 0.1, 0.14, 0.2, 0.4),
}
CHUNK = 128
"""Rows of one descent: rows do not meet, and so many stay in a core's cache."""
FIRST_STEPS: tuple[float | None, ...] = (None, 0.03, 0.06, 0.1, 0.3)


@dataclass(frozen=True)
class Rival:
    """A method in X with its one number set.

    Attributes:
        family: the method, whatever its number.
        name: as in a report.
        make_solver: the solver, for a landscape whose F and start it shares.
    """

    family: str
    name: str
    make_solver: Callable[[LearnedLandscape], Solver] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Curves:
    """How a method fared on a batch of targets.

    Attributes:
        name: of the method.
        best: lowest loss so far after k evaluations, (K + 1, B).
    """

    name: str
    best: Tensor = field(repr=False)


def first_order(rates: dict[str, tuple[float, ...]] | None = None) -> tuple[Rival, ...]:
    """Gradient descent, momentum 0.9 and Adam, each at every learning rate of its grid.

    Args:
        rates: learning rates by the name of the method; None takes ``RATES``.
    """
    factories: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "GD": torch.optim.SGD,
        "momentum": partial(torch.optim.SGD, momentum=0.9),
        "Adam": torch.optim.Adam,
    }
    return tuple(
        Rival(name, f"{name} lr {rate:.4g}", partial(_torch_optim, factories[name], rate))
        for name, grid in (RATES if rates is None else rates).items()
        for rate in grid
    )


def second_order(first_steps: tuple[float | None, ...] = FIRST_STEPS) -> tuple[Rival, ...]:
    """Per-sample L-BFGS, untuned (None) and with every first step of the grid."""
    return tuple(
        Rival("L-BFGS", "L-BFGS" if step is None else f"L-BFGS first step {step:.4g}", partial(_lbfgs, step))
        for step in first_steps
    )


def least_squares(dampings: Sequence[float] = (1e-3,)) -> tuple[Rival, ...]:
    """Levenberg–Marquardt with every damping of the grid; for a :class:`~landscape_opt.LeastSquares` loss."""
    return tuple(Rival("LM", f"LM damping {damping:.4g}", partial(_lm, damping)) for damping in dampings)


def run(rival: Rival, problem: Problem, targets: Tensor, limits: Limits) -> Descent:
    """The rival's descent from the plain start."""
    landscape = problem.landscape()
    with frozen(problem.forward_model) as F:
        objective = Objective(F, problem.loss_fn, landscape.layout, problem.given)
        start = Start(landscape.layout.start(len(targets)))
        return descend(objective, rival.make_solver(landscape), start, targets, limits)


def curves(rival: Rival, problem: Problem, targets: Tensor, max_evaluations: int) -> Curves:
    """The rival's best losses up to a budget."""
    descents = [run(rival, problem, part, Limits(max_evaluations)) for part in targets.split(CHUNK)]
    return Curves(rival.name, torch.cat([to_budget(one.history.best, max_evaluations) for one in descents], dim=1))


def curves_of_all(
    rivals: Sequence[Rival], problem: Problem, targets: Tensor, max_evaluations: Sequence[int], show: Callable[[], None]
) -> tuple[Curves, ...]:
    """The curves of several rivals, side by side: one rival to a core goes further than every core for one rival.

    Args:
        rivals: to run.
        problem: F, loss and start.
        targets: (B, …).
        max_evaluations: of every rival.
        show: called when one has ended.
    """

    def one(rival: Rival, budget: int) -> Curves:
        found = curves(rival, problem, targets, budget)
        show()
        return found

    return tuple(side_by_side([partial(one, *task) for task in zip(rivals, max_evaluations, strict=True)]))


def _torch_optim(factory: Callable[..., torch.optim.Optimizer], rate: float, landscape: LearnedLandscape) -> Solver:
    settings: Any = partial(factory, lr=rate)
    return TorchOptim(landscape.plain(), settings)


def _lbfgs(first_step: float | None, landscape: LearnedLandscape) -> Solver:  # noqa: ARG001  # one signature for all
    return LBFGS(first_step=first_step)


def _lm(damping: float, landscape: LearnedLandscape) -> Solver:  # noqa: ARG001  # one signature for all
    return LevenbergMarquardt(damping)
