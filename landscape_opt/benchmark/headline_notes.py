"""What has to be said below the short table of the benchmark: how it was measured, and what it does not show."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from textwrap import fill

from .contestants import GROUPS
from .figures import RATIOS
from .landscapes import OURS
from .page import WRITTEN_BY
from .records import UnitRecord
from .registry import CONTROL
from .summary import IN_DISTRIBUTION, Spread, Summary, number
from .table import LEVEL_BUDGET, TIE, Row, places_lost
from .tuning import Statistic

WIDTH = 120
"""Characters of a line."""
NAMED = 2
"""Methods that are named on a problem; others are counted."""


def of(found: Sequence[Summary], records: Sequence[UnitRecord]) -> str:
    """All notes, as a list.

    Args:
        found: the problems, those without rivals included.
        records: that they were made from.
    """
    shown = [one for one in found if one.has_rivals]
    alone = [one.name for one in found if not one.has_rivals]
    notes = [*_how(shown), *_ahead(shown), *_elsewhere(shown), *_clock(shown), *_control(shown)]
    if alone:
        notes.append(f"Left out, since nobody but the landscape has been run there so far: {_listed(alone)}.")
    notes += [*_missing(shown, records), *_seeds(shown, records), f"Written by `{WRITTEN_BY}`."]
    return "\n".join(wrapped(f"* {note}") for note in notes)


def wrapped(text: str) -> str:
    """Lines that can be read in the source, what follows the first one indented like the text of a list."""
    return fill(text, WIDTH, subsequent_indent="  " if text.startswith("* ") else "", break_on_hyphens=False)


def _how(shown: Sequence[Summary]) -> list[str]:
    if not shown:
        return []
    budgets = shown[0].figures(IN_DISTRIBUTION)[0].budgets
    shares = [f"{RATIOS[name][1]:.0e}".replace("e-0", "e-") for name in ("S1", "S3")]
    return [
        f"The loss is the higher of two: what the rival has reached after {LEVEL_BUDGET} evaluations, and {shares[0]} of "
        f"that at the plain start ({shares[1]} for the encoder).",
        "Rivals are tuned for the problem and the budget. The landscape runs with its defaults.",
        f"Budgets not beaten: of {len(budgets)} from {budgets[0]} to {budgets[-1]} evaluations, those at which neither "
        f"median nor mean loss of any other method that was run is lower by {TIE:.0%}.",
    ]


def _ahead(shown: Sequence[Summary]) -> list[str]:
    """The methods that are better at some budget from 1 on, by median or mean, and the budgets."""
    said = []
    for one in shown:
        ours, *rivals = one.single_rows(IN_DISTRIBUTION)
        solved = one.solved(IN_DISTRIBUTION)
        lost = {rival.name: _lost(ours, rival, solved) for rival in rivals}
        names = sorted((name for name, budgets in lost.items() if budgets), key=lambda name: -len(lost[name]))
        if names:
            more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
            at = ", ".join(map(str, sorted(set().union(*lost.values()))))
            said.append(f"{_listed([*names[:NAMED], *more])} on {one.name} (at {at})")
    return [f"Ahead at the others: {'; '.join(said)}."] if said else []


def _lost(ours: Row, rival: Row, solved: float) -> set[int]:
    """The budgets from 1 on at which a rival is better."""
    places = (place for statistic in Statistic for place in places_lost(ours, rival, statistic, solved, TIE))
    return {ours.budgets[place] for place in places}


def _elsewhere(shown: Sequence[Summary]) -> list[str]:
    """On the sets of targets that the table leaves out."""
    others: dict[str, list[bool]] = defaultdict(list)
    for one in shown:
        for some in one.sets:
            if some != IN_DISTRIBUTION:
                others[some].append(any(len(each.dominated) < len(each.budgets) for each in one.figures(some)))
    said = [f"on {sum(lost)} of {len(lost)} problems where targets are {some}" for some, lost in others.items()]
    return [f"Another method is ahead at some budget {_listed(said)}."] if said else []


def _clock(shown: Sequence[Summary]) -> list[str]:
    known = [
        Spread.of([each.per_evaluation for each in one.figures(IN_DISTRIBUTION)]).median
        for one in shown
        if any(math.isfinite(each.per_evaluation) for each in one.figures(IN_DISTRIBUTION))
    ]
    if not known:
        return []
    low, high = number(min(known)), number(max(known))
    times = low if low == high else f"{low} to {high}"
    return [
        f"Evaluations are not seconds: by the clock, one in the landscape takes {times} times as long as one in the fastest "
        f"first-order method. And a fit comes before."
    ]


def _control(shown: Sequence[Summary]) -> list[str]:
    said = [str(one.about["hard_because"]) for one in shown if one.name == CONTROL]
    return [f"Is {CONTROL}, the control, hard? {one}" for one in said]


def _missing(shown: Sequence[Summary], records: Sequence[UnitRecord]) -> list[str]:
    """The groups of the protocol that have no record on a problem that is shown."""
    names = [one.name for one in shown]
    done = {(record.problem, record.group) for record in records}
    by_problems: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for group in GROUPS:
        lacking = tuple(name for name in names if (name, group.name) not in done)
        if lacking and group.default:
            by_problems[lacking].append(f"`{group.name}`")
    said = [f"{_listed(groups)} on {_listed(lacking)}" for lacking, groups in by_problems.items()]
    return [f"Not run so far: {'; '.join(said)}."] if said else []


def _seeds(shown: Sequence[Summary], records: Sequence[UnitRecord]) -> list[str]:
    """How many fits the figures are medians of: the landscape's, and fewer of a rival that trains."""
    by_number: dict[int, list[str]] = defaultdict(list)
    for one in shown:
        by_number[len(one.fields)].append(one.name)
    if not by_number:
        return []
    counts = sorted(by_number.items(), reverse=True)
    said = "; ".join(str(count) if len(counts) == 1 else f"{count} on {_listed(names)}" for count, names in counts)
    fewer = _fewer(shown, records)
    rest = f", of rivals that train fewer: {'; '.join(fewer)}" if fewer else ""
    return [f"Seeds of the fit: {said}{rest}."]


def _fewer(shown: Sequence[Summary], records: Sequence[UnitRecord]) -> list[str]:
    """Rivals with fewer fits than the landscape, those named once that have as many on the same problems."""
    trained = {group.name for group in GROUPS if group.trains and group.default} - {OURS}
    fits: dict[tuple[str, str], set[int]] = defaultdict(set)
    for record in records:
        if record.group in trained:
            fits[record.group, record.problem].add(record.seed)
    where: dict[tuple[str, int], list[str]] = defaultdict(list)
    for one in shown:
        for group in sorted(trained):
            if 0 < len(fits[group, one.name]) < len(one.fields):
                where[group, len(fits[group, one.name])].append(one.name)
    alike: dict[tuple[int, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, count), names in where.items():
        alike[count, tuple(names)].append(f"`{group}`")
    return [f"{count} of {_listed(groups)} on {_listed(names)}" for (count, names), groups in alike.items()]


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
