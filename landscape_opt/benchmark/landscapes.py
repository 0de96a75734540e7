"""Learned landscapes that are compared: the default, simpler ones, and one that has learned nothing."""

from __future__ import annotations

import torch

from .. import batches
from ..calibration import calibrate
from ..guest import frozen, private_randomness
from ..inverter import LandscapeInverter
from ..mappings import ConditionedMapping, Mapping
from ..memory import Memory
from ..objective import Objective
from .affine import AffineMapping
from .entry import Entry, Preparation
from .grids import Family
from .timing import fit_seconds
from .ways import by_inverter

OURS = "landscape"


def default_landscape(given: Preparation) -> Entry:
    """The landscape with its defaults."""
    return _fitted(given, OURS, LandscapeInverter(given.problem.landscape(), given.problem.loss_fn, seed=given.seed))


def affine(given: Preparation) -> Entry:
    """An affine start and a constant metric, with the memory and the restarts of the default: θ alone is another."""
    return _with_mapping(given, "affine θ", AffineMapping())


def conditioned(given: Preparation) -> Entry:
    """The second rung, which is told the target alone."""
    return _with_mapping(given, "θ(z; y)", ConditionedMapping())


def _with_mapping(given: Preparation, name: str, mapping: Mapping) -> Entry:
    problem = given.problem
    return _fitted(given, name, LandscapeInverter(problem.landscape(mapping), problem.loss_fn, seed=given.seed))


def published(given: Preparation) -> Entry:
    """The algorithm as published."""
    problem = given.problem
    inverter = LandscapeInverter.published(
        problem.forward_model, problem.x_init, problem.loss_fn, given=problem.given, seed=given.seed
    )
    return _fitted(given, "published θ(z)", inverter)


def _fitted(given: Preparation, name: str, inverter: LandscapeInverter) -> Entry:
    inverter.fit(given.problem.train, max_seconds=given.seconds, progress=False)
    family = Family(name, (by_inverter(name, inverter),))
    return Entry((family,), fit_seconds(inverter), inverter.num_evaluations)


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
