"""The command ``landscape-opt diagnose``: fit one of the library's problems, and look at its landscape."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from .. import batches
from ..batches import Batch
from ..benchmark.picture import checked_path
from ..benchmark.registry import problem_named
from ..benchmark.timing import fit_seconds
from ..inverter import LandscapeInverter
from .diagnosis import Diagnosis, diagnose
from .pictures import checked_format, described, draw_losses, draw_slices
from .slices import Slices, slices

NUM_TARGETS = 128


@dataclass(frozen=True)
class DiagnosisReport:
    """What was found on a problem.

    Attributes:
        text: all that a command prints.
        diagnosis: in numbers.
        slices: of the target that is drawn.
        pictures: the files written.
    """

    text: str
    diagnosis: Diagnosis = field(repr=False)
    slices: Slices = field(repr=False)
    pictures: tuple[Path, ...]


def run_diagnosis(
    name: str,
    seconds: float = 60.0,
    out: str | Path = "landscape-diagnosis.png",
    *,
    num_rounds: int | None = None,
    seed: int = 0,
    quick: bool = False,
    progress: bool = True,
) -> DiagnosisReport:
    """Fit on the training targets of a problem, diagnose on validation targets, draw one of those.

    Drawn is the target with the median loss at the landscape's own start, so that nobody chooses. A fit by rounds is the
    same one every time on one machine, and so are the text and the pictures; one by seconds is not.

    Args:
        name: of the problem, as ``landscape-opt bench`` takes it.
        seconds: of fitting, where no rounds are given; 2 at most if quick.
        out: the picture to write, or a folder for it; the loss curves go beside it, as ``…-losses``.
        num_rounds: of fitting, instead of seconds; 2 at most if quick.
        seed: of the fit.
        quick: few targets and evaluations, to see that all runs.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if there is no such problem, or the rounds are fewer than one.
        ImportError: if matplotlib is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = run_diagnosis("linear", out=folder, num_rounds=1, quick=True, progress=False)
        >>> report.text.splitlines()[0]
        'linear: x of 32 numbers; fitted for 1 round'
    """
    path = Path(out)
    problem = problem_named(name)
    path = checked_format(checked_path(path / f"landscape-{name}.png" if path.is_dir() else path))
    num_targets, budget, resolution = (8, 8, 9) if quick else (NUM_TARGETS, 50, 61)
    size = min(num_targets, batches.size(problem.validation))
    targets: Batch = batches.rows(problem.validation, torch.arange(size))
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, seed=seed)
    if num_rounds is None:
        inverter.fit(problem.train, max_seconds=min(seconds, 2.0) if quick else seconds, progress=progress)
    else:
        inverter.fit(problem.train, num_rounds=min(num_rounds, 2) if quick else num_rounds, progress=progress)
    found = diagnose(inverter, targets, budget, num_starts=1 if quick else 4)
    row = found.typical_row()
    planes = slices(inverter, targets, row, min(budget, 20), resolution)
    curves = path.with_name(f"{path.stem}-losses{path.suffix}")
    written = (draw_slices(planes, path), draw_losses(found, curves))
    lines = [
        f"{name}: x of {problem.dim} numbers; fitted for {_length(inverter, num_rounds)}\n",
        found.text(),
        f"drawn: validation target {row}, which has the median loss at the landscape's own start",
        described(planes),
        f"for the drawing: {planes.num_evaluations} evaluations and {planes.num_forwards} forwards of F",
        *(f"written: {one}" for one in written),
    ]
    return DiagnosisReport("\n".join(lines) + "\n", found, planes, written)


def _length(inverter: LandscapeInverter, num_rounds: int | None) -> str:
    """Of the fit; without the seconds where it was ended by rounds, so that the text is the same every time."""
    done = len(inverter.history)
    rounds = f"{done} round{'' if done == 1 else 's'}"
    return rounds if num_rounds is not None else f"{fit_seconds(inverter):.0f} s, {rounds}"
