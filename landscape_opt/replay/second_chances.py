"""Rows of a fit that would leave unsolved go on from a stored point, as they would in an inversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..look_up import MUCH_BETTER
from ..terms import given_target
from .points import Guide

UNSOLVED = 1e-3
"""Share of L₀: what is below is the solver's business, wherever the row stands."""
NUM_CLOSEST = 8


@dataclass(frozen=True)
class SecondChances:
    """Where rows go on.

    Attributes:
        rows: which, (N,), True and False.
        x: the stored point of each of those, in their order, (n, d).
    """

    rows: Tensor
    x: Tensor


def second_chances(guide: Guide, target: Batch, loss: Tensor, asking: Tensor) -> SecondChances | None:
    """Stored points that are much better than where rows stand.

    A landscape that solves a part of the targets fills its memory with that part. A row that goes on from the closest
    solution ends near one of its own, which is stored in its turn: what is solved spreads over all targets, and θ sees the
    starts that an inversion will give it.

    Args:
        guide: with the memory.
        target: of all rows, N.
        loss: of all rows, (N,).
        asking: which rows look for a point, (N,).

    Returns:
        None where no row has one.
    """
    memory, mapping = guide.memory, guide.mapping
    if not mapping.reanchors or guide.objective.given is not None or len(memory) < NUM_CLOSEST:
        return None  # a mapping with one chart cannot begin elsewhere; under `given` a stored prediction says nothing
    places = (asking & (loss > UNSOLVED * mapping.loss)).nonzero()[:, 0]
    if len(places) == 0:
        return None
    wanted: Any = batches.rows(target, places)
    terms = guide.objective.terms
    closest = memory.closest(given_target(wanted, terms), NUM_CLOSEST, wanted["observed"] if terms.masked else None)
    if closest is None:
        return None
    found = memory.nearest(wanted, guide.objective.loss_of, closest, count=1)
    assert found.loss is not None
    better = found.loss[:, 0] < MUCH_BETTER * loss[places]
    if not bool(better.any()):
        return None
    return SecondChances(torch.zeros_like(asking).index_fill(0, places[better], True), found.x[better, 0])
