"""Costs as tables, which are read in a terminal as well as on a page, and what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile

from .compiling import COMPILED, EAGER, NUM_EVALUATIONS, EvaluationCost, ProblemCost
from .fit_costs import RIVAL, FitCost
from .paying import RIVALS, PaidAfter
from .summary import Spread, loss_text, number

LITTLE = 0.05
"""Differences of time that are smaller are none."""
ALIKE = 2.0
"""Losses within this factor count as alike."""


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are as wide as they need to be, numbers to the right.

    Example:
        >>> print(table(["d", "loss"], [["8", "0.1"], ["512", "0.25"]]))
        |   d | loss |
        | --: | ---: |
        |   8 |  0.1 |
        | 512 | 0.25 |
    """
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(head, *lines, strict=True)]
    rule = [f"{'-' * (width - 1)}:" for width in widths]
    return "\n".join(
        "| " + " | ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (head, rule, *lines)
    )


# ------------------------------------------------------------------------------------------------------------- paying


def paying_text(found: Sequence[PaidAfter], folder: str) -> str:
    """When each fit of the benchmark has paid for itself.

    Args:
        found: by problem and rival.
        folder: that the records were read from.
    """
    if not found:
        return f"There are no records in `{folder}/`: `landscape-opt bench NAME --out {folder}` makes them."
    head = ["problem", "d", "F, µs", "rival", "its evaluations", "ours", "paid after: evaluations", "paid after: clock"]
    lines = [
        [
            one.problem,
            str(one.dim),
            number(1e6 * one.evaluation_seconds),
            one.rival,
            str(one.theirs),
            str(one.mine),
            _when(one.by_evaluations),
            _when(one.by_clock),
        ]
        for one in found
    ]
    said = [line for rival, _ in RIVALS.values() if (line := _paying_line(found, rival))]
    return f"{table(head, lines)}\n\n" + "\n".join(f"* {line}" for line in said)


def _when(count: Spread) -> str:
    return "at once" if count.high == 0 else str(count).replace("∞", "never")


def _paying_line(found: Sequence[PaidAfter], rival: str) -> str:
    against = [one for one in found if one.rival == rival]
    if not against:
        return ""
    by_evaluations = _range([one.by_evaluations.median for one in against], "evaluations of F alone")
    by_clock = _range([one.by_clock.median for one in against], "the clock, with F as cheap as here")
    return f"Against {rival}: counted by {by_evaluations}; by {by_clock}."


def _range(counts: Sequence[float], what: str) -> str:
    finite = sorted(count for count in counts if math.isfinite(count))
    if not finite:
        return f"{what}, on none of {len(counts)}"
    spread = number(finite[0]) if finite[0] == finite[-1] else f"{number(finite[0])} to {number(finite[-1])}"
    after = "at once" if finite[-1] == 0 else f"after {spread} inversions"
    share = "" if len(finite) == len(counts) else f" on {len(finite)} of {len(counts)} problems, on the others never"
    return f"{what}, {after}{share}"


# ------------------------------------------------------------------------------------------------------------ fitting


def dim_text(costs: Sequence[FitCost]) -> str:
    """What a fit costs, by the dimension of x."""
    head = ["d", "update, ms", "F in it, ms", "θ, MB", "fit, s", *_worth_head()]
    lines = [
        [
            str(cost.dim),
            number(1e3 * cost.update_seconds),
            number(1e3 * cost.evaluation_seconds),
            number(cost.megabytes),
            number(cost.fit_seconds),
            *_worth(cost),
        ]
        for cost in costs
    ]
    least, most = costs[0], costs[-1]
    said = (
        f"From d = {least.dim} to d = {most.dim} an update becomes {number(most.update_seconds / least.update_seconds)} "
        f"times as dear, its evaluation of F {number(most.evaluation_seconds / least.evaluation_seconds)} times. "
        f"F is {_percent(least.evaluation_seconds / least.update_seconds)} of an update at d = {least.dim} and "
        f"{_percent(most.evaluation_seconds / most.update_seconds)} at d = {most.dim}: the rest is θ, its gradient and "
        "AdamW, which holds twice the memory of θ beside it. " + _worth_line(costs)
    )
    return f"{table(head, lines)}\n\n{said}"


