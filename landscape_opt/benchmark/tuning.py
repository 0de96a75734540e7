"""The strongest plain method for every budget, chosen on targets that the report never sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from ..problems.problem import Problem
from .rivals import Curves, Rival, curves_of_all

SCREENING = 20


class Statistic(Enum):
    """What a budget's losses are summed up by."""

    MEDIAN = "median"
    MEAN = "mean"

    def of(self, losses: Tensor) -> float:
        """Of the losses (B,)."""
        return float(losses.median() if self is Statistic.MEDIAN else losses.mean())


@dataclass(frozen=True)
class Choice:
    """The method that is strongest at a budget by a statistic.

    Attributes:
        budget: evaluations.
        statistic: of the losses.
        name: of the method.
    """

    budget: int
    statistic: Statistic
    name: str


def choose(candidates: Sequence[Curves], budgets: Sequence[int]) -> tuple[Choice, ...]:
    """For every budget from 1 on and every statistic, the candidate with the lowest value.

    Args:
        candidates: curves on the validation targets; each takes part in the budgets that it was run for.
        budgets: evaluations.

    Raises:
        ValueError: if no candidate was run for the largest budget.
    """
    if not any(len(one.best) > max(budgets) for one in candidates):
        raise ValueError(f"there is nothing to choose from: no candidate was run for {max(budgets)} evaluations")
    return tuple(_strongest(candidates, budget, statistic) for budget in budgets if budget > 0 for statistic in Statistic)


def _strongest(candidates: Sequence[Curves], budget: int, statistic: Statistic) -> Choice:
    values = {one.name: statistic.of(one.best[budget]) for one in candidates if len(one.best) > budget}
    return Choice(budget, statistic, min(values, key=values.__getitem__))


def chosen(choices: Sequence[Choice], budget: int, statistic: Statistic) -> str:
    """The name of the method chosen for a budget and a statistic."""
    return next(one.name for one in choices if one.budget == budget and one.statistic is statistic)


def largest_budgets(choices: Sequence[Choice]) -> dict[str, int]:
    """How far every chosen method has to be run, by its name."""
    return {name: max(one.budget for one in choices if one.name == name) for name in {one.name for one in choices}}


def candidates(
    rivals: Sequence[Rival], problem: Problem, budgets: Sequence[int], show: Callable[[], None]
) -> tuple[Curves, ...]:
    """Curves on the validation targets, in two stages.

    Every rival is run for ``SCREENING`` evaluations; the best of each family by median and by mean, and the runner-up by
    median, are then run for the largest budget. The others take part in the budgets up to the screening's.

    Args:
        rivals: methods, each with its one number set.
        problem: its validation targets alone are looked at.
        budgets: evaluations.
        show: called when a run has ended.
    """
    first = min(SCREENING, max(budgets))
    screened = curves_of_all(rivals, problem, problem.validation, [first] * len(rivals), show)
    going = promising(rivals, screened)
    finals = curves_of_all(going, problem, problem.validation, [max(budgets)] * len(going), show)
    names = {one.name for one in finals}
    return (*finals, *(one for one in screened if one.name not in names))


def promising(rivals: Sequence[Rival], screened: Sequence[Curves]) -> tuple[Rival, ...]:
    """The rivals that go on after the screening, in their order."""
    keep = set()
    for family in {rival.family for rival in rivals}:
        last = {rival.name: one.best[-1] for rival, one in zip(rivals, screened, strict=True) if rival.family == family}
        by_median = sorted(last, key=lambda name: Statistic.MEDIAN.of(last[name]))
        keep |= {*by_median[:2], min(last, key=lambda name: Statistic.MEAN.of(last[name]))}
    return tuple(rival for rival in rivals if rival.name in keep)
