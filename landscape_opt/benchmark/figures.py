"""What is read off the records of a problem: evaluations over ours, stuck rows, dominance, break-even, wall time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .landscapes import OURS
from .records import MethodRecord, UnitRecord
from .table import TIE, Row, break_even, evaluations_to, level, places_lost
from .trial import SOLVED, VALIDATION
from .tuning import Statistic, strength

FIRST_ORDER = ("GD", "momentum", "Adam")
SECOND_ORDER = ("L-BFGS", "LM", "best of K")
IN_X = (*FIRST_ORDER, *SECOND_ORDER)
REFINED = ("encoder + Adam", "encoder + L-BFGS", "encoder + LM")
RATIOS = {
    "S1": (FIRST_ORDER, 1e-3),
    "S2": (SECOND_ORDER, 1e-3),
    "S2deep": (SECOND_ORDER, 1e-8),
    "S3": (REFINED, 1e-5),
    "S3deep": (REFINED, 1e-8),
}
"""By name: the rivals, of which the best is taken at every budget, and the floor of the level."""


@dataclass(frozen=True)
class Ratio:
    """Evaluations that a rival's median needs to a level over those that the landscape needs.

    Attributes:
        wanted: the level.
        theirs: evaluations, at least 1: an answer is known once F has been evaluated there.
        mine: likewise; infinite if the landscape never reaches the level.
        reaches_floor: whether the rival's median is at the floor by 100 evaluations.
    """

    wanted: float
    theirs: float
    mine: float
    reaches_floor: bool

    @property
    def value(self) -> float:
        """The figure; 0 if the landscape never gets there."""
        return self.theirs / self.mine


@dataclass(frozen=True)
class SetFigures:
    """On one set of targets, with one seed of fitting.

    Attributes:
        ratios: S1, S2, … by name; one is missing where its rivals were not run.
        stuck: mean loss at 100 evaluations over the best X rival's; NaN where none was run.
        dominated: budgets from 1 on at which median and mean are no worse than every rival's.
        budgets: all budgets from 1 on.
        ahead: by name, whether the median at 20 (5) evaluations is no worse than the best first-order one at 500 (100).
        break_even: inversions until fitting has paid for itself, by the kind of rival; infinite if never.
        wall: seconds of the rival to the level over ours, by the kind of rival.
        per_evaluation: wall time of one evaluation over that of the best first-order rival.
    """

    ratios: dict[str, Ratio]
    stuck: float
    dominated: tuple[int, ...]
    budgets: tuple[int, ...]
    ahead: dict[str, bool]
    break_even: dict[str, float]
    wall: dict[str, float]
    per_evaluation: float


@dataclass(frozen=True, eq=False)
class Field:
    """All methods that were run on a problem with one seed; what does not train serves every seed.

    Attributes:
        methods: by name.
        at_start: median loss at the plain start, by set; that of the validation targets is among them.
        sets: their names.
    """

    methods: dict[str, MethodRecord]
    at_start: dict[str, float]
    sets: tuple[str, ...]

    def best(self, names: Sequence[str], name: str, some: str) -> Row | None:
        """The row of several methods of which, per budget and statistic, the one best on validation targets is taken."""
        found = [self.methods[one] for one in names if one in self.methods]
        return None if not found else _composed(found, name, some, SOLVED * self.at_start[VALIDATION])

    def rivals(self) -> list[MethodRecord]:
        """Everyone but us."""
        return [one for name, one in self.methods.items() if name != OURS]

    def figures(self, some: str) -> SetFigures:
        """All figures on a set.

        Raises:
            KeyError: if the landscape itself was not run.
        """
        ours = self.methods[OURS].sets[some]
        first, in_x = self.best(FIRST_ORDER, "first order", some), self.best(IN_X, "in X", some)
        ratios, paying, walls = {}, {}, {}
        for name, (names, floor) in RATIOS.items():
            rival = self.best(names, name, some)
            if rival is None:
                continue
            ratios[name] = ratio(ours, rival, floor, self.at_start[some])
            if not name.endswith("deep"):
                paying[name], walls[name] = self._paying(names, ratios[name], some)
        return SetFigures(
            ratios=ratios,
            stuck=math.nan if in_x is None else stuck(ours, in_x),
            dominated=self.dominated(some),
            budgets=ours.budgets[1:],
            ahead={} if first is None else ahead(ours, first),
            break_even=paying,
            wall=walls,
            per_evaluation=self._per_evaluation(),
        )

    def dominated(self, some: str) -> tuple[int, ...]:
        """Budgets from 1 on at which nobody is better, in median or mean."""
        ours, solved = self.methods[OURS].sets[some], self.solved(some)
        lost = {
            place
            for rival in self.rivals()
            for statistic in Statistic
            for place in places_lost(ours, rival.sets[some], statistic, solved, TIE)
        }
        return tuple(budget for place, budget in enumerate(ours.budgets) if budget > 0 and place not in lost)

    def solved(self, some: str) -> float:
        """The loss below which losses are as good as one another."""
        return SOLVED * self.at_start[some]

    def _paying(self, names: Sequence[str], one: Ratio, some: str) -> tuple[float, float]:
        """Break-even, and the rival's wall time to the level over ours, by the rival that is there first by the clock."""
        ours = self.methods[OURS]
        mine = seconds_after(ours, one.mine)
        found = [self.methods[name] for name in names if name in self.methods]
        theirs, rival = min(((_seconds_to(one.wanted, each, some), each) for each in found), key=lambda pair: pair[0])
        if not math.isfinite(mine):
            return math.inf, 0.0
        number = break_even(max(0.0, ours.fit_seconds - rival.fit_seconds), theirs, mine)
        return math.inf if number is None else number, theirs / mine

    def _per_evaluation(self) -> float:
        """By the fastest of the first-order methods: the comparison that is hardest for us."""
        ours = self.methods[OURS].seconds
        rivals = [self.methods[name].seconds for name in FIRST_ORDER if name in self.methods]
        last = max(set(ours).intersection(*rivals), default=0)
        return ours[last] / min(one[last] for one in rivals) if rivals and last else math.nan


