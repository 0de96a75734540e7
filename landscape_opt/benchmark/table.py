"""Losses by budget as a table, and what can be read off it, for and against us."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .rivals import Curves
from .tuning import Choice, Statistic, chosen

LEVEL_BUDGET = 100
LEVEL_FLOOR = 1e-3
TIE = 0.01
"""Medians and means that differ by less are the same."""


@dataclass(frozen=True)
class Row:
    """The losses of one method.

    Attributes:
        name: of the method.
        budgets: evaluations, ascending.
        median: of the best losses so far, at every budget.
        mean: of the same.
        p90: their 90th percentile; empty where nobody asked.
    """

    name: str
    budgets: tuple[int, ...]
    median: tuple[float, ...]
    mean: tuple[float, ...]
    p90: tuple[float, ...] = field(default=(), compare=False)

    def values(self, statistic: Statistic) -> tuple[float, ...]:
        """Median or mean."""
        return self.median if statistic is Statistic.MEDIAN else self.mean


def row(name: str, curves: Curves, budgets: Sequence[int]) -> Row:
    """The row of one method."""
    median = tuple(Statistic.MEDIAN.of(curves.best[budget]) for budget in budgets)
    mean = tuple(Statistic.MEAN.of(curves.best[budget]) for budget in budgets)
    return Row(name, tuple(budgets), median, mean, tuple(_p90(curves.best[budget]) for budget in budgets))


def _p90(losses: Tensor) -> float:
    """The loss that nine of ten stay below, or reach."""
    ordered = losses.sort().values
    return float(ordered[math.ceil(0.9 * len(ordered)) - 1])


def tuned_row(name: str, curves: Mapping[str, Curves], choices: Sequence[Choice], budgets: Sequence[int]) -> Row:
    """The row of a rival that is another method at every budget and for each statistic: the one chosen for it.

    Args:
        name: of the row.
        curves: on the test targets, by name; each at least as long as the budgets that it was chosen for.
        choices: made on the validation targets.
        budgets: evaluations.
    """

    def losses(budget: int, statistic: Statistic) -> Tensor:
        method = chosen(choices, budget, statistic) if budget > 0 else next(iter(curves))
        return curves[method].best[budget]

    median = tuple(Statistic.MEDIAN.of(losses(budget, Statistic.MEDIAN)) for budget in budgets)
    mean = tuple(Statistic.MEAN.of(losses(budget, Statistic.MEAN)) for budget in budgets)
    # Of the method chosen for the mean, which is the one that minds the worst targets.
    return Row(name, tuple(budgets), median, mean, tuple(_p90(losses(budget, Statistic.MEAN)) for budget in budgets))


def as_text(rows: Sequence[Row]) -> str:
    """Two blocks of fixed width, median and mean."""
    width = max(len(one.name) for one in rows)
    lines = []
    for statistic in Statistic:
        title = f"{statistic.value} loss after"
        lines.append(f"{title:<{width}}" + "".join(f"{budget:>10d}" for budget in rows[0].budgets) + "  evaluations")
        lines += [f"{one.name:<{width}}" + "".join(f"{v:>10.3g}" for v in one.values(statistic)) for one in rows]
        lines.append("")
    return "\n".join(lines[:-1])


def level(rival: Row, floor: float = LEVEL_FLOOR, at_start: float | None = None) -> float:
    """The loss to reach: a tie with the rival's median at 100 evaluations, not below a share of the median at the start.

    Without the tie, two methods that come down to the same positive loss, as some problems have it, would be told apart by
    their last digits.

    Args:
        rival: its row.
        floor: the share.
        at_start: median loss at the plain start; None takes the rival's own first.
    """
    last = max(place for place, budget in enumerate(rival.budgets) if budget <= LEVEL_BUDGET)
    return max((1.0 + TIE) * rival.median[last], floor * (rival.median[0] if at_start is None else at_start))


def evaluations_to(wanted: float, one: Row) -> float | None:
    """Evaluations until the median is at most ``wanted``, log-log interpolated between budgets; None if never.

    Nothing is interpolated before the first evaluation: a median that is there after one has needed one.
    """
    before: tuple[int, float] | None = None
    for budget, loss in zip(one.budgets, one.median, strict=True):
        if loss <= wanted:
            if before is None or before[0] == 0 or before[1] <= loss or loss <= 0:
                return float(budget)
            share = math.log(before[1] / wanted) / math.log(before[1] / loss)
            return float(before[0] * (budget / before[0]) ** share)
        before = (budget, loss)
    return None


def speed_up(ours: Row, rival: Row) -> str:
    """A line: evaluations that the rival needs to the level, over ours."""
    wanted = level(rival)
    theirs, mine = evaluations_to(wanted, rival), evaluations_to(wanted, ours)
    if theirs is None or mine is None:
        never = ours.name if mine is None else rival.name
        return f"median {wanted:.3g}: {never} does not reach it"
    ratio = f"{theirs / mine:.1f}" if mine > 0 else "inf"
    return f"median {wanted:.3g}: {rival.name} needs {theirs:.3g} evaluations, {ours.name} {mine:.3g}: {ratio} times as many"


def where_we_lose(ours: Row, rivals: Sequence[Row], solved: float = 0.0, tie: float = 0.0) -> tuple[str, ...]:
    """A line for every rival and statistic by which the rival is better than we are at some budget from 1 on.

    Args:
        ours: our row.
        rivals: of the same budgets.
        solved: losses up to this are as good as one another.
        tie: relative difference that is none.
    """
    lines = []
    for rival in rivals:
        for statistic in Statistic:
            mine, theirs = ours.values(statistic), rival.values(statistic)
            lost = [
                f"{ours.budgets[place]} ({mine[place]:.3g} > {theirs[place]:.3g})"
                for place in places_lost(ours, rival, statistic, solved, tie)
            ]
            if lost:
                lines.append(f"{statistic.value}: {rival.name} is better at " + ", ".join(lost))
    return tuple(lines)


def places_lost(ours: Row, rival: Row, statistic: Statistic, solved: float = 0.0, tie: float = 0.0) -> tuple[int, ...]:
    """Places, among the budgets, of those from 1 on at which a rival is better than we are.

    Args:
        ours: our row.
        rival: of the same budgets.
        statistic: that is compared.
        solved: losses up to this are as good as one another.
        tie: relative difference that is none.
    """
    pairs = zip(ours.budgets, ours.values(statistic), rival.values(statistic), strict=True)
    return tuple(
        place for place, (budget, mine, theirs) in enumerate(pairs) if budget > 0 and is_worse(mine, theirs, solved, tie)
    )


def is_worse(mine: float, theirs: float, solved: float = 0.0, tie: float = 0.0) -> bool:
    """Whether a loss is higher, by more than a tie and above what counts as solved.

    Example:
        >>> is_worse(1.1, 1.0), is_worse(1.1, 1.0, tie=0.2), is_worse(2e-9, 1e-9, solved=1e-8)
        (True, False, False)
    """
    return mine > max(theirs * (1.0 + tie), solved)


def break_even(fit_seconds: float, rival_seconds: float, our_seconds: float) -> float | None:
    """Inversions after which fitting has paid for itself; None if it never does.

    Args:
        fit_seconds: spent once.
        rival_seconds: of one of the rival's inversions.
        our_seconds: of one of ours.
    """
    saved = rival_seconds - our_seconds
    return fit_seconds / saved if saved > 0 else None
