"""The scales of a problem, measured on a few targets, so that there is no learning rate to choose."""

from __future__ import annotations

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .descent import Limits, descend
from .layout import Layout
from .mappings.mapping import Calibration
from .objective import Objective
from .solvers.lbfgs import LBFGS
from .solvers.solver import Start

NUM_TARGETS = 64
POWERS = range(-8, 5)
NUM_EVALUATIONS = 100
"""Of L-BFGS, to see how far plain descent goes: after thirty, slow problems are not half-way there."""


def calibrate(objective: Objective, layout: Layout, target: Batch, features: Tensor | None) -> Calibration:
    r"""Try gradient steps e₀·2ᵏ, k = −8 … 4, with e₀ = mean L / mean ‖∂L/∂x‖², from the plain start.

    The step with the lowest mean loss is η. Multiplying the loss by c divides η by c, so that steps in x stay the
    same; measuring x in other units carries through η and r likewise (law 2). L-BFGS with first step η then shows how far
    descent goes. Costs 101 evaluations and 14 forwards of at most 64 targets.

    Raises:
        ValueError: where the start is not finite, F ignores x there, or a loss is negative.
    """
    few = torch.arange(min(NUM_TARGETS, batches.size(target)))
    sample = batches.rows(target, few)
    start = objective.evaluate(layout.start(len(few)), sample)
    usable = start.finite
    if not bool(usable.any()):
        raise ValueError("the loss or its gradient at x_init is not finite for any target; choose another x_init")
    if bool((start.loss[usable] < 0).any()):
        raise ValueError(
            f"loss_fn returned {start.loss[usable].min():.3g}: fitting compares losses by their ratio, so they must "
            "not be negative; add a constant that makes the lowest loss zero"
        )
    gradient = start.grad_x[usable]
    steepness = gradient.square().sum(1).mean()
    if not bool(steepness > 0):
        raise ValueError(
            "∂loss/∂x is zero at x_init for every target: either forward_model ignores x, or x_init is a stationary "
            "point (a symmetric one, often zeros); choose another x_init"
        )
    level = start.loss[usable].mean()
    if not bool(level > 0):
        raise ValueError("the loss at x_init is zero for every target; there is nothing to learn")
    scale = level / steepness
    steps = [float(scale) * 2.0**power for power in POWERS]
    means = [_mean_loss(objective, start.x - step * start.grad_x, sample, usable) for step in steps]
    step = steps[int(torch.tensor(means).argmin())]
    move = float(step * gradient.square().mean().sqrt())
    mean, std = _feature_scales(features)
    return Calibration(
        step=step,
        move=move,
        loss=float(level),
        distance=max(_distance(objective, start.x, step, sample), move),  # x_init may solve half of the targets
        target_mean=mean,
        target_std=std,
    )


def _distance(objective: Objective, x_init: Tensor, step: float, target: Batch) -> float:
    """‖x − x_init‖ after plain descent, which nine in ten rows do not exceed: the others may have run away."""
    found = descend(objective, LBFGS(first_step=step), Start(x_init), target, Limits(NUM_EVALUATIONS))
    return float((found.x - x_init).norm(dim=1).quantile(0.9))


def _mean_loss(objective: Objective, x: Tensor, target: Batch, usable: Tensor) -> float:
    mean = float(objective.read(x, target).loss[usable].mean())
    return mean if mean == mean else torch.inf  # NaN is no step to take


def _feature_scales(features: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if features is None:
        return None, None
    std = features.std(0, correction=0)
    return features.mean(0), torch.where(std > 1e-6 * features.abs().amax(0).clamp_min(1e-30), std, torch.ones_like(std))
