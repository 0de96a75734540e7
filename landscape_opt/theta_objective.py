"""What θ is fitted to: one interface, three objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .mappings.mapping import Mapping
from .objective import Evaluation, Objective
from .replay.points import Points

MAX_RATIO = 10.0
MAX_CHANGE = 30.0
PROXIMITY = 1.0


@dataclass(frozen=True)
class Judgement:
    """What an update saw.

    Attributes:
        value: θ's objective, a scalar with the graph of θ.
        evaluation: of F at the points; None for an objective that spends none.
        count: rows that the mean in ``value`` is over, (); None is all.
    """

    value: Tensor
    evaluation: Evaluation | None
    count: Tensor | None = None


class ThetaObjective(ABC):
    """Judges points under θ as it is now."""

    @abstractmethod
    def judge(self, points: Points, mapping: Mapping, objective: Objective) -> Judgement:
        """The objective at the points, differentiable in θ."""


class _FromLoss(ThetaObjective):
    """An objective that is a function of L at the point: needs one evaluation of F, and no second derivative of it."""

    def judge(self, points: Points, mapping: Mapping, objective: Objective) -> Judgement:
        """Evaluate F at x = θ(·) and pull ∂value/∂L · ∂L/∂x back through θ alone."""
        x = points.reach(mapping)
        evaluation = objective.evaluate(x, points.target)
        loss = evaluation.loss.clone().requires_grad_(True)
        values = self.values(loss, points, mapping)
        usable = evaluation.finite & values.isfinite()
        slope = torch.autograd.grad(values[usable].sum(), loss)[0] if bool(usable.any()) else torch.zeros_like(loss)
        usable &= slope.isfinite()
        if points.is_fixed is not None:
            usable &= ~points.is_fixed
        # value + Σ pull·(x − x): equal in value, and its gradient is that of the objective through θ.
        weight = self.weight(x, mapping)
        pull = self.limited((weight.detach() * slope)[:, None] * evaluation.grad_x, x.detach() - points.origin(mapping))
        usable &= pull.isfinite().all(1)
        pulled = torch.where(usable[:, None], pull, 0.0)
        num_usable = usable.sum()
        count = num_usable.clamp_min(1)
        value = torch.where(usable, weight * values.detach(), 0.0).sum() / count
        through_theta = (pulled * torch.where(usable[:, None], x - x.detach(), 0.0)).sum() / count
        return Judgement(value + through_theta, evaluation, num_usable)

    def limited(self, pull: Tensor, moved: Tensor) -> Tensor:  # a subclass looks at how far rows went
        """What rows pull at their x with, (B, d), after they have moved by ``moved``."""
        return pull

    def weight(self, x: Tensor, mapping: Mapping) -> Tensor:
        """What the value of a row is multiplied by, (B,), a function of where it is."""
        return torch.ones_like(x[:, 0])

    @abstractmethod
    def values(self, loss: Tensor, points: Points, mapping: Mapping) -> Tensor:
        """The objective of every row, (B,), as a function of its loss."""


class LossAtPoint(_FromLoss):
    """mean L(F(θ(z)), y) / L₀: the published update. The constant L₀, once known, only sets the unit.

    Example:
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> settings = {"theta_objective": LossAtPoint(), "batch_size": 16}
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, **settings)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter.fit(y, num_rounds=2, progress=False).history[-1].objective > 0
        True
    """

    def values(self, loss: Tensor, points: Points, mapping: Mapping) -> Tensor:
        """L / L₀."""
        return loss / mapping.loss


class LossRatio(_FromLoss):
    """mean (0.7 √(L_{k+1}/L_k) + 0.3 √(L_{k+1}/L₀)) · (1 + ‖x − x_init‖²/D²): every evaluation shall lower the loss.

    A row far from its solution and one close to it weigh alike, which is what contraction to machine precision needs;
    the second term keeps the absolute level in view. Before the first evaluation the objective is √(L/L₀).

    The factor prefers, among points of about the same loss, those near the plain start, D being how far plain descent
    goes for nine in ten targets. Without it a start learned from losses alone contorts x where several answers look
    alike, and descent from there is caught where descent from the plain start is not. A product and not a sum: where
    the loss is zero so is the objective, wherever that is.

    No row makes the whole gradient. θ moves the rows that go far by most, so a few that have run away would, and a θ that
    has made some goes on to make more. So factor and start are v up to 10, and 10 (1 + log(v/10)) above; the ratio is 10
    at most; and where ‖∂/∂x‖ times the length of the step is above 30, the gradient is shortened to that.

    Args:
        share: of the ratio to the last evaluation's loss.
        proximity: the weight of the squared distance, 1 as above; 0 for the losses alone.

    Raises:
        ValueError: if ``share`` is not in [0, 1], or ``proximity`` negative or not finite.

    Example:
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> settings = {"theta_objective": LossRatio(proximity=0.0), "batch_size": 16}
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, **settings)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter.fit(y, num_rounds=2, progress=False).history[-1].objective > 0
        True
    """

    def __init__(self, share: float = 0.7, proximity: float = PROXIMITY) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie in [0, 1], got {share}")
        if not 0 <= proximity < float("inf"):
            raise ValueError(f"proximity must not be negative, got {proximity}")
        self.share, self.proximity = share, proximity

    def weight(self, x: Tensor, mapping: Mapping) -> Tensor:
        """1 + proximity · ‖x − x_init‖²/D², slowed."""
        return _slowed(1.0 + self.proximity * (x - mapping.x_init).square().sum(1) / mapping.distance.square())

    def limited(self, pull: Tensor, moved: Tensor) -> Tensor:
        """No row's step changes its objective by more than 30 for each time its length."""
        change = pull.norm(dim=1) * moved.norm(dim=1)
        shortened: Tensor = (MAX_CHANGE / change.clamp_min(MAX_CHANGE))[:, None] * pull
        return shortened

    def values(self, loss: Tensor, points: Points, mapping: Mapping) -> Tensor:
        """One value per row."""
        smallest = 1e-14 * mapping.loss
        level = (loss.clamp_min(smallest) / mapping.loss).sqrt()
        before = points.loss_before
        first = before.isnan()
        ratio = (loss.clamp_min(smallest) / torch.where(first, mapping.loss, before).clamp_min(smallest)).sqrt()
        blend = self.share * ratio.clamp_max(MAX_RATIO) + (1.0 - self.share) * level.clamp_max(MAX_RATIO)
        return torch.where(first, _slowed(level), blend)


