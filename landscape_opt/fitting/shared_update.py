"""An update of θ of which every rank judges its own points, and all take the same step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from ..mappings.mapping import Mapping
from ..objective import Objective
from ..replay.points import Points
from ..theta_objective import Judgement, ThetaObjective
from .ranks import Alone, Ranks
from .shared_objective import SharedObjective, gathered


def judged(
    points: Points, mapping: Mapping, objective: Objective, theta_objective: ThetaObjective, ranks: Ranks
) -> Judgement:
    """θ's objective at this rank's points, and the evaluation of all.

    Args:
        points: of all ranks.
        mapping: θ.
        objective: as :func:`~landscape_opt.fitting.shared_objective.shared` made it.
        theta_objective: judges.
        ranks: that share the points.

    Returns:
        With one rank what ``theta_objective`` said. With more, ``value`` is the *sum* over this rank's usable rows and
        ``count`` their number, both zero where its row is another rank's; :func:`pulled` makes the mean of it.
    """
    if isinstance(ranks, Alone):
        return theta_objective.judge(points, mapping, objective)
    assert isinstance(objective, SharedObjective)
    size = len(points.loss_before)
    mine = points.rows(ranks.rows(size).to(points.loss_before.device))
    found = theta_objective.judge(mine, mapping, objective.local)
    evaluation = found.evaluation
    if evaluation is not None:
        objective.num_evaluations += size
        evaluation = gathered(evaluation, size, ranks)
    count = found.value.new_tensor(len(mine.loss_before)) if found.count is None else found.count
    if ranks.is_spare(size):
        return Judgement(torch.zeros_like(found.value), evaluation, torch.zeros_like(count))
    return replace(found, value=found.value * count.clamp_min(1), evaluation=evaluation, count=count)


def pulled(
    judgement: Judgement, weights: Iterable[Tensor], ranks: Ranks, backward: Callable[[Tensor], object] = Tensor.backward
) -> Tensor:
    """∂value/∂θ into ``.grad``, of the mean over all ranks' rows; returns that mean, without its graph.

    A weight that no rank's points depend on keeps its None, as with one process: an optimizer lets such a weight alone. One
    row that is not finite makes the gradient so on all ranks, and all leave the update out.

    Args:
        judgement: as :func:`judged` gave it.
        weights: θ's, without gradients.
        ranks: that share the points.
        backward: fills ``.grad``.
    """
    if isinstance(ranks, Alone):
        backward(judgement.value)
        return judgement.value.detach()
    held = list(weights)
    if judgement.value.requires_grad:
        backward(judgement.value)
    value = judgement.value.detach()
    assert judgement.count is not None
    total = torch.stack([value, judgement.count.to(value), *(value.new_tensor(weight.grad is not None) for weight in held)])
    mine = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in held]
    total, *sums = ranks.summed([total, *mine])
    count = total[1].clamp_min(1)
    for weight, gradient, has_one in zip(held, sums, (total[2:] > 0).tolist(), strict=True):
        weight.grad = gradient / count.to(gradient) if has_one else None
    return total[0] / count