def fields_of(records: Sequence[UnitRecord]) -> dict[int, Field]:
    """The methods of a problem by seed of the landscape's fit.

    A group that was not run with a seed, because it does not train or is run once, is taken from its first seed.
    """
    by_seed = {(record.group, record.seed): record for record in sorted(records, key=lambda one: -one.seed)}
    first = {group: record for (group, _), record in by_seed.items()}  # the lowest seed comes last, and stays
    fields = {}
    for seed in sorted(seed for group, seed in by_seed if group == OURS):
        taking_part = [by_seed.get((group, seed), first[group]) for group in first]
        start = by_seed[OURS, seed].facts["start"]
        methods = {one.name: one for record in taking_part for one in record.methods}
        sets = tuple(methods[OURS].sets)
        fields[seed] = Field(methods, {name: start[name]["median"] for name in (*sets, VALIDATION)}, sets)
    return fields


def ratio(ours: Row, rival: Row, floor: float, at_start: float) -> Ratio:
    """One of the figures S."""
    wanted = level(rival, floor, at_start)
    theirs, mine = evaluations_to(wanted, rival), evaluations_to(wanted, ours)
    return Ratio(
        wanted,
        math.inf if theirs is None else max(1.0, theirs),
        math.inf if mine is None else max(1.0, mine),
        wanted == floor * at_start,
    )


def stuck(ours: Row, in_x: Row, budget: int = 100) -> float:
    """Mean loss at 100 evaluations, or at the most that there are, over the X rival's: local minima show in the mean."""
    place = max(place for place, one in enumerate(ours.budgets) if one <= budget)
    mine, theirs = ours.mean[place], in_x.mean[place]
    return mine / theirs if theirs > 0 else (1.0 if mine == 0 else math.inf)


def ahead(ours: Row, first_order: Row) -> dict[str, bool]:
    """20 evaluations against 500, and 5 against 100, where there are such budgets."""
    places = {budget: place for place, budget in enumerate(ours.budgets)}
    pairs = ((20, 500), (5, 100))
    return {
        f"{few} against {many}": ours.median[places[few]] <= first_order.median[places[many]]
        for few, many in pairs
        if few in places and many in places
    }


def seconds_after(method: MethodRecord, num_evaluations: float) -> float:
    """Wall time of one row of a batch, linear between the times that were taken and beyond the last."""
    if not math.isfinite(num_evaluations):
        return math.inf
    taken = sorted(method.seconds.items())
    if len(taken) == 1 or num_evaluations <= taken[0][0]:
        return taken[0][1] * max(1.0, num_evaluations / taken[0][0])
    after = next((place for place, (budget, _) in enumerate(taken) if budget >= num_evaluations), len(taken) - 1)
    (low, before), (high, later) = taken[after - 1], taken[after]
    return before + max(0.0, later - before) * (num_evaluations - low) / (high - low)  # noise aside


def _seconds_to(wanted: float, method: MethodRecord, some: str) -> float:
    """Wall time until the method's own median is at a level; infinite where it never is."""
    needed = evaluations_to(wanted, method.sets[some])
    return math.inf if needed is None else seconds_after(method, max(1.0, needed))


def _composed(found: Sequence[MethodRecord], name: str, some: str, solved: float) -> Row:
    """Per budget and statistic the test loss of the method with the lowest validation loss."""
    budgets = found[0].validation.budgets

    def taken(place: int, statistic: Statistic) -> MethodRecord:
        def by(one: MethodRecord) -> tuple[float, float]:
            return strength({each: one.validation.values(each)[place] for each in Statistic}, statistic, solved)

        return min(found, key=by)

    places = range(len(budgets))
    return Row(
        name,
        budgets,
        tuple(taken(place, Statistic.MEDIAN).sets[some].median[place] for place in places),
        tuple(taken(place, Statistic.MEAN).sets[some].mean[place] for place in places),
        tuple(taken(place, Statistic.MEAN).sets[some].p90[place] for place in places),
    )