def _slowed(value: Tensor) -> Tensor:
    """The value up to 10, and then its logarithm: what grows without bound still pulls back, and no harder than others."""
    over = value.clamp_min(MAX_RATIO) / MAX_RATIO
    return torch.where(value <= MAX_RATIO, value, MAX_RATIO * (1.0 + over.log()))


class DistanceToEnd(ThetaObjective):
    """mean ‖θ(z; c_k) − x_end‖ / ‖x_k − x_end‖: the distance from each point to where its trajectory converged.

    The published words taken literally; spends no evaluation of F. Needs points whose end is known, so a replay that
    collects whole trajectories first (:class:`~landscape_opt.replay.Alternating`). Before the first evaluation, and for
    mappings that keep one chart, the distance is taken in units of the move r instead.

    Example:
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> from landscape_opt.replay import Alternating
        >>> settings = {"theta_objective": DistanceToEnd(), "replay": Alternating(num_steps=5), "batch_size": 16}
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, **settings)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter.fit(y, num_rounds=2, progress=False).history[-1].objective > 0
        True
    """

    def judge(self, points: Points, mapping: Mapping, objective: Objective) -> Judgement:
        """The relative distance left."""
        if points.end is None:
            raise ValueError(
                "DistanceToEnd needs points whose trajectory has ended; use it with replay=Alternating(...), which "
                "collects trajectories before it updates"
            )
        x = points.reach(mapping)
        unit = mapping.move * x.shape[1] ** 0.5
        before = points.context.evaluation
        scale = unit.expand(x.shape[0]) if before is None else (before.x - points.end).norm(dim=1)
        near = scale < 1e-6 * unit  # already there: a ratio would be rounding
        distance = (x - points.end).norm(dim=1) / torch.where(near, unit, scale)
        usable = distance.detach().isfinite() & ~near
        num_usable = usable.sum()
        value = torch.where(usable, distance.clamp_max(MAX_RATIO), 0.0).sum() / num_usable.clamp_min(1)
        return Judgement(value, None, num_usable)
