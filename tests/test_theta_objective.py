"""The gradient that θ gets, against plain autograd through F and the whole objective."""

from __future__ import annotations

import pytest
import torch
from strategies import MAPPINGS, case, fitted

from landscape_opt.mappings.context import Context
from landscape_opt.objective import Objective
from landscape_opt.replay.points import Points
from landscape_opt.theta_objective import LossAtPoint, LossRatio


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("proximity", [0.0, 1.0, 20.0])
def test_the_gradient_is_that_of_the_whole_objective(mapping, proximity):
    problem = case("linear", torch.float64)
    inverter = fitted("linear", torch.float64, mapping, "default")
    theta, landscape = inverter.landscape.mapping, inverter.landscape
    target = problem.targets(16, 3)
    z = torch.zeros(16, theta.dim_z, dtype=torch.float64)
    points = Points(target, Context(landscape.features(target)), z, torch.full_like(z[:, 0], torch.nan))
    objective = Objective(problem.forward_model, problem.loss_fn, landscape.layout)
    weights = list(theta.parameters())

    judgement = LossRatio(proximity=proximity).judge(points, theta, objective)
    ours = torch.autograd.grad(judgement.value, weights, allow_unused=True)

    x = points.reach(theta)
    level = (problem.loss_fn(problem.forward_model(x), target) / theta.loss).sqrt()
    factor = 1.0 + proximity * (x - problem.x_init).square().sum(1) / theta.distance.square()
    whole = (level * factor).mean()
    plain = torch.autograd.grad(whole, weights, allow_unused=True)
    torch.testing.assert_close(judgement.value.detach(), whole.detach())
    for mine, theirs in zip(ours, plain, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs)


def test_the_distance_is_how_far_plain_descent_goes():
    """On the linear problem descent ends at the least-squares solution, which is known."""
    problem = case("linear", torch.float64)
    theta = fitted("linear", torch.float64, "anchored", "default").landscape.mapping
    target = problem.targets(128, 11)[torch.randperm(128, generator=torch.Generator().manual_seed(0))]
    model = problem.forward_model
    solution = torch.linalg.lstsq(model.weight, (target - model.bias).T).solution.T
    distances = (solution - problem.x_init).norm(dim=1)
    assert distances.quantile(0.8) < theta.distance <= distances.max()


def test_far_points_weigh_more_and_solutions_nothing():
    theta = fitted("linear", torch.float64, "anchored", "default").landscape.mapping
    at, far = theta.x_init[None], theta.x_init[None] + theta.distance / theta.x_init.numel() ** 0.5
    assert LossRatio().weight(at, theta) == 1.0
    torch.testing.assert_close(LossRatio().weight(far, theta), torch.tensor([2.0], dtype=torch.float64))
    assert LossAtPoint().weight(far, theta) == 1.0
    for bad in (-1.0, float("inf")):
        with pytest.raises(ValueError, match="proximity must not be negative"):
            LossRatio(proximity=bad)