def target_text(costs: Sequence[FitCost]) -> str:
    """What a fit costs and is worth, by the number of targets."""
    head = ["targets", "update, ms", "fit, s", *_worth_head()]
    lines = [
        [str(cost.num_targets), number(1e3 * cost.update_seconds), number(cost.fit_seconds), *_worth(cost)] for cost in costs
    ]
    cheapest, dearest = (pick(cost.update_seconds for cost in costs) for pick in (min, max))
    best = min(cost.losses[5] for cost in costs)
    good = list(takewhile(lambda cost: cost.losses[5] <= ALIKE * best, reversed(costs)))
    said = (
        f"However many targets there are, an update costs the same to within {_percent(dearest / cheapest - 1.0)}. "
        f"{_worth_line(costs)} With {costs[0].num_targets} targets the median after 5 evaluations is "
        f"{number(costs[0].losses[5] / best)} times the best here"
    )
    if good:
        said += f"; from {good[-1].num_targets} on it is within a factor of two of that"
    return f"{table(head, lines)}\n\n{said}."


def _worth_line(costs: Sequence[FitCost]) -> str:
    ratios = [cost.rival_losses[5] / cost.losses[5] for cost in costs]
    return f"The median of {RIVAL} after 5 evaluations is {number(min(ratios))} to {number(max(ratios))} times ours."


def _worth_head() -> list[str]:
    return ["after 0", "after 5", f"{RIVAL} after 5", "paid after"]


def _worth(cost: FitCost) -> list[str]:
    losses = [loss_text(loss) for loss in (cost.losses[0], cost.losses[5], cost.rival_losses[5])]
    return [*losses, "never" if cost.paid_after is None else number(cost.paid_after)]


# --------------------------------------------------------------------------------------------------------- evaluations


def evaluation_text(problems: Sequence[ProblemCost], why_not: str | None) -> str:
    """What an evaluation costs, as written and compiled.

    Args:
        problems: that were timed.
        why_not: why nothing was compiled.
    """
    names = list(dict.fromkeys(name for one in problems for name in one.costs[0].inverting))
    head = ["problem", "batch", *(f"F {name}" for name in names), *(f"invert, F {name}" for name in names), "invert / F"]
    lines = [
        [
            one.problem,
            str(cost.batch_size),
            *(number(1e6 * cost.alone[name]) for name in names),
            *(number(1e6 * cost.inverting[name]) for name in names),
            f"{cost.inverting[EAGER] / cost.alone[EAGER]:.1f}",
        ]
        for one in problems
        for cost in one.costs
    ]
    said = [line for one in problems for line in (_batch_line(one), _compiled_line(one)) if line]
    if why_not:
        said.append(f"Nothing was compiled: {why_not}.")
    return f"{table(head, lines)}\n\n" + "\n".join(f"* {line}" for line in said)


def _batch_line(one: ProblemCost) -> str:
    if len(one.costs) < 2:
        return ""
    few, many = one.costs[0], one.costs[-1]
    ratio = few.inverting[EAGER] / many.inverting[EAGER]
    return (
        f"{one.problem}: {many.batch_size} targets at a time cost {number(ratio)} times less each than "
        f"{few.batch_size} at a time, as written."
    )


def _compiled_line(one: ProblemCost) -> str:
    if COMPILED not in one.first_calls:
        return ""
    said = ", ".join(f"{_gain(cost)} at batch {cost.batch_size}" for cost in one.costs)
    best = max(one.costs, key=_saved)
    spent = one.first_calls[COMPILED] - one.first_calls[EAGER]
    worth = "never saved again"
    if _saved(best) > LITTLE * best.inverting[EAGER] * best.batch_size * NUM_EVALUATIONS:
        worth = f"saved again after {number(spent / _saved(best))} inversions of a batch of {best.batch_size}"
    return f"{one.problem}: inverting with F compiled is {said}. The first calls took {number(spent)} s more, {worth}."


def _saved(cost: EvaluationCost) -> float:
    """Seconds that an inversion of the whole batch takes less with F compiled."""
    return (cost.inverting[EAGER] - cost.inverting[COMPILED]) * cost.batch_size * NUM_EVALUATIONS


def _gain(cost: EvaluationCost) -> str:
    ratio = cost.inverting[EAGER] / cost.inverting[COMPILED]
    if abs(ratio - 1.0) < LITTLE:
        return "as fast"
    return f"{number(ratio)} times as fast" if ratio > 1.0 else f"slower, by {_percent(1.0 / ratio - 1.0)},"


def _percent(share: float) -> str:
    return f"{share:.0%}"
