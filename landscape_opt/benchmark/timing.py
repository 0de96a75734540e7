"""Wall time of a method, per row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..inverter import LandscapeInverter

Inversion = Callable[[int], object]


@dataclass(frozen=True)
class Timing:
    """How long a batch took.

    Attributes:
        name: of the method.
        num_evaluations: of every row.
        seconds: of one row: of the batch over its rows.
    """

    name: str
    num_evaluations: int
    seconds: float

    @property
    def per_evaluation(self) -> float:
        """Seconds of one evaluation of one row."""
        return self.seconds / self.num_evaluations


def fit_seconds(inverter: LandscapeInverter) -> float:
    """Wall time of all rounds of fitting."""
    return sum(record.seconds for record in inverter.history)


def measure(name: str, invert: Inversion, num_evaluations: int, num_rows: int) -> Timing:
    """Time ``invert(num_evaluations)`` after a warm-up; the faster of two runs, or one run if it is long.

    Args:
        name: of the method.
        invert: runs the method on the rows for so many evaluations.
        num_evaluations: at least 1.
        num_rows: that ``invert`` runs on.
    """
    invert(2)
    repeats = 2 if num_evaluations <= 20 else 1
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        invert(num_evaluations)
        seconds.append(time.perf_counter() - began)
    return Timing(name, num_evaluations, min(seconds) / num_rows)
