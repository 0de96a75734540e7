"""Best of K: descents from K starts, the weaker half given up at 8, 16, 32, … evaluations; all evaluations are counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import batches
from ..descent import Limits, Visit, descend
from ..hypotheses import Place, Scattered
from ..problems.problem import Problem, TargetSet
from ..solvers import LBFGS, Start, Tournament
from .grids import Family, Ladder, Scale
from .ways import Begin, Outcome, Way, opened

COUNTS = (4, 16)


@dataclass
class _Tally:
    """Losses by the evaluations that all hypotheses of a target have cost together.

    Attributes:
        count: K, rows of a target, which lie below one another.
        spent: evaluations of every target so far, (B,).
        lowest: loss of the point that was reached with k evaluations behind it, (K + 1, B).
        best: the lowest within the budget, (B,).
        x: where it was, (B, d).
    """

    count: int
    spent: Tensor = field(repr=False)
    lowest: Tensor = field(repr=False)
    best: Tensor = field(repr=False)
    x: Tensor = field(repr=False)

    def __call__(self, visit: Visit) -> None:
        """Take in one evaluation of every row that is still there: one after the other, those of a target in order."""
        target, evaluation = visit.rows // self.count, visit.evaluation
        number = torch.bincount(target, minlength=len(self.spent))
        first = number.cumsum(0) - number
        behind = self.spent[target] + torch.arange(len(target)) - first[target]
        self.spent += number
        within = (behind < len(self.lowest)) & evaluation.loss.isfinite()
        self.lowest[behind[within], target[within]] = evaluation.loss[within]
        loss = torch.where(within, evaluation.loss, torch.inf)
        lowest = torch.full_like(self.best, torch.inf).scatter_reduce(0, target, loss, "amin")
        better = (lowest < self.best)[target] & (loss == lowest[target])
        self.best[target[better]], self.x[target[better]] = loss[better], evaluation.x[better]


def best_of(
    name: str, problem: Problem, count: int, spread: float, first_step: float | None, begin: Begin | None = None
) -> Way:
    """Per-sample L-BFGS from the start and from normal draws around it, with successive halving.

    Args:
        name: of the way.
        problem: F, loss and start.
        count: K.
        spread: standard deviation of the draws, of an element of x.
        first_step: of L-BFGS.
        begin: the start in the middle; None takes the plain one.
    """

    def invert(some: TargetSet, most: int, enough: float | None = None, /) -> Outcome:
        size = batches.size(some.targets)
        with opened(problem, some, most) as (objective, target):
            own = objective.layout.start(size) if begin is None else objective.layout.flat(begin(some))
            place = Place(objective.layout, 1.0, None, torch.Generator().manual_seed(0))
            x = Scattered(spread).draw(own, count, place).flatten(0, 1)
            again = torch.arange(size).repeat_interleave(count)
            tally = _Tally(
                count, torch.zeros(size, dtype=torch.long), own.new_full((most + 1, size), torch.inf),
                own.new_full((size,), torch.inf), own.clone(),
            )  # fmt: skip
            # The point after the last evaluation is read by every method; here it has to be evaluated to be seen.
            solver, limits = Tournament(LBFGS(first_step=first_step), count), Limits(most + 1, target_loss=enough)
            descend(objective, solver, Start(x), batches.rows(target, again), limits, tally)
            prediction = objective.read(tally.x, target).prediction
            return Outcome(tally.lowest.cummin(0).values, objective.layout.structured(tally.x), prediction)

    return Way(name, invert)


def best_of_family(problem: Problem, scale: Scale, begin: Begin | None = None, quick: bool = False) -> Family:
    """Best of 4 and of 16, with spreads r · 4ᵏ."""

    def ladder(count: int) -> Ladder:
        def at(rung: int) -> Way:
            spread = scale.move * 4.0**rung
            return best_of(f"best of {count}, spread {spread:.4g}", problem, count, spread, scale.step, begin)

        return Ladder(at, (1,) if quick else (0, 2))

    return Family("best of K", ladders=tuple(map(ladder, COUNTS[:1] if quick else COUNTS)))
