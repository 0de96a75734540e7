"""Targets of which half was not observed, and no mask was ever seen in fitting."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..inverter import LandscapeInverter
from ..memory import NUM_DIVERSE, Candidates, LossOf, Memory
from ..problems.problem import Problem, TargetSet
from .encoder import Encoder
from .rivals import CHUNK, Curves
from .sets import first, pieces
from .table import Row, as_text, row, where_we_lose
from .ways import Way, by_inverter

BUDGETS = (0, 1, 2, 5, 10, 20, 50, 100)
OURS = "landscape, memory and restarts"


class TimedMemory(Memory):
    """A memory that adds up the seconds of its look-ups."""

    seconds = 0.0

    def nearest(self, target: Any, loss_of: LossOf, among: Tensor | None = None, count: int = NUM_DIVERSE) -> Candidates:
        """As the memory does."""
        began = time.perf_counter()
        found = super().nearest(target, loss_of, among, count)
        self.seconds += time.perf_counter() - began
        return found

    def closest(self, target: Any, count: int, observed: Any = None) -> Tensor | None:
        """As the memory does."""
        began = time.perf_counter()
        found = super().closest(target, count, observed)
        self.seconds += time.perf_counter() - began
        return found


@dataclass(frozen=True)
class HiddenReport:
    """What was found.

    Attributes:
        text: all that a command prints.
        rows: of every kind of mask, by its name: ours first.
        share: of the wall time of our inversions spent in look-ups.
    """

    text: str
    rows: dict[str, tuple[Row, ...]]
    share: float


def hidden_sets(problem: Problem) -> dict[str, TargetSet]:
    """What is inverted, by name: as the problem says, and of square images one side beside that.

    Raises:
        ValueError: if the problem does not say what is partly observed.
    """
    if problem.partly is None:
        raise ValueError(f"the problem {problem.name} has no partly observed targets.")
    sets = {problem.partly.described_as or "a part": problem.partly}
    like = problem.test
    if isinstance(like, Tensor) and like.ndim == 3 and like.shape[-1] == like.shape[-2]:
        left = torch.arange(like.shape[-1]) < like.shape[-1] // 2
        sets["the right half"] = TargetSet(targets=like, observed=left.expand_as(like))
    return sets


def run_hidden(
    problem: Problem,
    seconds: float,
    budgets: tuple[int, ...] = BUDGETS,
    progress: bool = True,
    num_test: int | None = None,
) -> HiddenReport:
    """Fit on complete targets, invert test targets of which half is hidden.

    Args:
        problem: says what is partly observed.
        seconds: of fitting, for the landscape and for the encoder each.
        budgets: evaluations of the table, ascending.
        progress: whether to show a progress bar.
        num_test: targets to invert, at most; None takes all.

    Raises:
        ValueError: if the problem does not say what is partly observed, before anything is fitted.
    """
    sets = {name: some if num_test is None else first(some, num_test) for name, some in hidden_sets(problem).items()}
    memory = TimedMemory()
    ours = LandscapeInverter(problem.landscape(), problem.loss_fn, memory=memory)
    ours.fit(problem.train, max_seconds=seconds, progress=progress)
    encoder = Encoder(problem).fit(problem, seconds)
    plain = LandscapeInverter(problem.landscape(), problem.loss_fn)
    ways = (
        by_inverter(OURS, ours),
        by_inverter("landscape alone", ours, restarts=False),
        by_inverter("L-BFGS from the plain start", plain, allow_unfitted=True),
        by_inverter("encoder, then L-BFGS", plain, allow_unfitted=True, warm_start=encoder),
    )
    memory.seconds, spent = 0.0, 0.0
    rows, parts = {}, []
    for name, some in sets.items():
        found = []
        for way in ways:
            began = time.perf_counter()
            found.append(row(way.name, _curves(way, some, max(budgets)), budgets))
            spent += time.perf_counter() - began if way.name == OURS else 0.0
        rows[name] = tuple(found)
        lost = where_we_lose(found[0], found[1:])
        parts += [
            f"Observed: {name}",
            as_text(found),
            "Where it is worse than another row: " + ("; ".join(lost) or "nowhere"),
        ]
    share = memory.seconds / spent
    parts.append(
        f"Look-ups took {100 * share:.1f} % of the wall time of {max(budgets)} evaluations with memory and restarts."
    )
    num_targets = batches.size(next(iter(sets.values())).targets)
    heading = (
        f"{problem.name}: {num_targets} test targets, {seconds:.0f} s of fitting on complete ones for the landscape, "
        "as many for the encoder"
    )
    return HiddenReport("\n\n".join([heading, *parts]) + "\n", rows, share)


def _curves(way: Way, some: TargetSet, most: int) -> Curves:
    return Curves(way.name, torch.cat([way.invert(part, most).best for part in pieces(some, CHUNK)], dim=1))
