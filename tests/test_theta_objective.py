"""The gradient that θ gets, against plain autograd through F and the whole objective."""

from __future__ import annotations

import pytest
import torch
from strategies import MAPPINGS, case, fitted

from landscape_opt.mappings.context import Context
from landscape_opt.objective import Objective
from landscape_opt.replay.points import Points
from landscape_opt.theta_objective import LossAtPoint, LossRatio


def points_and_parts(mapping, z):
    """Points before any evaluation at z, and what they are judged with."""
    problem = case("linear", torch.float64)
    landscape = fitted("linear", torch.float64, mapping, "default").landscape
    target = problem.targets(len(z), 3)
    points = Points(target, Context(landscape.features(target)), z, torch.full_like(z[:, 0], torch.nan))
    return problem, landscape.mapping, points, Objective(problem.forward_model, problem.loss_fn, landscape.layout)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("proximity", [0.0, 1.0, 3.0])
def test_the_gradient_is_that_of_the_whole_objective(mapping, proximity):
    dim_z = fitted("linear", torch.float64, mapping, "default").landscape.mapping.dim_z
    problem, theta, points, objective = points_and_parts(mapping, torch.zeros(16, dim_z, dtype=torch.float64))
    weights, target = list(theta.parameters()), points.target

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


def test_rows_that_have_run_away_do_not_make_the_gradient():
    z = torch.zeros(16, fitted("linear", torch.float64, "anchored", "default").landscape.mapping.dim_z, dtype=torch.float64)
    z[3], z[7] = 1e5, -1e7
    problem, theta, points, objective = points_and_parts("anchored", z)
    start = list(theta.start.parameters())
    ours = torch.autograd.grad(LossRatio().judge(points, theta, objective).value, start)

    at_home = [row for row in range(16) if row not in (3, 7)]
    x = points.reach(theta)
    level = (problem.loss_fn(problem.forward_model(x), points.target) / theta.loss).sqrt()
    weight = 1.0 + (x - problem.x_init).square().sum(1) / theta.distance.square()
    plain = torch.autograd.grad((level * weight)[at_home].sum() / 16, start)
    for mine, theirs in zip(ours, plain, strict=True):
        assert (mine - theirs).norm() < 1e-2 * theirs.norm()


def test_a_pull_is_shortened_where_it_would_change_too_much():
    pull = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [1e30, 0.0]])
    moved = torch.tensor([[0.0, 6.0], [24.0, 7.0], [1e9, 0.0], [0.0, 1e30]])
    limited = LossRatio().limited(pull, moved)
    assert torch.equal(limited[0], pull[0])  # 30, to the last bit
    torch.testing.assert_close(limited[1], pull[1] * 30.0 / 125.0)
    assert torch.equal(limited[2:], torch.zeros(2, 2))
    assert torch.equal(LossAtPoint().limited(pull, moved), pull)


def test_the_factor_grows_slower_far_away_and_still_draws_back():
    theta = fitted("linear", torch.float64, "anchored", "default").landscape.mapping
    away = torch.tensor([0.0, 1.0, 2.9, 3.1, 1e5, 1e8], dtype=torch.float64)
    direction = torch.ones_like(theta.x_init) / theta.x_init.numel() ** 0.5
    x = (theta.x_init + (away * theta.distance)[:, None] * direction).requires_grad_(True)
    weight = LossRatio().weight(x, theta)
    (back,) = torch.autograd.grad(weight.sum(), x)
    torch.testing.assert_close(weight[:3], 1.0 + away[:3].square())
    assert bool((weight.diff() > 0).all())
    assert weight[-1] < 400.0
    assert bool(((back * direction).sum(1)[1:] > 0).all())
    torch.testing.assert_close((back * (x - theta.x_init)).sum(1)[-2:], torch.full((2,), 20.0, dtype=torch.float64))


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
