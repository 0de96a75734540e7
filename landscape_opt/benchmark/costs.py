"""What a fit costs and when it pays; what an evaluation costs, as written and compiled: one run of it all."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .. import atomic
from ..problems import panda
from ..problems.problem import Problem
from . import cost_records
from .campaign import silent
from .compiling import ProblemCost, evaluation_costs, obstacle
from .cost_page import page
from .cost_picture import draw
from .cost_records import MeasuredCosts
from .cost_text import dim_text, evaluation_text, paying_text, target_text
from .decoder import decoder
from .fit_costs import FitCost, cost_of, fit_in_turns
from .paying import PaidAfter, paid_after
from .picture import checked_path
from .records import machine, versions
from .registry import problem_named
from .turns import processor_seconds

PAGE, PICTURE = "costs.md", "images/costs.svg"
IDLE = 0.5
"""Load average below which nothing else is said to run."""


@dataclass(frozen=True)
class CostSettings:
    """How much is measured.

    Attributes:
        dims: of x.
        dim_rounds: of each of those fits.
        counts: of training targets.
        count_rounds: of each of those fits.
        num_test: targets that a fit is judged on.
        most: evaluations of each of them.
        compared: problems whose evaluations are timed.
        batch_sizes: at which they are timed.
        timed_rounds: of the fits before.
        backend: of ``torch.compile``.
    """

    dims: tuple[int, ...] = (8, 32, 128, 512)
    dim_rounds: int = 24
    counts: tuple[int, ...] = (64, 256, 1024, 4096, 16384)
    count_rounds: int = 40
    num_test: int = 256
    most: int = 100
    compared: tuple[str, ...] = ("panda", "camera", "style")
    batch_sizes: tuple[int, ...] = (1, 64, 1024)
    timed_rounds: int = 10
    backend: str = "inductor"


QUICK = CostSettings(
    dims=(4, 8),
    dim_rounds=3,
    counts=(16, 64),
    count_rounds=3,
    num_test=16,
    most=10,
    compared=("panda",),
    batch_sizes=(1, 8),
    timed_rounds=2,
    backend="eager",  # goes the same way, and leaves out what takes minutes: the compiler
)


@dataclass(frozen=True)
class CostReport:
    """What was found.

    Attributes:
        text: the page.
        paid_after: inversions after which the benchmark's fits have paid for themselves.
        measured: what was timed, now or before.
        path: of the page that was written; None if none was.
    """

    text: str
    paid_after: tuple[PaidAfter, ...]
    measured: MeasuredCosts
    path: Path | None


def run_costs(
    results: Path,
    docs: Path | None = None,
    settings: CostSettings = CostSettings(),
    again: bool = False,
    show: Callable[[str], None] = silent,
    progress: bool = False,
) -> CostReport:
    """Read when the benchmark's fits have paid for themselves, measure what is not there yet, and write the page.

    Args:
        results: folder of the records of ``landscape-opt bench``; what is measured is kept there, as ``costs.json``.
        docs: folder of the documentation, for the page and its curves; None writes neither.
        settings: how much is measured.
        again: measure what is there already.
        show: takes a line of text before every part.
        progress: whether to show progress bars.
    """
    picture = None if docs is None else checked_path(docs / PICTURE)
    paid = paid_after(results)
    show(f"Break-even: read {len({one.problem for one in paid})} problems in {results}")
    measured = None if again else cost_records.read(results)
    if measured is None or measured.settings != cost_records.plain(settings) or measured.versions != versions():
        measured = _measured(settings, show, progress)
        cost_records.write(measured, results)
    else:
        show(f"Costs: as measured before, in {results / cost_records.NAME}")
    parts = (
        paying_text(paid, results.name),
        dim_text(measured.by_dim),
        target_text(measured.by_targets),
        evaluation_text(measured.evaluations, measured.why_not),
    )
    least = least_count(paid, (*measured.by_dim, *measured.by_targets))
    text = page(parts, least, measured.where, None if picture is None else PICTURE)
    path = None
    if docs is not None and picture is not None:
        draw(measured.by_dim, measured.by_targets, picture)
        path = docs / PAGE
        atomic.write({path: text.encode()})
    return CostReport(text, paid, measured, path)


def with_targets(count: int) -> Problem:
    """Panda with so many training targets, all of them different, and the same test targets.

    Example:
        >>> with_targets(5000).train.shape
        torch.Size([5000, 12])
    """
    own = panda(seed=0)
    others = [panda(seed=seed).train for seed in range(1, -(-count // len(own.train)))]
    return replace(own, train=torch.cat([own.train, *others])[:count])


def least_count(paid: Sequence[PaidAfter], fits: Sequence[FitCost]) -> float:
    """The fewest inversions after which any of the fits has paid for itself, those that have at once aside."""
    counts = [count for one in paid for count in (one.by_evaluations.low, one.by_clock.low)]
    counts += [fit.paid_after for fit in fits if fit.paid_after is not None]
    return min((count for count in counts if count > 0), default=math.inf)


def _measured(settings: CostSettings, show: Callable[[str], None], progress: bool) -> MeasuredCosts:
    began, load = processor_seconds(), _load()
    show(f"1 of 3: decoders of {_listed(settings.dims)} numbers, {settings.dim_rounds} rounds of fitting each")
    by_dim = _fitted([decoder(dim) for dim in settings.dims], settings.dim_rounds, settings, progress)
    show(f"2 of 3: panda with {_listed(settings.counts)} targets, {settings.count_rounds} rounds of fitting each")
    by_targets = _fitted([with_targets(count) for count in settings.counts], settings.count_rounds, settings, progress)
    why_not = obstacle(settings.backend)
    evaluations = tuple(_evaluations(settings, why_not, show))
    where = _where(load, processor_seconds() - began)
    return MeasuredCosts(cost_records.plain(settings), versions(), where, why_not, by_dim, by_targets, evaluations)


def _fitted(problems: Sequence[Problem], num_rounds: int, settings: CostSettings, progress: bool) -> tuple[FitCost, ...]:
    fits = fit_in_turns(problems, num_rounds, progress)
    return tuple(cost_of(fit, settings.num_test, settings.most) for fit in fits)


def _evaluations(settings: CostSettings, why_not: str | None, show: Callable[[str], None]) -> list[ProblemCost]:
    found = []
    for name in settings.compared:
        how = "as written" if why_not else "as written and compiled"
        show(f"3 of 3: evaluations of {name} at batch {_listed(settings.batch_sizes)}, {how}")
        backend = None if why_not else settings.backend
        found.append(evaluation_costs(problem_named(name), settings.batch_sizes, settings.timed_rounds, backend))
    return found


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _load() -> float | None:
    """What else the machine does: its load average over a minute, before anything was run here."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _where(load: float | None, seconds: float) -> str:
    on = machine()
    said = (
        f"It was run on {on['cpu']} with {on['threads']} of {on['cores']} cores, torch {torch.__version__}, and took "
        f"{seconds / 60.0:.1f} minutes of the processor."
    )
    if load is None:
        return said
    if load < IDLE:
        return f"{said} Nothing else was running when it began."
    return f"{said} Other work was running on the machine: its load average was {load:.1f} when the command began."
