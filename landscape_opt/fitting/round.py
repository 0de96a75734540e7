"""One round of the method: collect with θ frozen, then update θ with the points frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..batches import Batch
from ..replay import Guide, Replay
from ..theta_objective import Judgement, ThetaObjective
from .ranks import Alone, Ranks
from .shared_update import judged, pulled

Backward: TypeAlias = Callable[[Tensor], object]

MAX_GRADIENT_NORM = 1.0
WARM_UP = 50


@dataclass
class Updater:
    """Moves θ's weights.

    Attributes:
        optimizer: of θ's parameters, ours or a user's.
        factor: of the learning rate in this round; None leaves the learning rate alone.
        num_updates: behind θ, for the warm-up.
        backward: ∂value/∂θ; a user's may scale, or talk to a trainer.
        ranks: that share each update.
        num_skipped: updates left out because their gradient was not finite.
    """

    optimizer: torch.optim.Optimizer
    factor: float | None
    num_updates: int
    backward: Backward = torch.Tensor.backward
    ranks: Ranks = field(default_factory=Alone)
    num_skipped: int = 0

    def update(self, judgement: Judgement, mapping: nn.Module) -> Tensor:
        """One step down the gradient of what was judged, clipped; returns its value."""
        self.optimizer.zero_grad()
        value = pulled(judgement, mapping.parameters(), self.ranks, self.backward)
        self._set_learning_rate()
        if _clipped(mapping):
            self.optimizer.step()
        else:
            self.num_skipped += 1
        return value

    @property
    def learning_rate(self) -> float:
        """Of the last update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _set_learning_rate(self) -> None:
        """Warm-up by the number of updates, then the factor of the round."""
        self.num_updates += 1
        if self.factor is None:
            return
        factor = self.factor * min(1.0, self.num_updates / WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]


@dataclass(frozen=True)
class Outcome:
    """What a round showed.

    Attributes:
        objective: mean of θ's objective over the updates.
        trajectory_loss: mean loss at the start and after 1, 2, … evaluations.
    """

    objective: float
    trajectory_loss: tuple[float, ...]


def play(targets: Batch, guide: Guide, replay: Replay, theta_objective: ThetaObjective, updater: Updater) -> Outcome:
    """Collect, then update θ ``replay.updates_per_round`` times; each update's evaluation is heard by the replay."""
    trajectory = replay.collect(targets, guide)  # θ frozen
    values = []
    for _ in range(replay.updates_per_round):
        points = replay.sample(guide)  # z frozen
        judgement = judged(points, guide.mapping, guide.objective, theta_objective, updater.ranks)
        values.append(updater.update(judgement, guide.mapping))
        replay.observe(points, judgement.evaluation, guide)
    return Outcome(float(torch.stack(values).mean()), trajectory)


def _clipped(mapping: nn.Module) -> bool:
    """Clip θ's gradient; False where it is not finite, so that an update is skipped rather than θ lost."""
    weights = [weight for weight in mapping.parameters() if weight.grad is not None]
    return bool(nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM).isfinite())
