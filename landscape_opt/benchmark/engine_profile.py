"""Where the time of a fit goes: F, θ, and the share of all that stands around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..guest import private_randomness
from ..inverter import LandscapeInverter
from ..landscape import LearnedLandscape
from ..mappings import AnchoredMapping, ResidualMapping
from ..replay import Alternating
from ..theta_objective import LossAtPoint, LossRatio, ThetaObjective
from .engine_clock import LOSS, THETA, Clock, F, TimedObjective, time_mapping, timed_loss, timed_model, timed_optimizer
from .turns import processor_seconds

DIM_X, DIM_Y = 32, 256
WIDTHS = (0, 256, 1024)
"""Of the hidden layers of F: a product with a matrix, then networks."""
CHEAP = "cheap"


@dataclass(frozen=True)
class Split:
    """Processor seconds of one update of θ and of the evaluation that it takes, by whose they are.

    Attributes:
        replay: where the points came from.
        width: of F's hidden layers; 0 is a product with a matrix.
        batch_size: rows of an update.
        evaluation: of F: forward and backward on the batch.
        loss: of the user's loss function, forward.
        theta: of θ: read, differentiated, updated.
        total: of everything.
    """

    replay: str
    width: int
    batch_size: int
    evaluation: float
    loss: float
    theta: float
    total: float

    @property
    def outside(self) -> float:
        """The share of the time that is neither F's, nor the loss's, nor θ's."""
        return 1.0 - (self.evaluation + self.loss + self.theta) / self.total


def network(width: int, seed: int = 0) -> nn.Module:
    """F: x (B, 32) → (B, 256), a product with a matrix or four layers of a width, with random weights.

    Args:
        width: of the hidden layers; 0 for none.
        seed: of the weights.
    """
    with private_randomness(seed, torch.device("cpu")):
        if width == 0:
            return nn.Linear(DIM_X, DIM_Y)
        hidden = [part for _ in range(3) for part in (nn.Linear(width, width), nn.Tanh())]
        return nn.Sequential(nn.Linear(DIM_X, width), nn.Tanh(), *hidden, nn.Linear(width, DIM_Y))


def squares(prediction: Tensor, target: Tensor) -> Tensor:
    """One loss per sample."""
    return (prediction - target).square().sum(1)


def targets_of(forward_model: nn.Module, count: int) -> Tensor:
    """Targets that F can reach, (count, 256)."""
    x = torch.randn(count, DIM_X, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.cat([forward_model(rows) for rows in x.split(256)])


def _inverter(width: int, batch_size: int, published: bool, clock: Clock) -> LandscapeInverter:
    forward_model = network(width)
    mapping = ResidualMapping(widths=(1024, 1024), scale=1.0, linear=False) if published else AnchoredMapping()
    objective: ThetaObjective = LossAtPoint() if published else LossRatio()
    landscape = LearnedLandscape(timed_model(forward_model, clock), torch.zeros(DIM_X), mapping)
    return LandscapeInverter(
        landscape,
        timed_loss(squares, clock),
        theta_optimizer=timed_optimizer(lambda weights: torch.optim.AdamW(weights, lr=2e-3), clock),
        replay=Alternating(batch_size=batch_size) if published else None,
        theta_objective=TimedObjective(objective, clock),
        batch_size=batch_size,
    )


def split_of(width: int, batch_size: int = 256, num_rounds: int = 4, published: bool = False) -> Split:
    """The time of some rounds after the first two, by whose it is.

    Args:
        width: of F, see :func:`network`.
        batch_size: targets of a round, and rows of an update.
        num_rounds: that are timed; an even number, since every other one trains the start alone.
        published: whether trajectories are collected first, θ(z) being the mapping of the paper; else the default.
    """
    clock = Clock()
    inverter = _inverter(width, batch_size, published, clock)
    targets = targets_of(network(width), 4 * batch_size)
    inverter.fit(targets, num_rounds=2, progress=False)
    time_mapping(inverter.landscape.mapping, clock)
    clock.seconds.update(dict.fromkeys(clock.seconds, 0.0))
    evaluated, began = inverter.num_evaluations, processor_seconds()
    inverter.fit(targets, num_rounds=num_rounds, progress=False)
    total = processor_seconds() - began
    num_batches = (inverter.num_evaluations - evaluated) / batch_size
    by = {name: seconds / num_batches for name, seconds in clock.seconds.items()}
    name = "Alternating" if published else "Streaming"
    return Split(name, width, batch_size, by[F], by[LOSS], by[THETA], total / num_batches)


def splits(widths: Sequence[int] = WIDTHS, batch_size: int = 256, num_rounds: int = 4) -> tuple[Split, ...]:
    """Every F under both replays."""
    return tuple(split_of(width, batch_size, num_rounds, published) for width in widths for published in (False, True))


def text(rows: Sequence[Split]) -> str:
    """The table."""
    lines = [
        "Processor milliseconds for one evaluation of F on a batch, and what a fit does beside it",
        "",
        f"{'replay':<12} {'F':<12} {'rows':>5} {'F':>8} {'loss':>8} {'θ':>8} {'rest':>8} {'outside F and θ':>16}",
    ]
    for row in rows:
        kind = "one matrix" if row.width == 0 else f"4 × {row.width}"
        parts = [row.evaluation, row.loss, row.theta, row.outside * row.total]
        figures = " ".join(f"{1e3 * seconds:8.2f}" for seconds in parts)
        lines.append(f"{row.replay:<12} {kind:<12} {row.batch_size:>5} {figures} {row.outside:>16.1%}")
    return "\n".join(lines) + "\n"


def run_profile(quick: bool = False) -> str:
    """What ``landscape-opt engine profile`` prints.

    Args:
        quick: small batches, to see that all runs.
    """
    return text(splits((0, 64), 32, 2) if quick else splits())
