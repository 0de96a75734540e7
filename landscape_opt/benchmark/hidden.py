"""Targets of which half was not observed, and no mask was ever seen in fitting."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..inverter import LandscapeInverter
from ..memory import Candidates, LossOf, Memory
from ..problems.problem import Problem
from .encoder import Encoder
from .rivals import CHUNK, Curves, to_budget
from .table import Row, as_text, row, where_we_lose

BUDGETS = (0, 1, 2, 5, 10, 20, 50, 100)
OURS = "landscape, memory and restarts"


class TimedMemory(Memory):
    """A memory that adds up the seconds of its look-ups."""

    seconds = 0.0

    def nearest(self, target: Any, loss_of: LossOf, num_compared: int | None = None, count: int = 8) -> Candidates:
        """As the memory does."""
        began = time.perf_counter()
        found = super().nearest(target, loss_of, num_compared, count)
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


def masks(problem: Problem) -> dict[str, Tensor]:
    """Which elements were observed: as the problem says, or a half at random and one side of an image."""
    if problem.partly is not None and problem.partly.observed is not None:
        return {problem.partly.described_as or "a part": problem.partly.observed}
    like = problem.test
    at_random = torch.rand(like.shape, generator=torch.Generator().manual_seed(5)) < 0.5
    left = torch.arange(like.shape[-1]) < like.shape[-1] // 2
    return {"half of the pixels at random": at_random, "the right half": left.expand_as(like)}


def few(problem: Problem, count: int) -> Problem:
    """The same problem with so many test targets alone."""
    partly = problem.partly
    if partly is not None:
        seen = None if partly.observed is None else partly.observed[:count]
        partly = replace(partly, targets=batches.rows(partly.targets, torch.arange(count)), observed=seen)
    return replace(problem, test=problem.test[:count], partly=partly)


def run_hidden(problem: Problem, seconds: float, budgets: tuple[int, ...] = BUDGETS, progress: bool = True) -> HiddenReport:
    """Fit on complete targets, invert test targets of which half is hidden.

    Args:
        problem: with a Tensor of targets of the shape of the predictions.
        seconds: of fitting, for the landscape and for the encoder each.
        budgets: evaluations of the table, ascending.
        progress: whether to show a progress bar.
    """
    memory = TimedMemory()
    ours = LandscapeInverter(problem.landscape(), problem.loss_fn, memory=memory)
    ours.fit(problem.train, max_seconds=seconds, progress=progress)
    encoder = Encoder(problem).fit(problem, seconds)
    plain = partial(LandscapeInverter(problem.landscape(), problem.loss_fn).invert, allow_unfitted=True)
    methods: dict[str, Callable[..., Any]] = {
        OURS: ours.invert,
        "landscape alone": partial(ours.invert, restarts=False),
        "L-BFGS from the plain start": plain,
        "encoder, then L-BFGS": partial(plain, warm_start=encoder),
    }
    targets = problem.test if problem.partly is None else problem.partly.targets
    memory.seconds, spent = 0.0, 0.0
    rows, parts = {}, []
    for name, mask in masks(problem).items():
        found = []
        for method, invert in methods.items():
            began = time.perf_counter()
            found.append(row(method, _curves(method, invert, targets, mask, max(budgets)), budgets))
            spent += time.perf_counter() - began if method == OURS else 0.0
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
    heading = (
        f"{problem.name}: {len(targets)} test targets, {seconds:.0f} s of fitting on complete ones for the landscape, "
        "as many for the encoder"
    )
    return HiddenReport("\n\n".join([heading, *parts]) + "\n", rows, share)


def _curves(name: str, invert: Callable[..., Any], targets: Any, mask: Tensor, most: int) -> Curves:
    """In chunks: the encoder sees NaN where nothing was observed."""
    hidden = torch.where(mask, targets, torch.nan)
    parts = [
        to_budget(invert(some, most, observed=seen).history.best, most)
        for some, seen in zip(hidden.split(CHUNK), mask.split(CHUNK), strict=True)
    ]
    return Curves(name, torch.cat(parts, dim=1))
