"""What people invert a generator with, each tuned on validation targets, as ways that a table can run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from ...benchmark.entry import Preparation
from ...benchmark.grids import Family, Ladder, scale_at
from ...benchmark.trained import encoder_refined
from ...benchmark.trial import VALIDATION, Trial
from ...benchmark.ways import Outcome, Way, by_inverter, opened
from ...inverter import LandscapeInverter
from ...problems.problem import Problem, TargetSet
from ...solvers import Solver
from .perceptual import Perceived
from .pivotal import pivotal_tuning
from .projector import Projector
from .restyle import NUM_PASSES, ReStyle, restyle_refined, train_passes

Run: TypeAlias = tuple[Way, int]
"""A way and its budget."""
NOISE = 0.05
"""Of the first step of a projector, in units of the spread of w: that of the public code."""


def validation_trial(problem: Problem, budget: int) -> Trial:
    """Where the numbers of a family are chosen: on the validation targets, for one budget."""
    validation = TargetSet(targets=problem.validation)
    with opened(problem, validation) as (objective, target):
        x = objective.layout.start(len(problem.validation["image"]))
        level = float(objective.read(x, target).loss.median())
    return Trial(problem, validation, sets={}, at_start={VALIDATION: level}, budgets=(budget,))


def chosen(problem: Problem, families: Sequence[Family], budget: int, name: str) -> Way:
    """The way with the lowest median loss on validation targets at a budget, of several families, under this name."""
    trial = validation_trial(problem, budget)
    tuned = [(trial.tuned(family), family.name) for family in families]
    ways = [(one.at(budget), one.on_validation[one.at(budget).name].best[budget].median()) for one, _ in tuned]
    best = min(ways, key=lambda each: float(each[1]))[0]
    return Way(name, best.invert)


def projector(problem: Problem, spread: float, budget: int, name: str, quick: bool = False) -> Way:
    """Adam with ramps and noise over so many steps, its rate tuned.

    Args:
        problem: F, loss and start.
        spread: Of an element of w.
        budget: Steps.
        name: As in the table.
        quick: One rate and its neighbours.
    """
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)

    def at(rung: int) -> Way:
        def invert(some: TargetSet, most: int, enough: float | None = None, /) -> Outcome:
            solver = Projector(inverter.landscape, max(1, most), spread * 2.0**rung, NOISE * spread)
            return _solved(name, inverter, solver).invert(some, most, enough)

        return Way(f"{name} rate {2.0**rung:.4g}", invert)

    return chosen(problem, (Family(name, ladders=(Ladder(at, (-3,) if quick else (-4, -2)),)),), budget, name)


def encoders(given: Preparation, budgets: Sequence[int]) -> list[Run]:
    """An encoder fitted to the same loss, refined by the best of Adam and L-BFGS with tuned numbers; at 0 as it is.

    Args:
        given: The problem, and seed and seconds of the fit.
        budgets: Evaluations that it is tuned for; 0 is the encoder alone.
    """
    entry = encoder_refined(given)
    assert entry is not None  # pictures can be read
    alone, *refined = [family for family in entry.families if not family.name.endswith("LM")]
    return [
        (chosen(given.problem, refined, budget, "encoder + refine") if budget else alone.ways[0], budget)
        for budget in budgets
    ]


def restyle(given: Preparation, spread: float, budgets: Sequence[int]) -> list[Run]:
    """ReStyle's five passes alone, and with L-BFGS after them.

    Args:
        given: The problem, and seed and seconds of the fit.
        spread: Of an element of w.
        budgets: Evaluations, the passes included.
    """
    problem = given.problem
    network = train_passes(problem, spread, max_seconds=given.seconds, seed=given.seed)
    inverter, step = LandscapeInverter(problem.landscape(), problem.loss_fn), scale_at(problem).step
    alone = _solved("ReStyle", inverter, ReStyle(network))
    refined = _solved("ReStyle + L-BFGS", inverter, restyle_refined(network, NUM_PASSES, inverter.landscape, step))
    return [(alone, NUM_PASSES), *((refined, budget) for budget in budgets)]


def pivotal(problem: Problem, inverter: LandscapeInverter, num_before: int) -> Way:
    """Pivotal tuning after so many evaluations of a landscape: a ceiling."""

    def invert(some: TargetSet, most: int, enough: float | None = None, /) -> Outcome:  # noqa: ARG001  # one signature for all
        assert isinstance(problem.forward_model, Perceived)
        targets: Any = some.targets
        found = inverter.invert(targets, num_before)
        result = pivotal_tuning(problem.forward_model, problem.loss_fn, found, targets, most)
        return Outcome(result.history.best, result.x, result.prediction)

    return Way("landscape, then pivotal tuning", invert)


def _solved(name: str, inverter: LandscapeInverter, solver: Solver) -> Way:
    return by_inverter(name, inverter, solver=solver, allow_unfitted=True)
