"""The benchmark as one call: campaigns on problems by name, or on a problem of one's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from ..problems.problem import Problem
from .campaign import QUICK, Campaign, Plan, Unit, silent, units_of
from .contestants import groups_named
from .records import UnitRecord, are_comparable, read_all
from .registry import problem_named
from .summary import Summary, summary


@dataclass(frozen=True)
class BenchReport:
    """What was found on some problems.

    Attributes:
        text: all that a command prints.
        summaries: figures and tables, by problem.
        records: of all units that are done.
        num_run: units of them that were run now.
        remaining: (problem, seed, group) of what is not done.
    """

    text: str
    summaries: dict[str, Summary] = field(repr=False)
    records: tuple[UnitRecord, ...] = field(repr=False)
    num_run: int
    remaining: tuple[tuple[str, int, str], ...]


def bench(
    problem: Problem | str | Sequence[Problem | str],
    seconds: float = 150.0,
    seeds: Sequence[int] = (0, 1, 2),
    *,
    budgets: Sequence[int] | None = None,
    only: Sequence[str] | None = None,
    once: Sequence[str] = (),
    num_validation: int | None = None,
    num_test: int | None = None,
    out: str | Path | None = None,
    max_minutes: float | None = None,
    quick: bool = False,
    again: bool = False,
    show: Callable[[str], None] = silent,
) -> BenchReport:
    """Does a landscape pay for my model? Everyone inverts the same targets with the same evaluations of F.

    Args:
        problem: of one's own, the name of one of the benchmark's, or several.
        seconds: of fitting, for the landscape and for every rival that trains; 2 at most if quick.
        seeds: of fitting.
        budgets: evaluations of the table, ascending from 0.
        only: groups of methods, by name; None takes those of the protocol.
        once: of them, those that are trained with the first seed alone.
        num_validation: targets that methods are tuned on, at most; None takes 128.
        num_test: targets of every reported set, at most; None takes 512.
        out: folder of the results, where what is there already is not run again; None keeps nothing.
        max_minutes: after which no unit of work is begun; call again to go on.
        quick: few targets and small budgets, to see that all runs.
        again: run what is there already.
        show: takes a line of text for every unit that was run.

    Raises:
        ValueError: for an unknown name, or budgets that do not ascend from 0.

    Example:
        >>> import torch
        >>> from landscape_opt.benchmark import bench
        >>> from landscape_opt.problems import Problem
        >>> targets = 3.0 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).tanh()
        >>> mine = Problem(
        ...     name="mine",
        ...     forward_model=lambda x: 3.0 * x.tanh(),
        ...     x_init=torch.zeros(2),
        ...     hard_because="A tanh is flat.",
        ...     loss_fn=lambda prediction, target: (prediction - target).square().sum(1),
        ...     train=targets[:200],
        ...     validation=targets[200:250],
        ...     test=targets[250:],
        ... )
        >>> report = bench(mine, seconds=0.2, seeds=(0,), only=("landscape", "lbfgs"), quick=True)
        >>> "S2: " in report.text, report.remaining
        (True, ())
    """
    many = [problem] if isinstance(problem, Problem | str) else list(problem)
    plan = _plan(seconds, budgets, quick)
    plan = replace(plan, num_validation=num_validation or plan.num_validation, num_test=num_test or plan.num_test)
    groups_named(tuple(once))
    units = units_of(groups_named(None if only is None else tuple(only)), seeds, once)
    deadline = None if max_minutes is None else time.monotonic() + 60.0 * max_minutes
    with TemporaryDirectory() as temporary:
        folder = Path(temporary if out is None else out)
        summaries: dict[str, Summary] = {}
        records: list[UnitRecord] = []
        remaining: list[tuple[str, int, str]] = []
        num_run = 0
        for one in many:
            name, made = (one, problem_named(one)) if isinstance(one, str) else (one.name, one)
            campaign = Campaign(name, made, plan, folder, show, again)
            _announce(campaign, units, show)
            progress = campaign.run(units, deadline, at_least_one=num_run == 0)
            num_run += progress.num_run
            records += progress.records
            remaining += [(name, unit.seed, unit.group.name) for unit in progress.remaining]
            found = summary(_comparable(read_all(folder, name), progress.records))
            if found is not None:
                summaries[name] = found
    return BenchReport(_text(summaries, remaining), summaries, tuple(records), num_run, tuple(remaining))


def _plan(seconds: float, budgets: Sequence[int] | None, quick: bool) -> Plan:
    plan = replace(QUICK, seconds=min(seconds, QUICK.seconds)) if quick else Plan(seconds=seconds)
    if budgets is None:
        return plan
    if len(budgets) < 2 or budgets[0] != 0 or any(later <= before for before, later in pairwise(budgets)):
        raise ValueError(f"budgets must ascend from 0, got {list(budgets)}")
    return replace(plan, budgets=tuple(budgets))


def _announce(campaign: Campaign, units: Sequence[Unit], show: Callable[[str], None]) -> None:
    missing = campaign.missing(units)
    if missing:
        minutes = sum(map(campaign.estimate, missing)) / 60.0
        micros = 1e6 * campaign.known_cost().seconds
        show(
            f"{campaign.name}: {len(missing)} of {len(units)} units to run, about {minutes:.0f} minutes "
            f"(an evaluation of F takes {micros:.0f} µs a row)"
        )


def _comparable(stored: Sequence[UnitRecord], done: Sequence[UnitRecord]) -> list[UnitRecord]:
    """What is done, and stored records of other seeds and methods that were made with the same settings."""
    places = {record.place for record in done}
    others = [record for record in stored if record.place not in places]
    return [*done, *(one for one in others if all(are_comparable(one, record) for record in done))]


def _text(summaries: dict[str, Summary], remaining: Sequence[tuple[str, int, str]]) -> str:
    parts = [one.text() for one in summaries.values()]
    if remaining:
        shown = ", ".join(f"{name} {group} (seed {seed})" for name, seed, group in remaining[:8])
        more = f" and {len(remaining) - 8} more" if len(remaining) > 8 else ""
        parts.append(f"Not done: {shown}{more}. Run the same command again to go on.\n")
    return "\n".join(parts)
