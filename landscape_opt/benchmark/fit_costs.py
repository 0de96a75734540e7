"""What a fit costs and what it is worth: fits of the same length that take turns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from tqdm import tqdm

from .. import batches
from ..fitting import Cosine
from ..inverter import LandscapeInverter
from ..problems.problem import Problem, TargetSet
from ..results import RoundRecord
from ..targets import TargetFeed
from .rivals import Curves
from .sets import cycled, first
from .table import LEVEL_BUDGET, break_even, evaluations_to, level, row
from .turns import LEAST, enough_calls, processor_seconds, seconds_of
from .ways import by_inverter, opened

SHOWN = (0, 5)
"""Evaluations after which losses are reported."""
OURS, RIVAL = "landscape", "L-BFGS"


@dataclass(frozen=True)
class FitCost:
    """What a fit cost and what it is worth. Seconds are those of the processor.

    Attributes:
        problem: that was fitted.
        num_targets: that were fitted on.
        dim: of x.
        num_updates: of θ.
        num_evaluations: of F in the fit, rows counted.
        update_seconds: of one update of θ, with the evaluation of F that it takes and all around it; the median.
        evaluation_seconds: of that evaluation alone, forward and backward; the median.
        fit_seconds: of the whole fit, with the calibration.
        megabytes: of θ.
        losses: median held-out loss after so many evaluations, over that at the plain start.
        rival_losses: likewise, of L-BFGS from the plain start.
        paid_after: inversions to where L-BFGS is after 100 evaluations (or to a thousandth of the start) after which the
            evaluations of the fit are saved; None if never.
    """

    problem: str
    num_targets: int
    dim: int
    num_updates: int
    num_evaluations: int
    update_seconds: float
    evaluation_seconds: float
    fit_seconds: float
    megabytes: float
    losses: dict[int, float]
    rival_losses: dict[int, float]
    paid_after: float | None


@dataclass(frozen=True, eq=False)
class Fit:
    """A fit on its way.

    Attributes:
        problem: with its training targets.
        inverter: that is fitted.
        round_seconds: processor time of every round.
        evaluation_seconds: of F on a batch of the fit, one figure a round.
    """

    problem: Problem
    inverter: LandscapeInverter
    round_seconds: list[float] = field(default_factory=list)
    evaluation_seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, problem: Problem) -> Fit:
        """A fit that has not begun."""
        return cls(problem, LandscapeInverter(problem.landscape(), problem.loss_fn, batch_size=256))

    def round(self, feed: TargetFeed, factor: float) -> RoundRecord:
        """One round, and beside it the time of an evaluation of F."""
        began = processor_seconds()
        record = self.inverter.step(feed.next(), learning_rate_factor=factor)
        self.round_seconds.append(processor_seconds() - began)
        self.evaluation_seconds.append(self._evaluation())
        return record

    def _evaluation(self) -> float:
        num_rows, train = self.inverter.batch_size, self.problem.train
        some = TargetSet(targets=cycled(train, num_rows))
        with opened(self.problem, some) as (objective, target):
            x = objective.layout.start(num_rows)
            job = partial(objective.evaluate, x, target)
            return seconds_of(job, enough_calls(job, LEAST / 2))

    @property
    def update_seconds(self) -> float:
        """Of one update of θ. Every other round trains the start alone, which is cheaper: rounds count in pairs."""
        taken = self.round_seconds[1:]  # the first one calibrates
        return statistics.median(sum(pair) / 2 for pair in pairwise(taken)) / self.inverter.replay.updates_per_round


def fit_in_turns(problems: Sequence[Problem], num_rounds: int, progress: bool = False) -> list[Fit]:
    """Fits of so many rounds each, a round of every problem in turn; learning rates as in ``fit(max_seconds=...)``.

    Args:
        problems: to fit.
        num_rounds: of each, at least 3.
        progress: whether to show a progress bar.
    """
    fits = [Fit.of(problem) for problem in problems]
    feeds = [TargetFeed(fit.problem.train, fit.inverter.batch_size, fit.inverter.seed) for fit in fits]
    for number in tqdm(range(num_rounds), desc="fit", unit="round", disable=not progress):
        for fit, feed in zip(fits, feeds, strict=True):
            fit.round(feed, Cosine().factor(number / num_rounds))
    return fits


def cost_of(fit: Fit, num_test: int, most: int = LEVEL_BUDGET) -> FitCost:
    """What a fit has cost, and how it fares on test targets.

    Args:
        fit: that has ended.
        num_test: test targets, at most.
        most: evaluations of every inversion, at least 5.
    """
    problem, inverter = fit.problem, fit.inverter
    some = first(TargetSet(targets=problem.test), num_test)
    plain = LandscapeInverter(problem.landscape(), problem.loss_fn)
    ways = (by_inverter(OURS, inverter), by_inverter(RIVAL, plain, allow_unfitted=True))
    budgets = range(most + 1)
    ours, theirs = (row(way.name, Curves(way.name, way.invert(some, most).best), budgets) for way in ways)
    at_start, wanted = theirs.median[0], level(theirs)
    mine, needed = evaluations_to(wanted, ours), evaluations_to(wanted, theirs)
    paid = None if mine is None or needed is None else break_even(inverter.num_evaluations, needed, mine)
    return FitCost(
        problem=problem.name,
        num_targets=batches.size(problem.train),
        dim=problem.dim,
        num_updates=inverter.num_updates,
        num_evaluations=inverter.num_evaluations,
        update_seconds=fit.update_seconds,
        evaluation_seconds=statistics.median(fit.evaluation_seconds),
        fit_seconds=sum(fit.round_seconds),
        megabytes=sum(w.numel() * w.element_size() for w in inverter.landscape.mapping.parameters()) / 1e6,
        losses={count: ours.median[count] / at_start for count in SHOWN},
        rival_losses={count: theirs.median[count] / at_start for count in SHOWN},
        paid_after=paid,
    )
