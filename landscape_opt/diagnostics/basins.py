"""Whether a descent ended in the basin that it should have: what random starts find instead."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..inverter import LandscapeInverter

NUM_STARTS = 4


@dataclass(frozen=True)
class Basins:
    """The lowest losses known, and who reached them.

    A method has found the right basin of a target if its loss is not above the lowest known by more than the tolerance
    times the loss at x_init. Nobody knows the lowest loss there is: more starts make the test harder.

    Attributes:
        lowest: of the starts and of both methods, (B,).
        starts: where L-BFGS in X ended from every random start, (B, K); infinite where that is not finite.
        landscape: whether the landscape found the right basin, (B,).
        plain: whether plain descent from x_init did, (B,).
        spread: standard deviation of an element of a start around x_init.
        num_evaluations: of F, by the random starts.
    """

    lowest: Tensor = field(repr=False)
    starts: Tensor = field(repr=False)
    landscape: Tensor
    plain: Tensor
    spread: float
    num_evaluations: int


def basins(
    inverter: LandscapeInverter,
    target: Batch,
    ours: Tensor,
    plain: Tensor,
    slack: Tensor,
    max_evaluations: int,
    num_starts: int = NUM_STARTS,
    spread: float | None = None,
) -> Basins:
    """Descend from random starts, the same for every target, with the budget of the methods from each.

    The starts are normal around x_init, by default at a distance of about D from it, which plain descent does not exceed for
    nine in ten targets of the calibration. Where all of it ends nearby in a bad basin, D is small: say how far to look.

    Args:
        inverter: fitted.
        target: a batch of B targets.
        ours: the landscape's losses, (B,).
        plain: those of plain descent, (B,).
        slack: by how much a loss may lie above the lowest, (B,).
        max_evaluations: from every start.
        num_starts: K.
        spread: standard deviation of an element of a start; None takes D/√d.
    """
    layout, descent = inverter.landscape.layout, inverter.unfitted()
    if spread is None:
        spread = float(inverter.landscape.mapping.distance) / layout.dim**0.5
    generator = torch.Generator().manual_seed(inverter.seed)
    losses, spent = [], 0
    for _ in range(num_starts):
        x = layout.row + spread * torch.randn(layout.dim, generator=generator).to(layout.row)
        everywhere = layout.structured(x.expand(batches.size(target), -1))
        found = descent.invert(target, max_evaluations, warm_start=everywhere, allow_unfitted=True)
        losses.append(_finite(found.loss))
        spent += int(found.num_evaluations.sum())
    starts, ours, plain = torch.stack(losses, dim=1), _finite(ours), _finite(plain)
    lowest = torch.minimum(starts.amin(1), torch.minimum(ours, plain))
    return Basins(lowest, starts, ours <= lowest + slack, plain <= lowest + slack, spread, spent)


def _finite(loss: Tensor) -> Tensor:
    return torch.where(loss.isfinite(), loss, torch.inf)
