"""Ways of inverting on sets of targets, as rows of figures and as a Markdown table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ... import batches
from ...benchmark.summary import as_markdown
from ...benchmark.ways import Outcome, Way
from ...problems.problem import TargetSet
from .quality import Judge, Quality

COLUMNS = ("evaluations", "loss, median", "mean", "MSE", "PSNR, dB", "distance", "same letter, %", "CPU ms")


@dataclass(frozen=True)
class Figures:
    """How one way fared on one set.

    Attributes:
        name: Of the way.
        num_evaluations: Its budget.
        loss: What was minimised, ``(B,)``.
        quality: Of its pictures, against the whole targets.
        seconds: Of CPU time for one target, everything included.
        outcome: What it found.
    """

    name: str
    num_evaluations: int
    loss: Tensor = field(repr=False)
    quality: Quality = field(repr=False)
    seconds: float
    outcome: Outcome = field(repr=False)


def figures(way: Way, some: TargetSet, num_evaluations: int, judge: Judge, whole: Tensor | None = None) -> Figures:
    """Invert a set and judge its pictures.

    Args:
        way: Method with its numbers set.
        some: Targets that hold an ``"image"``.
        num_evaluations: Budget of each.
        judge: Of pictures.
        whole: What they are judged against, where the targets are degraded; None takes the targets.
    """
    began = time.process_time()
    outcome = way.invert(some, num_evaluations)
    seconds = (time.process_time() - began) / batches.size(some.targets)
    assert isinstance(some.targets, Mapping)
    quality = judge(outcome.prediction["image"], some.targets["image"] if whole is None else whole)
    return Figures(way.name, num_evaluations, outcome.best[-1], quality, seconds, outcome)


def row(runs: Sequence[Figures]) -> list[str]:
    """One line of the table: medians and means over the targets, each averaged over the runs, one run a seed."""
    first = runs[0]

    def over(value: Iterable[float]) -> float:
        return float(torch.tensor(list(value)).mean())

    cells = [
        f"{over(float(one.loss.median()) for one in runs):.5f}",
        f"{over(float(one.loss.mean()) for one in runs):.5f}",
        f"{over(float(one.quality.mse.mean()) for one in runs):.5f}",
        f"{over(float(one.quality.psnr.mean()) for one in runs):.1f}",
        f"{over(float(one.quality.distance.mean()) for one in runs):.3f}",
        f"{over(100.0 * float(one.quality.identity.mean()) for one in runs):.0f}",
        f"{over(1000.0 * one.seconds for one in runs):.1f}",
    ]
    return [first.name, str(first.num_evaluations), *cells]


def table(title: str, rows: Sequence[Sequence[Figures]]) -> str:
    """A Markdown table of one set of targets.

    Args:
        title: Of the first column.
        rows: The runs of every way.
    """
    return as_markdown([title, *COLUMNS], [row(one) for one in rows])
