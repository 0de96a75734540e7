"""The demo: fit a landscape on handwritten digits, invert held-out real ones, compare at equal evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..descent import Limits
from ..inverter import LandscapeInverter
from ..problems import Problem, digits
from ..results import to_budget
from .picture import Gallery, checked_path, draw
from .rivals import RATES, Curves, Rival, curves_of_all, first_order, run, second_order
from .table import Row, as_text, break_even, evaluations_to, level, row, speed_up, tuned_row, where_we_lose
from .timing import fit_seconds, measure
from .tuning import Choice, Statistic, candidates, choose, chosen, largest_budgets

BUDGETS = (0, 1, 2, 5, 10, 20, 50, 100, 200)
QUICK_BUDGETS = (0, 1, 2, 5, 10, 20)
OURS = "landscape"
PUBLISHED = "published algorithm"
FIRST_ORDER = "best of GD, momentum, Adam in X"
SECOND_ORDER = "best L-BFGS in X"
NUM_SHOWN = 8


@dataclass(frozen=True)
class Settings:
    """How large a demo is.

    Attributes:
        seconds: of fitting the landscape.
        published_seconds: of fitting by the published algorithm.
        budgets: evaluations of the table.
        progress: whether to show progress bars.
    """

    seconds: float
    published_seconds: float
    budgets: tuple[int, ...] = BUDGETS
    progress: bool = True


@dataclass(frozen=True)
class TunedRival:
    """A kind of method in X, tuned for every budget on validation targets.

    Attributes:
        row: of the table.
        choices: the method of every budget.
        curves: of the chosen methods on the test targets, by name.
        rivals: the methods, by name.
    """

    row: Row
    choices: tuple[Choice, ...]
    curves: dict[str, Curves]
    rivals: dict[str, Rival]

    def at(self, budget: int) -> Rival:
        """The method chosen for the median at a budget."""
        return self.rivals[chosen(self.choices, budget, Statistic.MEDIAN)]


@dataclass(frozen=True)
class DemoReport:
    """What the demo found.

    Attributes:
        text: all that a command prints.
        rows: of the table: ours, the published algorithm's, and the rivals'.
        picture: the file written.
    """

    text: str
    rows: tuple[Row, ...]
    picture: Path


def run_demo(
    seconds: float = 70.0,
    published_seconds: float = 30.0,
    out: str | Path = "landscape-demo.png",
    quick: bool = False,
    progress: bool = True,
) -> DemoReport:
    """Fit, invert the held-out digits, tune and run the rivals, and draw.

    Args:
        seconds: of fitting the landscape; 3 at most if quick.
        published_seconds: of fitting by the published algorithm; 2 at most if quick.
        out: the PNG to write, or a folder for it.
        quick: a small subset and small budgets, to see that all runs.
        progress: whether to show progress bars.
    """
    began, picture = time.monotonic(), checked_path(out)
    problem, settings = digits(), Settings(seconds, published_seconds, progress=progress)
    if quick:
        problem = replace(problem, validation=problem.validation[:32], test=problem.test[:64])
        settings = Settings(min(seconds, 3.0), min(published_seconds, 2.0), QUICK_BUDGETS, progress)
    ours = LandscapeInverter(problem.landscape(), problem.loss_fn)
    published = LandscapeInverter.published(problem.forward_model, problem.x_init, problem.loss_fn)
    ours.fit(problem.train, max_seconds=settings.seconds, progress=progress)
    published.fit(problem.train, max_seconds=settings.published_seconds, progress=progress)
    own = [_curves(OURS, ours, problem, settings), _curves(PUBLISHED, published, problem, settings)]
    first = tuned(FIRST_ORDER, first_order(_rates(quick)), problem, settings)
    second = tuned(SECOND_ORDER, second_order((None, 0.1)) if quick else second_order(), problem, settings)
    rows = (*(row(one.name, one, settings.budgets) for one in own), first.row, second.row)
    draw(_gallery(problem, ours, own[0], first, settings), picture)
    parts = [
        _heading(problem, ours, published),
        as_text(rows),
        _comparison(rows),
        _choices((first, second)),
        _wall_time(problem, ours, rows[0], (first, second)),
        f"picture: {picture}    all in all {time.monotonic() - began:.0f} s",
    ]
    return DemoReport("\n\n".join(parts) + "\n", rows, picture)


def tuned(name: str, rivals: Sequence[Rival], problem: Problem, settings: Settings) -> TunedRival:
    """Choose on the validation targets, then run the chosen ones on the test targets, once.

    Args:
        name: of the row.
        rivals: to choose from.
        problem: F and the targets.
        settings: budgets.
    """
    with _bar(settings.progress, name) as bar:
        show = bar.update if bar is not None else _nothing
        found = candidates(rivals, problem, settings.budgets, show)
        choices = choose(found, settings.budgets)
        lengths = largest_budgets(choices)
        going = {rival.name: rival for rival in rivals if rival.name in lengths}
        tested = curves_of_all(tuple(going.values()), problem, problem.test, [lengths[one] for one in going], show)
    curves = {one.name: one for one in tested}
    return TunedRival(tuned_row(name, curves, choices, settings.budgets), choices, curves, going)


def _rates(quick: bool) -> dict[str, tuple[float, ...]]:
    return {name: rates[1:3] for name, rates in RATES.items()} if quick else RATES


def _nothing() -> None:
    """Shows nothing."""


def _bar(wanted: bool, name: str) -> Any:
    if not wanted:
        return nullcontext()
    from tqdm import tqdm  # here, because it costs a tenth of a second to import

    return tqdm(desc=f"tune the {name}", unit="run")


def _curves(name: str, inverter: LandscapeInverter, problem: Problem, settings: Settings) -> Curves:
    most = max(settings.budgets)
    return Curves(name, to_budget(inverter.invert(problem.test, most).history.best, most))


def _heading(problem: Problem, ours: LandscapeInverter, published: LandscapeInverter) -> str:
    lines = [
        f"Inverting a generator of digits: {len(problem.test)} held-out real digits, x of {problem.dim} numbers.",
        f"Fitted on {len(problem.train)} other digits. Of the methods in X the best for every budget is chosen on "
        f"{len(problem.validation)} others again.",
    ]
    for name, one in ((OURS, ours), (PUBLISHED, published)):
        lines.append(f"{name}: {fit_seconds(one):.1f} s of fitting, {len(one.history)} rounds")
    return "\n".join(lines)


def _comparison(rows: Sequence[Row]) -> str:
    ours, rivals = rows[0], rows[2:]
    lines = [speed_up(ours, rival) for rival in rivals]
    lost = where_we_lose(ours, rows[1:])
    title = f"Where {OURS} is worse than another row, of the budgets from 1 on:"
    return "\n".join([*lines, "", title, *(f"  {line}" for line in lost or ("nowhere",))])


def _choices(rivals: Sequence[TunedRival]) -> str:
    lines = ["Chosen on the validation digits, for the median / the mean:"]
    for rival in rivals:
        lines.append(f"  {rival.row.name}")
        for budget in rival.row.budgets[1:]:
            names = [chosen(rival.choices, budget, statistic) for statistic in Statistic]
            lines.append(f"    {budget:>4d}  {names[0]} / {names[1]}")
    return "\n".join(lines)


def _wall_time(problem: Problem, ours: LandscapeInverter, our_row: Row, rivals: Sequence[TunedRival]) -> str:
    some = problem.test[:256]

    def invert(num_evaluations: int) -> object:
        return ours.invert(some, num_evaluations)

    lines = [f"Wall time of 20 evaluations, batch of {len(some)}, per evaluation and row:"]
    timing = measure(OURS, invert, 20, len(some))
    lines.append(f"  {timing.name}: {1e6 * timing.per_evaluation:.0f} µs")
    for rival in rivals:
        plain = measure(rival.at(20).name, partial(_run, rival.at(20), problem, len(some)), 20, len(some))
        lines.append(f"  {plain.name}: {1e6 * plain.per_evaluation:.0f} µs")
    lines += [_break_even(problem, ours, our_row, rival) for rival in rivals]
    return "\n".join(lines)


def _run(rival: Rival, problem: Problem, num_rows: int, num_evaluations: int) -> object:
    return run(rival, problem, problem.test[:num_rows], Limits(num_evaluations))


def _break_even(problem: Problem, ours: LandscapeInverter, our_row: Row, rival: TunedRival) -> str:
    wanted, some = level(rival.row), problem.test[:256]
    theirs, mine = evaluations_to(wanted, rival.row), evaluations_to(wanted, our_row)
    if theirs is None or mine is None or not theirs or not mine:
        return f"Break-even with {rival.row.name} (median {wanted:.3g}): never, the level is not reached"
    method = rival.at(min(budget for budget in rival.row.budgets if budget >= theirs))
    plain = measure(method.name, partial(_run, method, problem, len(some)), math.ceil(theirs), len(some))
    own = measure(OURS, partial(ours.invert, some), math.ceil(mine), len(some))
    number = break_even(fit_seconds(ours), theirs * plain.per_evaluation, mine * own.per_evaluation)
    times = f"{1e3 * theirs * plain.per_evaluation:.2f} ms an inversion against {1e3 * mine * own.per_evaluation:.2f} ms"
    found = "never" if number is None else f"{number:,.0f} inversions"
    return f"Break-even with {rival.row.name} (median {wanted:.3g}): {found} ({times})"


def _gallery(
    problem: Problem, ours: LandscapeInverter, our_curves: Curves, plain: TunedRival, settings: Settings
) -> Gallery:
    few = problem.test[:NUM_SHOWN]
    images = {"target": few}
    for budget in (5, 20):
        images[f"plain descent\n{budget} evaluations"] = run(plain.at(budget), problem, few, Limits(budget)).prediction
    for budget in (5, 20):
        images[f"landscape\n{budget} evaluations"] = ours.invert(few, budget).prediction
    budgets = settings.budgets[1:]
    losses = {budget: plain.curves[plain.at(budget).name].best[budget] for budget in budgets}
    return Gallery(images, our_curves.best, losses)
