"""Learned landscapes that are compared: the default, those that lack a part of it, and one that has learned nothing."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..calibration import calibrate
from ..escapes import Escapes
from ..guest import frozen, private_randomness
from ..inverter import LandscapeInverter
from ..mappings import AnchoredMapping, ConditionedMapping, Mapping, ResidualMapping
from ..mappings.context import Context
from ..memory import NUM_DIVERSE, Candidates, LossOf, Memory
from ..objective import Objective
from ..replay.affordable import MOST_ROWS, affordable_rows
from ..replay.points import Replay
from ..replay.streaming import Streaming
from ..solvers import LBFGS
from ..theta_objective import LossRatio, ThetaObjective
from .affine import AffineMapping
from .entry import Entry, Preparation
from .grids import Family
from .timing import fit_seconds
from .ways import Way, by_inverter

OURS = "landscape"
AGAIN = "fitted again"
NO_MEMORY = "without memory"
NO_WAYS_OUT = "without ways out"
NO_RESTARTS = "without memory and restarts"
NO_HAND_OVER = "without hand-over"
NO_METRIC = "without learned metric"
NO_PROXIMITY = "without proximity"
NO_SECOND_CHANCES = "without second chances"
ALL_ROWS = "with 256 rows an update"
UNTOLD = "without conditioning"
CONDITIONED = "θ(z; y)"
RESIDUAL = "θ(z)"
PUBLISHED = "published θ(z)"


def default_landscape(given: Preparation) -> Entry:
    """The landscape with its defaults."""
    return _fitted(given, OURS, _inverter(given))


def parts(given: Preparation) -> Entry:
    """One fit of the default: inverted as it is, and with a part left out each time."""
    inverter = _inverter(given).fit(given.problem.train, max_seconds=given.seconds, progress=False)
    remembering = partial(LandscapeInverter, inverter.landscape, given.problem.loss_fn, seed=given.seed)
    trapped = remembering(memory=_without_ways_out(inverter.memory))
    forgetful = remembering(memory=PlainStartAlone(inverter.landscape.layout.row))
    return _entry(
        inverter,
        by_inverter(AGAIN, inverter),
        by_inverter(NO_WAYS_OUT, trapped),
        by_inverter(NO_MEMORY, forgetful),
        by_inverter(NO_RESTARTS, inverter, restarts=False),
        by_inverter(NO_HAND_OVER, inverter, refine=False),
        by_inverter(NO_METRIC, inverter, solver=LBFGS()),
    )


def _without_ways_out(memory: Memory) -> Memory:
    """The same solutions: an inversion adds none."""
    solutions = copy.copy(memory)
    solutions.escapes = Escapes(capacity=0)
    return solutions


class PlainStartAlone(Memory):
    """Of no solution: a row that gets nowhere starts again at the plain start, then at its own best point.

    Args:
        x_init: the plain start, flat, (d,).
    """

    def __init__(self, x_init: Tensor) -> None:
        super().__init__(capacity=1)
        self.add(x_init[None], x_init[None])  # the look-up wants a point; what F says there is never asked for

    def nearest(self, target: Batch, loss_of: LossOf, among: Tensor | None = None, count: int = NUM_DIVERSE) -> Candidates:
        """None: the look-up adds the plain start itself."""
        size, dim = batches.size(target), self.x.shape[1]
        return Candidates(self.x.new_empty(size, 0, dim), self.x.new_empty(size, 0))

    def is_like(self, target: Batch) -> bool:
        """No: there is no prediction that could tell what was not observed."""
        return False


def without_proximity(given: Preparation) -> Entry:
    """θ fitted to the losses alone, wherever the points lie."""
    return _fitted(given, NO_PROXIMITY, _inverter(given, theta_objective=LossRatio(proximity=0.0)))


def without_second_chances(given: Preparation) -> Entry:
    """A fit whose rows leave unsolved where they get nowhere."""
    return _fitted(given, NO_SECOND_CHANCES, _inverter(given, replay=Streaming(second_chances=False)))


def with_all_rows(given: Preparation) -> Entry | None:
    """A fit that spares no rows where F is expensive; None where the default spares none."""
    if affordable_rows(_inverter(given).prepare(given.problem.train).mapping) == MOST_ROWS:
        return None
    return _fitted(given, ALL_ROWS, _inverter(given, replay=Streaming(num_rows=MOST_ROWS)))


def untold(given: Preparation) -> Entry:
    """The default mapping, told the last evaluation but not the target."""
    return _fitted(given, UNTOLD, _inverter(given, UntoldMapping()))


class UntoldMapping(AnchoredMapping):
    """θ(z; e_k): begins at one start for all targets."""

    def standardised(self, context: Context, batch_size: int) -> Tensor:
        """Zeros: what is not known of a target."""
        return torch.zeros_like(super().standardised(context, batch_size))


def affine(given: Preparation) -> Entry:
    """An affine start and a constant metric, with the memory and the restarts of the default: θ alone is another."""
    return _fitted(given, "affine θ", _inverter(given, AffineMapping()))


def conditioned(given: Preparation) -> Entry:
    """The second rung, which is told the target alone."""
    return _fitted(given, CONDITIONED, _inverter(given, ConditionedMapping()))


def residual(given: Preparation) -> Entry:
    """The first rung, which is told nothing, with objective, replay, memory and solver of the default."""
    return _fitted(given, RESIDUAL, _inverter(given, ResidualMapping()))


def published(given: Preparation) -> Entry:
    """The algorithm as published."""
    problem = given.problem
    inverter = LandscapeInverter.published(
        problem.forward_model, problem.x_init, problem.loss_fn, given=problem.given, seed=given.seed
    )
    return _fitted(given, PUBLISHED, inverter)


def _inverter(
    given: Preparation,
    mapping: Mapping | None = None,
    theta_objective: ThetaObjective | None = None,
    replay: Replay | None = None,
) -> LandscapeInverter:
    """The default but for what is named."""
    landscape = given.problem.landscape(mapping)
    return LandscapeInverter(
        landscape, given.problem.loss_fn, theta_objective=theta_objective, replay=replay, seed=given.seed
    )


def _fitted(given: Preparation, name: str, inverter: LandscapeInverter) -> Entry:
    inverter.fit(given.problem.train, max_seconds=given.seconds, progress=False)
    return _entry(inverter, by_inverter(name, inverter))


def _entry(inverter: LandscapeInverter, *ways: Way) -> Entry:
    families = tuple(Family(way.name, (way,)) for way in ways)
    return Entry(families, fit_seconds(inverter), inverter.num_evaluations)


def untrained(given: Preparation) -> Entry:
    """The default landscape at birth: calibrated, θ(z) = x_k + z with J the identity, no memory.

    Its steps are gradient steps of the calibrated length, and what L-BFGS inherits is η · 1 and their pairs.
    """
    problem, landscape = given.problem, given.problem.landscape()
    some = batches.rows(problem.train, torch.arange(min(64, batches.size(problem.train))))
    with frozen(problem.forward_model) as forward_model, private_randomness(given.seed, landscape.layout.device):
        objective = Objective(forward_model, problem.loss_fn, landscape.layout, problem.given)
        landscape.build(forward_model, some, given.seed)
        landscape.mapping.calibrate(calibrate(objective, landscape.layout, some, landscape.features(some)))
    inverter = LandscapeInverter(landscape, problem.loss_fn, memory=Memory(capacity=0))
    return Entry((Family("untrained θ", (by_inverter("untrained θ", inverter),)),))
