"""The report as a page of the documentation: one table over all problems, and one section for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import atomic
from . import ablation
from .figures import RATIOS
from .plots import draw
from .records import UnitRecord, read_all
from .registry import CHOSEN_ON, CONTROL, PROBLEMS
from .summary import IN_DISTRIBUTION, Summary, as_markdown, loss_text, number, summary
from .table import TIE, Row
from .trial import SOLVED

WRITTEN_BY = "landscape-opt bench --report"


def write_page(folder: Path, docs: Path) -> Path:
    """Read all records, and write the page and its pictures.

    Args:
        folder: of the results.
        docs: of the documentation.

    Raises:
        ValueError: if there is no record of the landscape itself.
    """
    records = read_all(folder)
    summaries = summaries_of(records)
    pictures = {one.name: draw(one, docs / "images" / f"bench-{one.name}.svg") for one in summaries}
    path = docs / "benchmarks.md"
    parts = [_head(records), _overview(summaries), *(_section(one, pictures[one.name].name) for one in summaries)]
    parts += ablation.sections(summaries)
    atomic.write({path: ("\n\n".join(parts) + "\n").encode()})
    return path


def summaries_of(records: Sequence[UnitRecord]) -> list[Summary]:
    """Every problem on which the landscape was run, in the order of the report.

    Raises:
        ValueError: if there is none, or records of a problem cannot be compared.
    """
    names = sorted({record.problem for record in records}, key=lambda name: (_rank(name), name))
    found = [summary([one for one in records if one.problem == name]) for name in names]
    summaries = [one for one in found if one is not None]
    if not summaries:
        raise ValueError("there are no results of the landscape: run landscape-opt bench NAME first")
    return summaries


def _rank(name: str) -> int:
    return PROBLEMS.index(name) if name in PROBLEMS else len(PROBLEMS)


def _head(records: Sequence[UnitRecord]) -> str:
    cpus = sorted({f"{one.machine['cpu']}, {one.machine['threads']} threads" for one in records})
    versions = sorted({", ".join(f"{name} {number}" for name, number in one.versions.items()) for one in records})
    seeds = {group: len({one.seed for one in records if one.group == group}) for group in {one.group for one in records}}
    once = sorted(one.group for one in records if "seconds" in one.settings and seeds[one.group] < seeds.get("landscape", 0))
    exceptions = f" ({', '.join(dict.fromkeys(once))}: one seed)" if once else ""
    trained = sorted({number(one.settings["seconds"]) for one in records if "seconds" in one.settings})
    return f"""# Benchmarks

This page is written by `{WRITTEN_BY}` from the records in `benchmarks/`, which `landscape-opt bench` makes.

Every method gets the same evaluations of F; the loss is the best so far of every target. The landscape runs with its
defaults. Every rival is tuned per problem and per budget on validation targets; everyone who is trained has
{" or ".join(trained)} seconds. Figures are medians over the seeds of fitting{exceptions}, with their range;
methods in X are the same for every seed. No fit sees a mask. Run on {"; ".join(cpus)}; {"; ".join(versions)}.

**S1, S2, S3**: evaluations that a rival's median needs to a level over those that the landscape needs, both at least 1,
log-log interpolated between budgets. The level is a tie with the rival's median at 100 evaluations, or if that is higher
a share of the median loss at the plain start. S1: best of GD, momentum and Adam in X, share 1e-3. S2: best of L-BFGS,
Levenberg–Marquardt and best of K in X, share 1e-3; S2deep, 1e-8. S3: the encoder, refined by the best method, share
1e-5; S3deep, 1e-8. A figure in brackets: the rival does not come down to the share by 100 evaluations. **stuck**: mean
loss at 100 evaluations over the best X rival's. **dominance**: budgets from 1 on at which median and mean are no worse
than those of every other method on this page, landscapes that lack a part aside; differences below {TIE:.0%}, and losses
below {SOLVED:g} of the plain start's, count as ties.

The landscape's defaults were chosen on validation targets of {", ".join(CHOSEN_ON)}, as [](design.md) tells.
{", ".join(name for name in PROBLEMS if name not in CHOSEN_ON)} had no part in that."""


def _overview(summaries: Sequence[Summary]) -> str:
    head = ["problem", "d", *RATIOS, "stuck", "dominance", "20 against 500", "5 against 100", "evaluation, wall"]
    lines = []
    for one in summaries:
        for some in one.sets:
            figures = one.figures(some)
            cells = [f"{one.name}{', control' if one.name == CONTROL else ''}: {some}", str(one.dim)]
            cells += [_ratio(one, some, name) for name in RATIOS]
            cells.append(str(one.spread(some, lambda each: each.stuck)))
            dominated = one.spread(some, lambda each: float(len(each.dominated)))
            cells.append(f"{dominated} of {len(figures[0].budgets)}" if one.has_rivals else "–")
            for name in ("20 against 500", "5 against 100"):
                cells.append(_share([each.ahead[name] for each in figures if name in each.ahead]))
            cells.append(str(one.spread(some, lambda each: each.per_evaluation)))
            lines.append(cells)
    return "## All problems\n\n" + as_markdown(head, lines)


def _ratio(one: Summary, some: str, name: str) -> str:
    shown = str(one.ratio(some, name))
    reached = [each.ratios[name].reaches_floor for each in one.figures(some) if name in each.ratios]
    return shown if all(reached) else f"[{shown}]"


def _share(said: Sequence[bool]) -> str:
    return "–" if not said else "yes" if all(said) else "no" if not any(said) else f"{sum(said)} of {len(said)}"


def _section(one: Summary, picture: str) -> str:
    parts = [f"## {one.name}", str(one.about["hard_because"])]
    parts.append(f"![{one.name}: median loss by evaluations, a panel for every set of targets](images/{picture})")
    described = one.about["described_as"]
    assert isinstance(described, dict)
    for some in one.sets:
        said = f" ({described[some]})" if described.get(some) else ""
        parts.append(f"### {one.name}: {some}{said}\n\n{_losses(one.rows(some))}")
        if metrics := _metrics(one, some):
            parts.append(metrics)
        if not one.has_rivals:
            parts.append("No other method has been run on this problem so far.")
            continue
        if some == IN_DISTRIBUTION:
            parts.append("\n".join(f"* {line}" for line in one.figure_lines(some)))
        lines = one.honest_lines(some) or ("nowhere",)
        parts.append("Where another is better, or as good:\n\n" + "\n".join(f"* {line}" for line in lines))
    return "\n\n".join(parts)


def _losses(rows: Sequence[Row]) -> str:
    """Median / mean / 90th percentile at every budget."""
    head = ["median / mean / 90 % after", *map(str, rows[0].budgets)]
    lines = [
        [
            one.name,
            *(" / ".join(map(loss_text, column)) for column in zip(one.median, one.mean, one.p90, strict=True)),
        ]
        for one in rows
    ]
    return as_markdown(head, lines)


def _metrics(one: Summary, some: str) -> str:
    """The problem's own metric, where there is one."""
    metric = one.about["metric"]
    if not isinstance(metric, dict):
        return ""
    field = next(iter(one.fields.values()))
    said = {name: method.metric[some] for name, method in field.methods.items() if method.metric.get(some)}
    if not said:
        return ""
    budgets = sorted({budget for values in said.values() for budget in values})
    head = [f"{metric['name']}{', ' + metric['unit'] if metric['unit'] else ''}: median after", *map(str, budgets)]
    return as_markdown(head, [[name, *(number(values[budget]) for budget in budgets)] for name, values in said.items()])
