"""Rivals that are trained for the same seconds: an encoder, a library of solutions, a learned optimizer."""

from __future__ import annotations

import time
from functools import partial

import torch
from torch import Tensor

from .. import batches
from ..landscape import LearnedLandscape
from ..layout import X
from ..mappings.context import Context
from ..problems.problem import Problem, TargetSet
from ..solvers import HandOver, Solver
from .encoder import Encoder
from .entry import Entry, Preparation
from .grids import Family, first_order_families, lbfgs_family, lm_family, named, scale_at
from .library import Library
from .rivals import Rival
from .sets import hidden
from .unrolled import LearnedOptimizer, StepNetwork, Training
from .ways import Begin, answer_alone, in_x

STEPS_BEFORE_LBFGS = (2, 4, 8)


def encoder_refined(given: Preparation) -> Entry | None:
    """The encoder alone, and refined by each method in X, tuned anew where the encoder leaves off."""
    problem = given.problem
    if not batches.float_leaves(problem.train):
        return None
    began = time.monotonic()
    encoder = Encoder(problem, seed=given.seed).fit(problem, given.seconds)
    seconds = time.monotonic() - began

    def begin(some: TargetSet) -> X:
        with torch.no_grad():
            return encoder(hidden(some))

    alone = Family("encoder", (answer_alone("encoder", problem, begin),))
    refined = [named(family, "encoder") for family in _refining(given, begin)]
    return Entry((alone, *refined), seconds, encoder.num_evaluations)


def _refining(given: Preparation, begin: Begin) -> list[Family]:
    """What goes on from a start that was found otherwise, in units of where that is."""
    problem, scale = given.problem, scale_at(given.problem, begin)
    adam = first_order_families(problem, scale, begin, given.quick)[-1]
    lm = lm_family(problem, begin, given.quick)
    return [adam, lbfgs_family(problem, scale, begin, given.quick), *([] if lm is None else [lm])]


def nearest_solution(given: Preparation) -> Entry:
    """A library of solved training targets, then L-BFGS."""
    began = time.monotonic()
    library = Library(given.problem, given.seed).fit(given.seconds, scale_at(given.problem).step)
    seconds = time.monotonic() - began
    family = lbfgs_family(given.problem, scale_at(given.problem, library), library, given.quick)
    return Entry((named(family, "nearest"),), seconds, library.num_evaluations)


def unrolled(given: Preparation) -> Entry:
    """The learned optimizer to the end, and its first steps followed by L-BFGS, which takes over their (s, y) pairs."""
    problem, training = given.problem, Training(given.problem, given.seed)
    began = time.monotonic()
    network = training.run(given.seconds)
    seconds, begin = time.monotonic() - began, partial(_network_start, problem, network)
    alone = Rival("unrolled", "unrolled", partial(_to_the_end, network))
    handed = [Rival("unrolled", f"unrolled {k}, L-BFGS", partial(_handing, network, k)) for k in STEPS_BEFORE_LBFGS]
    families = (
        Family("unrolled", (in_x(alone, problem, begin),)),
        Family("unrolled + L-BFGS", tuple(in_x(one, problem, begin) for one in handed)),
    )
    return Entry(families, seconds, training.num_evaluations)


def _to_the_end(network: StepNetwork, landscape: LearnedLandscape) -> Solver:  # noqa: ARG001  # one signature for all
    return LearnedOptimizer(network)


def _handing(network: StepNetwork, num_steps: int, landscape: LearnedLandscape) -> Solver:
    plain = landscape.plain()
    plain.step.copy_(network.units.step)
    return HandOver(plain, LearnedOptimizer(network), num_steps)


def _network_start(problem: Problem, network: StepNetwork, some: TargetSet) -> X:
    landscape = problem.landscape()
    target = some.targets if some.observed is None else batches.map_leaves(_zero_for_nan, hidden(some))
    known: Tensor | None = None
    if some.observed is not None:
        known = landscape.known_features(some.targets, some.observed)
    with torch.no_grad():
        x = network.start(Context(landscape.features(target), known), batches.size(target))
    return landscape.layout.structured(x)


def _zero_for_nan(leaf: Tensor) -> Tensor:
    return leaf.nan_to_num(0.0) if leaf.is_floating_point() else leaf
