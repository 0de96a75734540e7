"""Must-show figures of the linear problem, where the best landscape is known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..descent import Limits
from ..inverter import LandscapeInverter
from ..mappings import ResidualMapping
from ..problems import LinearProblem, Problem
from ..results import to_budget
from .rivals import Rival, first_order, run
from .timing import fit_seconds

SHARE = 1e-4
SHOWN = (0, 1, 2, 5)


@dataclass(frozen=True)
class TunedDescent:
    """Plain gradient descent in X with the learning rate that needs the fewest steps.

    Attributes:
        rival: the method.
        seconds: of tuning.
    """

    rival: Rival
    seconds: float


@dataclass(frozen=True)
class LinearReport:
    """What was found on the linear problem.

    Attributes:
        text: all that a command prints.
        relative_loss: of the anchored default after each number of evaluations in ``SHOWN``: median of the loss over
            that at the landscape's own start.
        relative_to_plain: likewise, over the loss at ``x_init``.
        landscape_steps: of gradient descent in the paper's θ(z), median; infinite if not reached.
        plain_steps: of the best-tuned gradient descent in X, median.
    """

    text: str
    relative_loss: tuple[float, ...]
    relative_to_plain: tuple[float, ...]
    landscape_steps: float
    plain_steps: float


def run_linear(
    problem: LinearProblem,
    seconds: float | None = None,
    num_rounds: int | None = None,
    max_steps: int = 6000,
    progress: bool = True,
) -> LinearReport:
    """Fit the default and the paper's mapping on a linear problem, and count steps.

    Args:
        problem: the linear problem.
        seconds: of fitting, for each of the two.
        num_rounds: of fitting, likewise.
        max_steps: of gradient descent.
        progress: whether to show progress bars.
    """
    fit: Any = {"max_seconds": seconds, "num_rounds": num_rounds, "progress": progress}
    default = problem.landscape()
    anchored = LandscapeInverter(default, problem.loss_fn).fit(problem.train, **fit)
    best = to_budget(anchored.invert(problem.test, max(SHOWN)).history.best, max(SHOWN))
    at_plain_start = run(_gradient_descent(1.0), problem, problem.test, Limits(0)).history.best[0]
    relative, to_plain = (
        tuple(float((best[step] / start).median()) for step in SHOWN) for start in (best[0], at_plain_start)
    )
    paper = problem.landscape(ResidualMapping())
    residual = LandscapeInverter(paper, problem.loss_fn).fit(problem.train, **fit)
    found = residual.invert(problem.test, max_steps, refine=False, restarts=False, rtol=SHARE)
    landscape = steps_to_share(found.history.best)
    plain = tune_descent(problem, max_steps)
    plain_steps = steps_to_share(run(plain.rival, problem, problem.test, Limits(max_steps, relative=SHARE)).history.best)
    text = _text(problem, (relative, to_plain), (anchored, residual), (landscape, plain_steps), plain)
    return LinearReport(text, relative, to_plain, landscape, plain_steps)


def steps_to_share(best: Tensor) -> float:
    """Median over the rows of the steps until the loss is ``SHARE`` of the start's; infinite where it is not reached.

    Args:
        best: lowest loss so far after k steps, (K + 1, B).
    """
    there = best <= SHARE * best[0]
    steps = torch.where(there.any(0), there.float().argmax(0).double(), torch.inf)
    return float(steps.median())


def tune_descent(problem: Problem, max_steps: int, num_rounds: int = 3) -> TunedDescent:
    """Search the learning rate on the validation targets: a grid over decades, then finer around the best.

    Args:
        problem: F and the validation targets.
        max_steps: of every run.
        num_rounds: of refinement.
    """
    began = time.monotonic()
    limits, targets = Limits(max_steps, relative=SHARE), problem.validation[:64]
    found: dict[float, tuple[float, float]] = {}
    rates: Sequence[float] = [2.0**power for power in range(-4, 4)]
    factor = 2.0
    for _ in range(num_rounds + 1):
        for rate in rates:
            best_so_far = run(_gradient_descent(rate), problem, targets, limits).history.best
            # Rates that do not arrive are still told apart, by how far they came.
            found[rate] = (steps_to_share(best_so_far), float(best_so_far[-1].median()))
        best = min(found, key=found.__getitem__)
        factor = factor**0.4
        rates = [best * factor**power for power in (-2, -1, 1, 2)]
    return TunedDescent(_gradient_descent(min(found, key=found.__getitem__)), time.monotonic() - began)


def _gradient_descent(rate: float) -> Rival:
    return first_order({"GD": (rate,)})[0]


def _text(
    problem: LinearProblem,
    relative: tuple[tuple[float, ...], tuple[float, ...]],
    fits: tuple[LandscapeInverter, LandscapeInverter],
    steps: tuple[float, float],
    tuned: TunedDescent,
) -> str:
    seconds = [fit_seconds(one) for one in fits]
    own, to_plain = ("  ".join(f"{step}: {loss:.2g}" for step, loss in zip(SHOWN, one, strict=True)) for one in relative)
    landscape, plain = steps
    condition = float(torch.linalg.cond(problem.hessian.double()))
    ratio = f"{plain / landscape:.1f} times as many" if landscape and landscape < torch.inf else "no ratio"
    lines = [
        f"Least squares: {problem.dim} numbers, condition {condition:.0f}, {len(problem.test)} test targets.",
        f"(a) anchored landscape, defaults, {seconds[0]:.1f} s of fitting: median loss after evaluations",
        f"      over the loss at its own start  {own}",
        f"      over the loss at x_init         {to_plain}",
        f"(b) gradient descent to {SHARE:g} of the start, median of the steps",
        f"      in the paper's θ(z), untuned: {landscape:.0f} steps; {seconds[1]:.1f} s of fitting",
        f"      in X, {tuned.rival.name}: {plain:.0f} steps, {ratio}; {tuned.seconds:.1f} s of tuning",
    ]
    return "\n".join(lines) + "\n"
