"""The strongest plain method for every budget, chosen on targets that the report never sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from ..problems.problem import Problem
from .rivals import Curves, Rival, curves_of_all


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


def choose(candidates: Sequence[Curves], budgets: Sequence[int], solved: float = 0.0) -> tuple[Choice, ...]:
    """For every budget from 1 on and every statistic, the candidate with the lowest value.

    Args:
        candidates: curves on the validation targets, each up to the largest budget.
        budgets: evaluations.
        solved: losses up to this are as good as one another, and the other statistic decides.
    """
    return tuple(
        _strongest(candidates, budget, statistic, solved) for budget in budgets if budget > 0 for statistic in Statistic
    )


def _strongest(candidates: Sequence[Curves], budget: int, statistic: Statistic, solved: float) -> Choice:
    values = {
        one.name: strength({each: each.of(one.best[budget]) for each in Statistic}, statistic, solved) for one in candidates
    }
    return Choice(budget, statistic, min(values, key=values.__getitem__))


def strength(values: Mapping[Statistic, float], statistic: Statistic, solved: float = 0.0) -> tuple[float, float]:
    """What candidates are compared by: the lower, the stronger.

    Args:
        values: of a candidate, by every statistic.
        statistic: that counts.
        solved: losses up to this are as good as one another: which of them is lower is rounding.

    Example:
        >>> strength({Statistic.MEDIAN: 1e-14, Statistic.MEAN: 0.5}, Statistic.MEDIAN, solved=1e-10)
        (1e-10, 0.5)
    """
    other = next(one for one in Statistic if one is not statistic)
    return max(values[statistic], solved), values[other]


def chosen(choices: Sequence[Choice], budget: int, statistic: Statistic) -> str:
    """The name of the method chosen for a budget and a statistic."""
    return next(one.name for one in choices if one.budget == budget and one.statistic is statistic)


def largest_budgets(choices: Sequence[Choice]) -> dict[str, int]:
    """How far every chosen method has to be run, by its name."""
    return {name: max(one.budget for one in choices if one.name == name) for name in {one.name for one in choices}}


def candidates(
    rivals: Sequence[Rival], problem: Problem, budgets: Sequence[int], show: Callable[[], None]
) -> tuple[Curves, ...]:
    """Curves of every rival on the validation targets, up to the largest budget.

    Args:
        rivals: methods, each with its one number set.
        problem: its validation targets alone are looked at.
        budgets: evaluations.
        show: called when a run has ended.
    """
    return curves_of_all(rivals, problem, problem.validation, [max(budgets)] * len(rivals), show)
