"""Rows of a fit that would leave unsolved go on from a stored point, as they would in an inversion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..caught import is_stationary, signs
from ..look_up import FAR, MUCH_BETTER
from ..mappings.context import Context
from ..terms import given_target
from .points import Guide
from .stream import Stream

UNSOLVED = 1e-3
"""Share of L₀: what is below is the solver's business, wherever the row stands."""
NUM_CLOSEST = 16
FOUND = 0.1
"""A row that was caught has found a way out when it leaves below this share of the loss that it was caught at."""


@dataclass(frozen=True)
class SecondChances:
    """Where rows go on.

    Attributes:
        rows: which, (n,).
        x: the stored point of each of those, in their order, (n, d).
        caught: those of them that were caught, (k,).
        seen: what they saw where they were caught, (k, p).
    """

    rows: Tensor
    x: Tensor
    caught: Tensor
    seen: Tensor


def second_chances(guide: Guide, stream: Stream, asking: Tensor, draws: Tensor) -> SecondChances | None:
    """Stored points that are much better than where rows stand; and for some rows that are caught, points of any loss.

    A landscape that solves a part of the targets fills its memory with that part. A row that goes on from the closest
    solution ends near one of its own, which is stored in its turn: what is solved spreads over all targets, and θ sees the
    starts that an inversion will give it. Rows that are caught, and have no such point, go on from one whose prediction is
    close and which is far from where they stand: those of them that arrive show the others a way out.

    Args:
        guide: with the memory.
        stream: of N rows.
        asking: which rows look for a point, (N,).
        draws: uniform in [0, 1), (N,).

    Returns:
        None where no row has one.
    """
    memory, mapping = guide.memory, guide.mapping
    if not mapping.reanchors or guide.objective.given is not None or len(memory) < NUM_CLOSEST:
        return None  # a mapping with one chart cannot begin elsewhere; under `given` a stored prediction says nothing
    loss = stream.evaluation.loss
    curious = asking & (draws < memory.escapes.share) & (loss > FAR * mapping.attained)
    places = (curious | (asking & (loss > UNSOLVED * mapping.loss))).nonzero()[:, 0]
    if len(places) == 0:
        return None
    wanted: Any = batches.rows(stream.target, places)
    terms = guide.objective.terms
    closest = memory.closest(given_target(wanted, terms), NUM_CLOSEST, wanted["observed"] if terms.masked else None)
    if closest is None:
        return None
    found = memory.nearest(wanted, guide.objective.loss_of, closest, count=2)
    assert found.loss is not None
    better = found.loss[:, 0] < MUCH_BETTER * loss[places]
    among = curious[places]
    caught, seen = _caught(guide, stream, batches.rows(wanted, among), places[among])
    # The closest may be where the row itself has just been stored: of those as close, the farthest from it.
    x = torch.where(better[:, None], found.x[:, 0], found.x[:, -1])
    going = better | torch.isin(places, caught)
    return SecondChances(places[going], x[going], caught, seen) if bool(going.any()) else None


def _caught(guide: Guide, stream: Stream, target: Batch, places: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the rows at these places, with these targets, are caught, and what they see if told the whole target."""
    whole = Context(guide.features(target), None, stream.evaluation.rows(places))
    context = replace(whole, known=stream.known[places])
    caught = is_stationary(guide.mapping, context) if len(places) else torch.zeros_like(places, dtype=torch.bool)
    return places[caught], signs(guide.mapping, whole.rows(caught))
