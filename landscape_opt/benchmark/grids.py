"""Numbers to tune, in units of the problem: what is tried does not depend on the scale of the loss or of x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch

from .. import batches
from ..calibration import NUM_TARGETS
from ..least_squares import LeastSquares
from ..problems.problem import Problem, TargetSet
from .rivals import first_order, least_squares, second_order
from .sets import first
from .ways import Begin, Way, in_x, opened

POWERS = range(-12, 7)
"""Of 2: the gradient steps that are tried for the scale, around mean L / mean ‖∂L/∂x‖²."""
DAMPINGS = (1e-5, 1e-3, 1e-1)


@dataclass(frozen=True)
class Scale:
    """The units of a problem where a descent begins.

    Attributes:
        step: η, the gradient step that lowers the mean loss most.
        move: r = η · rms(∂L/∂x), what that step does to an element of x.
    """

    step: float
    move: float


@dataclass(frozen=True)
class Ladder:
    """A number to tune, in powers: every whole rung is a way. The neighbours of the best rungs are always tried too.

    Attributes:
        at: the way at a rung.
        rungs: where tuning begins.
    """

    at: Callable[[int], Way] = field(repr=False)
    rungs: tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """A method, whatever its number.

    Attributes:
        name: as in a report.
        ways: that are tried in any case.
        ladders: numbers to tune.
    """

    name: str
    ways: tuple[Way, ...] = ()
    ladders: tuple[Ladder, ...] = ()


def scale_at(problem: Problem, begin: Begin | None = None) -> Scale:
    """The scale at the plain start, or where ``begin`` says, on a few training targets.

    As the landscape's own calibration does at the plain start, over a wider range.

    Example:
        >>> from landscape_opt.problems import linear
        >>> scale = scale_at(linear(dim=4, condition=1.0))  # the loss is a sphere of curvature 1
        >>> 0.4 < scale.step < 1.3
        True
    """
    some = first(TargetSet(targets=problem.train), NUM_TARGETS)
    with opened(problem, some) as (objective, target):
        layout = objective.layout
        x = layout.start(batches.size(some.targets)) if begin is None else layout.flat(begin(some))
        start = objective.evaluate(x, target)
        usable = start.finite
        gradient = start.grad_x[usable]
        steepness, level = gradient.square().sum(1).mean(), start.loss[usable].mean()
        if not bool(steepness > 0):
            return Scale(1.0, 1.0)  # nothing to descend along: no number is better than another
        steps = [float(level / steepness) * 2.0**power for power in POWERS]
        after = [objective.read(start.x - step * start.grad_x, target).loss[usable].mean() for step in steps]
    step = steps[int(torch.stack(after).nan_to_num(torch.inf).argmin())]
    return Scale(step, float(step * gradient.square().mean().sqrt()))


def first_order_families(
    problem: Problem, scale: Scale, begin: Begin | None = None, quick: bool = False
) -> tuple[Family, ...]:
    """Gradient descent and momentum at η · 2ᵏ, Adam at r · 2ᵏ."""
    rungs = {"GD": (-6, -4, -2, 0, 2), "momentum": (-8, -6, -4, -2, 0), "Adam": (-8, -6, -4, -2, 0)}
    units = {"GD": scale.step, "momentum": scale.step, "Adam": scale.move}

    def at(name: str, rung: int) -> Way:
        return in_x(first_order({name: (units[name] * 2.0**rung,)})[0], problem, begin)

    return tuple(
        Family(name, ladders=(Ladder(partial(at, name), (-1,) if quick else begun),)) for name, begun in rungs.items()
    )


def lbfgs_family(problem: Problem, scale: Scale, begin: Begin | None = None, quick: bool = False) -> Family:
    """Per-sample L-BFGS with its own first step, and with initial inverse Hessians η · 4ᵏ."""

    def at(rung: int) -> Way:
        return in_x(second_order((scale.step * 4.0**rung,))[0], problem, begin)

    return Family("L-BFGS", (in_x(second_order((None,))[0], problem, begin),), (Ladder(at, (0,) if quick else (-2, 0)),))


def lm_family(problem: Problem, begin: Begin | None = None, quick: bool = False) -> Family | None:
    """Levenberg–Marquardt; None where the loss is no sum of squares."""
    if not isinstance(problem.loss_fn, LeastSquares):
        return None
    rivals = least_squares(DAMPINGS[1:2] if quick else DAMPINGS)
    return Family("LM", tuple(in_x(rival, problem, begin) for rival in rivals))


def named(family: Family, prefix: str) -> Family:
    """The same family under a longer name, as "encoder + Adam"."""
    return Family(f"{prefix} + {family.name}", family.ways, family.ladders)
