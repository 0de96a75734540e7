"""A diagnosis as a table of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from .conditioning import Conditioning
from .reach import Reach

if TYPE_CHECKING:
    from .diagnosis import Diagnosis

WIDTH = 42


def of(diagnosis: Diagnosis) -> str:
    """All that is printed."""
    parts = [_heading(diagnosis), _methods(diagnosis), _conditioning(diagnosis), _unfamiliar(diagnosis), _spent(diagnosis)]
    return "\n\n".join(parts) + "\n"


def _heading(diagnosis: Diagnosis) -> str:
    return (
        f"{len(diagnosis.unfamiliarity)} held-out targets, at most {diagnosis.max_evaluations} evaluations of F each. "
        f"A target has arrived at {diagnosis.tolerance:g} of its loss at x_init."
    )


def _methods(diagnosis: Diagnosis) -> str:
    both, found = (diagnosis.landscape, diagnosis.plain), diagnosis.basins
    num_starts, most = found.starts.shape[1], diagnosis.max_evaluations
    lines = [
        _line("", ["landscape", "plain descent"]),
        _line("targets that arrive", [_share(one.share_arrived) for one in both]),
        _line("evaluations to arrive, median", [_evaluations(one, 0.5, most) for one in both]),
        _line("  90th percentile", [_evaluations(one, 0.9, most) for one in both]),
        _line("loss that an evaluation leaves, median", [_number(_median(one.ratio)) for one in both]),
        _line("evaluations that raise the loss", [_share(float(one.rises.nanmean())) for one in both]),
        _line(
            "targets in the lowest basin known",
            [_share(float(one.double().mean())) for one in (found.landscape, found.plain)],
        ),
        f"  (not beaten by more than {diagnosis.tolerance:g} of the loss at x_init, by the other or by L-BFGS from any of "
        f"{num_starts} random starts)",
    ]
    return "\n".join(lines)


def _conditioning(diagnosis: Diagnosis) -> str:
    found = diagnosis.conditioning
    if not isinstance(found, Conditioning):
        return f"condition of the loss: not available. {found.reason}"
    bound = "" if found.is_exact else ", ≥"  # by Lanczos' method
    known = found.num_flat >= 0
    flat = [_number(_median(line[seen].double())) for line, seen in zip(found.num_flat, known, strict=True)]
    convex = [_share(float(line[seen].double().mean())) for line, seen in zip(found.is_convex, known, strict=True)]
    lines = [
        f"the loss along the descents of {len(found.rows)} targets in the landscape, medians",
        _line("after evaluations", [str(step) for step in found.steps], 11),
        _line(f"condition number in X{bound}", _medians(found.in_x), 11),
        _line(f"  as the learned metric sees it{bound}", _medians(found.learned), 11),
        _line("best gradient step leaves of it, in X", _medians(found.left_in_x), 11),
        _line("  in the learned metric", _medians(found.left_learned), 11),
        _line("targets at which it is convex", convex, 11),
    ]
    if found.is_exact:
        lines.append(_line("flat directions, left out above", flat, 11))
    return "\n".join(lines)


def _medians(table: Tensor) -> list[str]:
    return [_number(_median(line)) for line in table]


def _unfamiliar(diagnosis: Diagnosis) -> str:
    score = diagnosis.unfamiliarity.double()
    if bool(score.isnan().all()):
        return "unfamiliarity: not available, the fit recorded no first losses"
    known = score.nan_to_num(nan=math.inf)
    worst, high = int(known.argmax()), float(known.quantile(0.9, interpolation="higher"))
    return (
        f"first loss over the mean first loss at the end of the fit: mean {_number(float(score.nanmean()))}, "
        f"90th percentile {_number(high)}; most unfamiliar is target {worst} ({_number(float(score[worst]))})"
    )


def _spent(diagnosis: Diagnosis) -> str:
    shares = [
        f"landscape {diagnosis.landscape.num_evaluations}",
        f"plain descent {diagnosis.plain.num_evaluations}",
        f"random starts {diagnosis.basins.num_evaluations}",
        f"conditioning {diagnosis.conditioning.num_evaluations}",
    ]
    return f"evaluations of F spent: {diagnosis.num_evaluations} ({', '.join(shares)})"


def _line(label: str, cells: Sequence[str], width: int = 15) -> str:
    return (f"{label:<{WIDTH}}" + "".join(f"{cell:>{width}}" for cell in cells)).rstrip()


def _evaluations(reach: Reach, share: float, most: int) -> str:
    found = reach.quantile(share)
    return f"{found:.0f}" if math.isfinite(found) else f"not in {most}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100.0 * value:.1f} %"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _median(values: Tensor) -> float:
    return float(values.nanmedian()) if values.numel() else math.nan
