"""Tuning on validation targets: coarse at first, then around what is best, and long only where it may matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..results import to_budget
from .grids import Family
from .rivals import Curves
from .tuning import Choice, Statistic, choose, chosen, largest_budgets
from .ways import Way

Rung: TypeAlias = tuple[int, int]
"""Which ladder (−1: none), and where on it."""
SHORT = 50
"""Every rung is run so far; further only those that are best there, their neighbours, and theirs while they are best."""
MAX_CLIMBS = 6

CurvesOf: TypeAlias = Callable[[Sequence[Way], int], Sequence[Curves]]


@dataclass(frozen=True, eq=False)
class Tuned:
    """A family after tuning.

    Attributes:
        ways: all that were tried, by name.
        on_validation: their curves.
        choices: the best for every budget and statistic.
    """

    ways: dict[str, Way]
    on_validation: dict[str, Curves]
    choices: tuple[Choice, ...]

    @property
    def lengths(self) -> dict[str, int]:
        """How far every chosen way has to be run, by name."""
        return largest_budgets(self.choices)

    def at(self, budget: int) -> Way:
        """The way that was chosen for the median at a budget, or at the next one that was tuned for."""
        tuned_for = min(one.budget for one in self.choices if one.budget >= budget)
        return self.ways[chosen(self.choices, tuned_for, Statistic.MEDIAN)]


@dataclass(eq=False)
class Tuner:
    """Chooses the numbers of a family.

    Attributes:
        family: the method.
        budgets: evaluations that it is tuned for.
        curves_of: runs ways on the validation targets, so many evaluations.
        solved: losses up to this are as good as one another.
        reach: evaluations that every way was run for, by rung.
        found: the curves, by rung.
        ways: what they are of, by rung.
    """

    family: Family
    budgets: tuple[int, ...]
    curves_of: CurvesOf
    solved: float = 0.0
    reach: dict[Rung, int] = field(default_factory=dict)
    found: dict[Rung, Curves] = field(default_factory=dict)
    ways: dict[Rung, Way] = field(default_factory=dict)

    def run(self) -> Tuned:
        """Choose for every budget and statistic."""
        most, short = max(self.budgets), min(SHORT, max(self.budgets))
        fixed = [(-1, place) for place in range(len(self.family.ways))]
        begun = [(number, rung) for number, ladder in enumerate(self.family.ladders) for rung in ladder.rungs]
        self._extend([*fixed, *begun], short)
        self._climb(short, [one for one in self.budgets if 0 < one <= short])
        if most > short:
            self._extend([*fixed, *self._around(self._best([short]))], most)
            self._climb(most, [one for one in self.budgets if one > short])
        by_name = {one.name: one for one in self.found.values()}
        return Tuned({way.name: way for way in self.ways.values()}, by_name, self._choices(self.budgets))

    def _climb(self, length: int, budgets: Sequence[int]) -> None:
        """Run the neighbours of what is best at these budgets, until they are all there."""
        for _ in range(MAX_CLIMBS):
            missing = [rung for rung in self._around(self._best(budgets)) if self.reach.get(rung, 0) < length]
            if not missing:
                break
            self._extend(missing, length)

    def _extend(self, rungs: Sequence[Rung], length: int) -> None:
        """Run these rungs for so long, those that were not."""
        fresh = [rung for rung in dict.fromkeys(rungs) if self.reach.get(rung, 0) < length]
        self.ways.update({rung: self._way(rung) for rung in fresh if rung not in self.ways})
        for rung, one in zip(fresh, self.curves_of([self.ways[rung] for rung in fresh], length), strict=True):
            # What was not run further has at least kept its best.
            self.found[rung], self.reach[rung] = Curves(one.name, to_budget(one.best, max(self.budgets))), length

    def _best(self, budgets: Sequence[int]) -> list[Rung]:
        names = {one.name for one in self._choices(budgets)}
        return [rung for rung, one in self.found.items() if one.name in names]

    def _choices(self, budgets: Sequence[int]) -> tuple[Choice, ...]:
        return choose(list(self.found.values()), budgets, self.solved)

    @staticmethod
    def _around(rungs: Sequence[Rung]) -> list[Rung]:
        """The rungs themselves and their neighbours; what is on no ladder has none."""
        return [(ladder, rung + step) for ladder, rung in rungs for step in ((-1, 0, 1) if ladder >= 0 else (0,))]

    def _way(self, rung: Rung) -> Way:
        ladder, place = rung
        return self.family.ways[place] if ladder < 0 else self.family.ladders[ladder].at(place)
