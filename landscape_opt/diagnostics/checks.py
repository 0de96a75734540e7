"""Checks at the door of the diagnostics."""

from __future__ import annotations

from typing import Any

from ..batches import Batch
from ..inverter import LandscapeInverter
from ..targets import refuse_empty, refuse_nonfinite


def check(inverter: Any, targets: Batch, max_evaluations: int) -> None:
    """A fitted inverter, targets of its size, and a budget."""
    if not isinstance(inverter, LandscapeInverter):
        raise TypeError(f"expected a LandscapeInverter, got {type(inverter).__name__}")
    if max_evaluations < 1:
        raise ValueError(f"max_evaluations must be at least 1, got {max_evaluations}")
    refuse_nonfinite(refuse_empty(targets))
    if not inverter.landscape.is_fitted:
        raise RuntimeError(
            "this landscape has not been fitted, so there is nothing to diagnose: call fit(targets, max_seconds=60) first"
        )
    inverter.landscape.check_fits(targets)
