"""Rows of figures for methods on photographs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ... import batches
from ...benchmark.summary import as_markdown
from ...inverter import LandscapeInverter
from ...results import InversionResult
from .keypoints import KeypointModel
from .metrics import mpjpe, pa_mpjpe, reprojection
from .photographs import Photographs
from .rivals import Fitter


@dataclass(frozen=True)
class Figures:
    """How a method fared on a set of photographs: means over them.

    Attributes:
        mpjpe: mm.
        pa_mpjpe: mm.
        pixels: reprojection error of the keypoints that were seen.
        loss: that was minimised.
        evaluations: of F.
        milliseconds: of CPU time a photograph, in one batch.
    """

    mpjpe: float
    pa_mpjpe: float
    pixels: float
    loss: float
    evaluations: float
    milliseconds: float


def figures(fitter: Fitter, seen: Photographs) -> Figures:
    """Of one method on one set.

    Args:
        fitter: the method.
        seen: the photographs.
    """
    began = time.process_time()
    found = fitter.fit(seen)
    seconds = time.process_time() - began
    joints = fitter.model.joints(found.x)
    return Figures(
        mpjpe=float(mpjpe(joints, seen.joints).mean()),
        pa_mpjpe=float(pa_mpjpe(joints, seen.joints).mean()),
        pixels=float(reprojection(found.prediction["keypoints"], seen.keypoints, seen.confidence).mean()),
        loss=float(found.loss.mean()),
        evaluations=float(found.num_evaluations.float().mean()),
        milliseconds=1000.0 * seconds / len(seen),
    )


def mean_of(some: Sequence[Figures]) -> Figures:
    """Over seeds.

    Example:
        >>> mean_of([Figures(1, 1, 1, 1, 1, 1), Figures(3, 3, 3, 3, 3, 3)]).mpjpe
        2.0
    """
    names = [one.name for one in fields(Figures)]
    return Figures(**{name: float(torch.tensor([getattr(one, name) for one in some]).double().mean()) for name in names})


def as_table(title: str, rows: dict[str, Sequence[Figures]]) -> str:
    """A Markdown table: means over seeds, and the range of the first figure over them.

    Args:
        title: of the set.
        rows: figures of every seed, by method.
    """
    head = [title, "MPJPE mm", "(over seeds)", "PA-MPJPE mm", "reprojection px", "loss", "evaluations", "ms CPU"]
    lines = []
    for name, some in rows.items():
        mean, errors = mean_of(some), [one.mpjpe for one in some]
        seeds = f"{min(errors):.1f} to {max(errors):.1f}" if len(errors) > 1 else "one"
        figures = (f"{mean.pa_mpjpe:.1f}", f"{mean.pixels:.2f}", f"{mean.loss:.1f}", f"{mean.evaluations:.0f}")
        lines.append([name, f"{mean.mpjpe:.1f}", seeds, *figures, f"{mean.milliseconds:.1f}"])
    return as_markdown(head, lines, ["---", "---:", ":---:", *["---:"] * 5])


def fit_in_rounds(inverter: LandscapeInverter, targets: dict[str, Tensor], num_rounds: int) -> LandscapeInverter:
    """``fit`` with its rate annealed along a cosine over rounds instead of seconds: the same on a machine that is busy.

    Args:
        inverter: that is fitted.
        targets: a batch of them all, taken in turn.
        num_rounds: of ``inverter.step``.
    """
    size = batches.size(targets)
    for number in range(num_rounds):
        rows = torch.arange(number * inverter.batch_size, (number + 1) * inverter.batch_size) % size
        factor = 0.5 * (1.0 + math.cos(math.pi * number / num_rounds))
        inverter.step(batches.rows(targets, rows), learning_rate_factor=factor)
    return inverter


def best_of(model: KeypointModel, result: InversionResult, truth: Tensor) -> Tensor:
    """The least error of all hypotheses, (B,) in mm."""
    if result.hypotheses is None:
        raise ValueError("the result has one answer; ask for num_hypotheses")
    x, count = result.hypotheses.x, result.hypotheses.loss.shape[1]
    rows = {name: part.flatten(0, 1) for name, part in x.items()}
    errors = mpjpe(model.joints(rows), truth.repeat_interleave(count, dim=0))
    return errors.reshape(-1, count).amin(1)
