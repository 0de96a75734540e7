"""One family on trial: tuned on validation targets, per budget, and then run once on each set of test targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from .. import batches
from ..problems.problem import Problem, TargetSet
from .entry import Entry
from .grids import Family
from .records import MethodRecord
from .rivals import Curves
from .sets import first
from .table import tuned_row
from .timing import measure
from .tuner import Tuned, Tuner
from .tuning import Choice, Statistic
from .ways import Outcome, Task, Way, curves

BUDGETS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)
METRIC_BUDGETS = (20,)
TIMED = (1, 5, 20, 100)
"""Evaluations after which the clock is read."""
TIMED_ROWS = 256
VALIDATION = "validation"
"""The name of the set that numbers are chosen on, beside those that are reported."""
SOLVED = 1e-10
"""Losses below this share of the median at the plain start are as good as one another: float32 ends there."""
ENOUGH = 1e-12
"""A target is done with below this share of the median loss at the plain start: no figure looks further down."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What families are tried on.

    Attributes:
        problem: F, loss and metric.
        validation: what numbers are chosen on.
        sets: what is reported on, in distribution first.
        at_start: median loss at the plain start, of every set and of "validation".
        budgets: evaluations.
        piece_size: rows that go through F together.
    """

    problem: Problem
    validation: TargetSet
    sets: Mapping[str, TargetSet]
    at_start: Mapping[str, float]
    budgets: tuple[int, ...] = BUDGETS
    piece_size: int = 128

    def run(self, entry: Entry) -> tuple[MethodRecord, ...]:
        """Every family of a group."""
        return tuple(self._record(family, entry) for family in entry.families)

    def _record(self, family: Family, entry: Entry) -> MethodRecord:
        tuned = self.tuned(family)
        going = [tuned.ways[one] for one in tuned.lengths]
        found = self._curves(going, list(tuned.lengths.values()), self.sets)
        rows = {
            name: tuned_row(family.name, {one.name: one for one in each}, tuned.choices, self.budgets)
            for name, each in zip(self.sets, found, strict=True)
        }
        on_validation = {name: tuned.on_validation[name] for name in tuned.lengths}
        return MethodRecord(
            name=family.name,
            fit_seconds=entry.fit_seconds,
            fit_evaluations=entry.fit_evaluations,
            validation=tuned_row(family.name, on_validation, tuned.choices, self.budgets),
            sets=rows,
            choices=_by_statistic(tuned.choices) if len(tuned.ways) > 1 else {},
            seconds=self._seconds(tuned),
            metric=self._metric(tuned),
        )

    def tuned(self, family: Family) -> Tuned:
        """The numbers of a family, chosen on the validation targets."""

        def curves_of(ways: Sequence[Way], length: int) -> Sequence[Curves]:
            return self._curves(ways, [length] * len(ways), {VALIDATION: self.validation})[0]

        return Tuner(family, self.budgets, curves_of, SOLVED * self.at_start[VALIDATION]).run()

    def _curves(
        self, ways: Sequence[Way], lengths: Sequence[int], sets: Mapping[str, TargetSet]
    ) -> list[tuple[Curves, ...]]:
        tasks = [Task(some, ENOUGH * self.at_start[name]) for name, some in sets.items()]
        return curves(ways, lengths, self.problem, tasks, self.piece_size)

    def _seconds(self, tuned: Tuned) -> dict[int, float]:
        """Wall time of one row of a batch, everything included, after a few numbers of evaluations."""
        some = first(next(iter(self.sets.values())), TIMED_ROWS)
        size = batches.size(some.targets)
        times = {}
        for budget in (one for one in TIMED if one <= max(self.budgets)):
            way = tuned.at(budget)
            times[budget] = measure(way.name, partial(way.invert, some), budget, size).seconds
        return times

    def _metric(self, tuned: Tuned) -> dict[str, dict[int, float]]:
        """The median of what people know, judged on the whole targets; none where there is no metric."""
        if self.problem.metric is None:
            return {}
        budgets = [budget for budget in METRIC_BUDGETS if budget in self.budgets]
        return {
            name: {budget: self._metric_at(tuned.at(budget), some, budget) for budget in budgets}
            for name, some in self.sets.items()
        }

    def _metric_at(self, way: Way, some: TargetSet, budget: int) -> float:
        assert self.problem.metric is not None
        found: Outcome = way.invert(some, budget)
        figure: Tensor = self.problem.metric.of(found.x, found.prediction, some.targets)
        return float(figure.median())


def _by_statistic(choices: Sequence[Choice]) -> dict[str, dict[int, str]]:
    return {
        statistic.value: {one.budget: one.name for one in choices if one.statistic is statistic} for statistic in Statistic
    }
