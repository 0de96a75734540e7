"""When a fit has paid for itself, read off the records of the benchmark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from .figures import FIRST_ORDER, REFINED, SECOND_ORDER, Field
from .landscapes import OURS
from .records import read_all
from .registry import CONTROL, PROBLEMS
from .summary import IN_DISTRIBUTION, Spread, Summary, summary
from .table import break_even

RIVALS = {
    "S1": ("first order in X", FIRST_ORDER),
    "S2": ("second order in X", SECOND_ORDER),
    "S3": ("encoder, refined", REFINED),
}
"""By the figure that sets the level: what is read, and the methods of which the best is taken."""


@dataclass(frozen=True)
class PaidAfter:
    """On the complete targets of a problem, against one kind of rival; medians over the seeds of fitting, with their range.

    Attributes:
        problem: its name.
        dim: of x.
        rival: the kind.
        evaluation_seconds: of one evaluation of F for one row.
        theirs: evaluations that the rival's median needs to the level of S1, S2 or S3.
        mine: likewise, of the landscape; infinite if it does not get there.
        by_evaluations: inversions after which the evaluations of the fit are saved; infinite if never.
        by_clock: inversions after which its seconds are saved; infinite if never.
    """

    problem: str
    dim: int
    rival: str
    evaluation_seconds: float
    theirs: Spread
    mine: Spread
    by_evaluations: Spread
    by_clock: Spread


def paid_after(folder: Path) -> tuple[PaidAfter, ...]:
    """Of every problem that the landscape was run on, but for the control; empty where there are no records.

    Args:
        folder: of the results of ``landscape-opt bench``.
    """
    found = [summary(read_all(folder, name)) for name in PROBLEMS if name != CONTROL]
    return tuple(_paid_after(one, figure) for one in found if one is not None for figure in RIVALS if _was_run(one, figure))


def _was_run(one: Summary, figure: str) -> bool:
    return all(figure in each.ratios for each in one.figures(IN_DISTRIBUTION))


def _paid_after(one: Summary, figure: str) -> PaidAfter:
    rival, names = RIVALS[figure]
    figures = one.figures(IN_DISTRIBUTION)
    fields = one.fields.values()
    cost = one.about["seconds_of_an_evaluation"]
    assert isinstance(cost, float)
    return PaidAfter(
        problem=one.name,
        dim=one.dim,
        rival=rival,
        evaluation_seconds=cost,
        theirs=Spread.of([each.ratios[figure].theirs for each in figures]),
        mine=Spread.of([each.ratios[figure].mine for each in figures]),
        by_evaluations=Spread.of([evaluations_paid_after(field, figure, names) for field in fields]),
        by_clock=Spread.of([each.break_even[figure] for each in figures]),
    )


def evaluations_paid_after(field: Field, figure: str, names: tuple[str, ...]) -> float:
    """Inversions after which what the fit took of F is saved, where the rival's own training counts for us.

    Args:
        field: the methods, with one seed.
        figure: S1, S2 or S3, whose level is to be reached.
        names: of the rivals.
    """
    ratio = field.figures(IN_DISTRIBUTION).ratios[figure]
    if not math.isfinite(ratio.mine):
        return math.inf
    trained = min(one.fit_evaluations for name, one in field.methods.items() if name in names)
    spent = max(0, field.methods[OURS].fit_evaluations - trained)
    number = break_even(spent, ratio.theirs, ratio.mine)
    return math.inf if number is None else number
