"""Two gloo ranks against one process: how far their θ differ, what a round takes, and what a lost rank does to the other."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import checkpoint
from .campaign import silent
from .engine_rank import NUM_ROWS, Case

PROGRAM = "landscape_opt.benchmark.engine_rank"
TIMEOUT = 10.0
LOSSES = {"killed (SIGKILL)": signal.SIGKILL, "stopped (SIGSTOP)": signal.SIGSTOP}


CASES = (
    Case("network", "streaming", "float64"),
    Case("network", "alternating", "float64"),
    Case("network", "streaming", "float32"),
    Case("arm", "streaming", "float64"),
    Case("wide network", "streaming", "float32"),
)


@dataclass(frozen=True)
class Comparison:
    """A fit by two ranks beside the same by one process.

    Differences of θ are the largest of any tensor, relative to its largest element.

    Attributes:
        case: which fit.
        difference: of the θ of two ranks from that of one process.
        nudged: of the θ of one process whose F is larger by one unit in its last place from that of one whose F is not: what
            rounding makes of a fit anyway.
        alone: seconds of a round by one process, the median without the first.
        together: seconds of a round by two ranks.
    """

    case: Case
    difference: float
    nudged: float
    alone: float
    together: float


@dataclass(frozen=True)
class Loss:
    """A rank that was lost in the middle of a fit.

    Attributes:
        how: it was lost.
        seconds: from then to the error of the other.
        said: that error.
    """

    how: str
    seconds: float
    said: str


@dataclass(frozen=True)
class RanksReport:
    """What came of all.

    Attributes:
        text: all that the command prints.
        comparisons: of fits.
        losses: of ranks.
    """

    text: str
    comparisons: tuple[Comparison, ...]
    losses: tuple[Loss, ...]


def run_ranks(num_rounds: int = 4, timeout: float = TIMEOUT, show: Callable[[str], None] = silent,
              cases: tuple[Case, ...] = CASES) -> RanksReport:  # fmt: skip
    """Fit with two ranks and with one process, compare, and lose a rank in two ways.

    Args:
        num_rounds: of each fit that is compared, at least 2.
        timeout: seconds that a rank is waited for.
        show: takes a line for every fit.
        cases: to compare.
    """
    lines, comparisons, losses = [], [], []
    for case in cases:
        comparisons.append(_compared(case, num_rounds))
        lines.append(_line(comparisons[-1]))
        show(lines[-1])
    for how, number in LOSSES.items():
        losses.append(_lost(how, number, timeout))
        lines.append(f"one rank {how}, time-out {timeout:g} s: an error after {losses[-1].seconds:.2f} s")
        lines.append(f"    {losses[-1].said}")
        show("\n".join(lines[-2:]))
    head = (
        f"Two gloo ranks against one process, one thread each, on {len(os.sched_getaffinity(0))} core(s); "
        f"{NUM_ROWS} rows, {num_rounds} rounds\n"
        f"{'':<12} {'':<11} {'':<7} {'difference of θ':>24} {'seconds of a round':>22}\n"
        f"{'F':<12} {'replay':<11} {'dtype':<7} {'two ranks':>12} {'F + 1 ulp':>11} {'one process':>12} {'two ranks':>9}\n"
    )
    return RanksReport(head + "".join(line + "\n" for line in lines), tuple(comparisons), tuple(losses))


def _line(one: Comparison) -> str:
    case = one.case
    return (
        f"{case.model:<12} {case.replay:<11} {case.dtype:<7} {one.difference:12.1e} {one.nudged:11.1e} "
        f"{one.alone:12.3f} {one.together:9.3f}"
    )


def _compared(case: Case, num_rounds: int) -> Comparison:
    alone, nudged = (_end_of(case, 1, num_rounds, is_nudged) for is_nudged in (False, True))
    together = _end_of(case, 2, num_rounds)
    seconds = [statistics.median(end["seconds"][1:]) for end in (alone, together)]
    return Comparison(case, _difference(together["θ"], alone["θ"]), _difference(nudged["θ"], alone["θ"]), *seconds)


def _difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    return max(
        float((found[name] - value).abs().max() / value.abs().max().clamp_min(torch.finfo(value.dtype).tiny))
        for name, value in wanted.items()
    )


def _end_of(case: Case, size: int, num_rounds: int, nudged: bool = False) -> dict[str, Any]:
    """What rank 0 of a fit left."""
    with tempfile.TemporaryDirectory() as place:
        for process in [_process(place, rank, size, num_rounds, case, nudged=nudged) for rank in range(size)]:
            if process.wait() != 0:
                raise RuntimeError(f"a rank of {size} ended with status {process.returncode}")
        return checkpoint.load(Path(place) / "end")


def _lost(how: str, number: signal.Signals, timeout: float) -> Loss:
    """Signal rank 1 once its second round is over, and see what becomes of rank 0."""
    with tempfile.TemporaryDirectory() as place:
        ranks = [_process(place, rank, 2, 10**6, CASES[0], timeout) for rank in range(2)]
        while not (Path(place) / "rounds").exists():
            time.sleep(0.01)
            if ranks[1].poll() is not None:
                raise RuntimeError("a rank ended before its time")
        began = time.monotonic()
        ranks[1].send_signal(number)
        ranks[0].wait()
        ranks[1].kill()
        ranks[1].wait()
        end = checkpoint.load(Path(place) / "end")
    return Loss(how, end["at"] - began, end["said"])


def _process(place: str, rank: int, size: int, num_rounds: int, case: Case, timeout: float = 60.0,
             nudged: bool = False) -> subprocess.Popen[bytes]:  # fmt: skip
    arguments = [place, str(rank), str(size), str(num_rounds), str(timeout), str(int(nudged))]
    arguments += [case.model, case.replay, case.dtype]
    return subprocess.Popen([sys.executable, "-m", PROGRAM, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"})
