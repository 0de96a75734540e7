"""What a landscape is like on held-out targets, in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from ..batches import Batch
from ..inverter import LandscapeInverter
from . import text
from .basins import NUM_STARTS, Basins, basins
from .checks import check
from .conditioning import Conditioning, NotAvailable, conditioning
from .reach import Reach

NUM_ROUNDS = 20
"""Last rounds of the fit whose first losses are averaged."""


@dataclass(frozen=True)
class Diagnosis:
    """A landscape beside plain descent (L-BFGS in X from x_init), on the same targets with the same evaluations of F.

    Attributes:
        landscape: how the landscape, with its defaults, came near the solutions.
        plain: how plain descent did.
        conditioning: of the loss in X and as the learned metric sees it, along the descents of a few targets.
        basins: whether the methods ended in the basins that they should have.
        unfamiliarity: first loss in the landscape over the mean first loss at the end of the fit, (B,): 1 is as in the
            fit, 10 a target for which the learned start is ten times worse. NaN where the fit recorded none. A target may
            also be hard and well known: it is a score of the start, not of the answer.
        tolerance: a target has arrived when its loss is at most this share of that at x_init.
        max_evaluations: the budget of every descent.
        num_evaluations: of F, all that this diagnosis has spent.
    """

    landscape: Reach
    plain: Reach
    conditioning: Conditioning | NotAvailable
    basins: Basins
    unfamiliarity: Tensor = field(repr=False)
    tolerance: float
    max_evaluations: int
    num_evaluations: int

    def text(self) -> str:
        """A table, and what was spent."""
        return text.of(self)

    def typical_row(self) -> int:
        """The target with the median loss at the landscape's own start (the lower one of two)."""
        return int(self.landscape.best[0].argsort(stable=True)[(len(self.unfamiliarity) - 1) // 2])


def diagnose(
    inverter: LandscapeInverter,
    targets: Batch,
    max_evaluations: int = 50,
    tolerance: float = 1e-3,
    num_starts: int = NUM_STARTS,
    spread: float | None = None,
) -> Diagnosis:
    """Invert held-out targets in the landscape and by plain descent, and look at what happened.

    Args:
        inverter: fitted.
        targets: a batch of B targets that the fit has not seen; 64 are enough to begin with.
        max_evaluations: of every descent, per target.
        tolerance: share of the loss at x_init at which a target has arrived.
        num_starts: random starts for every target, each with ``max_evaluations``.
        spread: standard deviation of an element of a random start around x_init; None takes what
            :func:`~landscape_opt.diagnostics.basins.basins` says.

    Raises:
        RuntimeError: before any fit.
        ValueError: for targets that are none, not finite, or of another size than those of the fit; for a tolerance, a
            budget, a number of starts or a spread that is not positive.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> from landscape_opt.diagnostics import diagnose
        >>> scales = torch.tensor([1.0, 0.1])
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: scales * x, torch.zeros(2)), squares)
        >>> targets = scales * torch.randn(520, 2, generator=torch.Generator().manual_seed(0))
        >>> found = diagnose(inverter.fit(targets[8:], num_rounds=6, progress=False), targets[:8], max_evaluations=10)
        >>> found.landscape.share_arrived, round(float(found.conditioning.in_x[0].median()))
        (1.0, 100)
    """
    check(inverter, targets, max_evaluations)
    if not (tolerance > 0 and math.isfinite(tolerance)):
        raise ValueError(f"tolerance must be positive, a share of the loss at x_init, got {tolerance}")
    if num_starts < 1:
        raise ValueError(f"num_starts must be at least 1, got {num_starts}")
    if spread is not None and not spread > 0:
        raise ValueError(f"spread must be positive, a standard deviation in the unit of x, got {spread}")
    ours = inverter.invert(targets, max_evaluations)
    plain = inverter.unfitted().invert(targets, max_evaluations, allow_unfitted=True)
    level = tolerance * plain.history.loss[0]
    reached = [Reach.of(result, level, max_evaluations) for result in (ours, plain)]
    around = conditioning(inverter, targets, max_evaluations)
    other = basins(inverter, targets, ours.loss, plain.loss, level, max_evaluations, num_starts, spread)
    return Diagnosis(
        landscape=reached[0],
        plain=reached[1],
        conditioning=around,
        basins=other,
        unfamiliarity=ours.history.loss[0] / _first_loss_of_fit(inverter),
        tolerance=tolerance,
        max_evaluations=max_evaluations,
        num_evaluations=sum(part.num_evaluations for part in (*reached, around, other)),
    )


def _first_loss_of_fit(inverter: LandscapeInverter) -> float:
    """Mean loss at the landscape's own start over the last rounds of the fit; NaN where none was recorded."""
    firsts = [record.trajectory_loss[0] for record in inverter.history if record.trajectory_loss]
    known = [loss for loss in firsts if math.isfinite(loss) and loss > 0][-NUM_ROUNDS:]
    return sum(known) / len(known) if known else math.nan
