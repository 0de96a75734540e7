"""What each part of the landscape is worth: the landscape without it, beside the whole, on every problem."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .figures import ratio
from .landscapes import (
    AGAIN,
    ALL_ROWS,
    CONDITIONED,
    NO_HAND_OVER,
    NO_MEMORY,
    NO_METRIC,
    NO_PROXIMITY,
    NO_RESTARTS,
    NO_SECOND_CHANCES,
    NO_WAYS_OUT,
    OURS,
    PUBLISHED,
    RESIDUAL,
    UNTOLD,
)
from .summary import Spread, Summary, as_markdown, loss_text, number
from .table import TIE, Row, level, where_we_lose

SHOWN = (5, 20, 100)
"""Evaluations."""
FLOORS = (1e-3, 1e-8)
"""Shares of the median loss at the plain start that evaluations are counted to."""


@dataclass(frozen=True)
class Part:
    """A method that lacks a part.

    Attributes:
        method: its name.
        label: what is left out.
        whole: the method that it is compared with: the same fit, where it has no fit of its own.
    """

    method: str
    label: str
    whole: str = OURS


PARTS = (
    Part(AGAIN, AGAIN),
    Part(NO_WAYS_OUT, NO_WAYS_OUT, AGAIN),
    Part(NO_MEMORY, NO_MEMORY, AGAIN),
    Part(NO_RESTARTS, NO_RESTARTS, AGAIN),
    Part(NO_HAND_OVER, NO_HAND_OVER, AGAIN),
    Part(NO_METRIC, NO_METRIC, AGAIN),
    Part(NO_PROXIMITY, NO_PROXIMITY),
    Part(NO_SECOND_CHANCES, NO_SECOND_CHANCES),
    Part(ALL_ROWS, ALL_ROWS),
    Part(UNTOLD, UNTOLD),
    Part(CONDITIONED, f"without anchoring: {CONDITIONED}"),
    Part(RESIDUAL, f"without both: {RESIDUAL}"),
    Part(PUBLISHED, f"the idea alone: {PUBLISHED}"),
)
ABOUT = """## What each part is worth

The landscape with one part left out, each in turn, run by `landscape-opt bench NAME --only ablation`.

* **fitted again**: nothing is left out. The seconds of a fit are the same, its rounds are not: a difference of this size is
  chance. This fit serves the five rows below it, which are compared with it; the others have fits of their own.
* **without ways out**: a caught row goes on from the memory's points alone.
* **without memory**: rows that get nowhere start again at the plain start and at their own best point alone.
* **without memory and restarts**: no row starts again.
* **without hand-over**: every step is taken in the learned space.
* **without learned metric**: L-BFGS takes over with nothing but the point.
* **without proximity**: θ is fitted to the losses alone.
* **without second chances**: in the fit, no row that would leave unsolved goes on from the memory.
* **with 256 rows an update**: where F is expensive, as where it is not, so that there are fewer updates.
* **without conditioning**: θ is told the last evaluation, but not the target.
* **without anchoring**: θ(z; y) is told the target, but not the last evaluation.
* **without both**: θ(z), with the objective, the replay, the memory and the solver of the landscape.
* **the idea alone**: the algorithm as published."""


def sections(summaries: Sequence[Summary]) -> tuple[str, ...]:
    """The section of a page, and one below it for each problem on which parts were left out; nothing where there is none."""
    found = [one.parts for one in summaries if one.parts is not None]
    return (ABOUT, _over_problems(found), *map(_of_problem, found)) if found else ()


def _over_problems(found: Sequence[Summary]) -> str:
    sets = list(dict.fromkeys(some for one in found for some in one.sets))
    columns = [(some, floor) for some in sets for floor in FLOORS]
    lines = []
    for part in PARTS:
        worths = [_mean_worth(found, part, some, floor) for some, floor in columns]
        if any(worths):
            lines.append([part.label, *(worth or "–" for worth in worths)])
    head = ["evaluations without it, over those with it", *(f"{some}, {floor:g}" for some, floor in columns)]
    said = (
        f"Over {', '.join(one.name for one in found)}: evaluations until the median is at a level, over those of the whole. "
        "Above 1, the part is worth having. Geometric means over the problems of the medians over seeds, in brackets the "
        "number of problems if it is not all of them. The level is the higher of the two medians at 100 evaluations, or "
        "if that is higher the share of the median loss at the plain start that stands above the column."
    )
    return f"{said}\n\n{as_markdown(head, lines)}"


def _mean_worth(found: Sequence[Summary], part: Part, some: str, floor: float) -> str:
    worths = [worth(one, part, some, floor) for one in found if some in one.sets]
    known = [value for value in worths if not math.isnan(value)]
    if not known:
        return ""
    mean = number(statistics.geometric_mean(known))
    return mean if len(known) == len(found) else f"{mean} ({len(known)})"


def worth(one: Summary, part: Part, some: str, floor: float) -> float:
    """How many times the evaluations are needed without a part, the median over the seeds; NaN where it was not run.

    Args:
        one: of a problem, with the landscapes that lack a part.
        part: that is left out.
        some: a set of targets.
        floor: share of the median loss at the plain start.
    """
    return Spread.of(
        [
            times(field.methods[part.whole].sets[some], field.methods[part.method].sets[some], floor, field.at_start[some])
            for field in one.fields.values()
            if {part.whole, part.method} <= field.methods.keys()
        ]
    ).median


def times(whole: Row, without: Row, floor: float, at_start: float) -> float:
    """Evaluations to a level that both reach by 100 evaluations, without a part over with it.

    Example:
        >>> whole, without = Row("", (0, 1, 10), (9.0, 1.0, 1.0), ()), Row("", (0, 1, 10), (9.0, 9.0, 1.0), ())
        >>> [round(one, 1) for one in (times(whole, without, 1e-3, 9.0), times(without, whole, 1e-3, 9.0))]
        [9.9, 0.1]
    """
    if level(whole, floor, at_start) <= level(without, floor, at_start):
        return ratio(whole, without, floor, at_start).value
    return 1.0 / ratio(without, whole, floor, at_start).value


def _of_problem(one: Summary) -> str:
    """Median / mean by set and budget, and where the landscape is better without a part."""
    rows = {some: {row.name: row for row in one.single_rows(some)} for some in one.sets}
    shown = {some: _shown(by_name[OURS]).budgets for some, by_name in rows.items()}
    head = ["median / mean", *(f"{some}, {budget}" for some, budgets in shown.items() for budget in budgets)]
    known = [part for part in PARTS if part.method in rows[one.sets[0]]]
    lines = [
        [label, *(cell for by_name in rows.values() for cell in _cells(by_name[method]))]
        for method, label in [(OURS, OURS), *((part.method, part.label) for part in known)]
    ]
    helps = [line for some, by_name in rows.items() for line in _where_it_helps(one, some, by_name, known)]
    said = "Where leaving a part out is better:\n\n" + "\n".join(f"* {line}" for line in helps or ("nowhere",))
    return f"### {one.name}: each part left out in turn\n\n{as_markdown(head, lines)}\n\n{said}"


def _cells(row: Row) -> Iterator[str]:
    shown = _shown(row)
    return (f"{loss_text(median)} / {loss_text(mean)}" for median, mean in zip(shown.median, shown.mean, strict=True))


def _where_it_helps(one: Summary, some: str, rows: dict[str, Row], known: Sequence[Part]) -> list[str]:
    solved = statistics.median(field.solved(some) for field in one.fields.values())
    return [
        f"{some}, {line}"
        for part in known
        if part.whole in rows
        for line in where_we_lose(
            _shown(rows[part.whole]), [replace(_shown(rows[part.method]), name=part.label)], solved, TIE
        )
    ]


def _shown(row: Row) -> Row:
    """The budgets of the table alone."""
    places = [place for place, budget in enumerate(row.budgets) if budget in SHOWN]
    return Row(
        row.name,
        tuple(row.budgets[place] for place in places),
        tuple(row.median[place] for place in places),
        tuple(row.mean[place] for place in places),
    )
