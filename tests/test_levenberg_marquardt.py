"""Levenberg–Marquardt: against closed forms, SciPy and the count of products with vectors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import strategies as given_by
import torch
from strategies import squares

from landscape_opt import LandscapeInverter, LearnedLandscape, LeastSquares, Status
from landscape_opt.layout import Layout
from landscape_opt.objective import Objective
from landscape_opt.problems.zoo import zoo
from landscape_opt.solvers import LevenbergMarquardt

F64 = torch.float64
difference = LeastSquares(lambda prediction, target: prediction - target)
RESIDUAL_PROBLEMS = zoo(num_starts=8)


def solve(forward_model, x, target, budget, **options):
    plain = LandscapeInverter(LearnedLandscape(forward_model, torch.zeros_like(x[0])), difference)
    settings = {"solver": LevenbergMarquardt(), "warm_start": x, "allow_unfitted": True} | options
    return plain.invert(target, budget, **settings)


def test_a_linear_problem_takes_one_iteration():
    matrix = torch.randn(7, 4, generator=given_by.seeded(1), dtype=F64)
    y = torch.randn(5, 7, generator=given_by.seeded(2), dtype=F64)
    result = solve(lambda x: x @ matrix.T, torch.zeros(5, 4, dtype=F64), y, 6, solver=LevenbergMarquardt(1e-12))
    assert torch.allclose(result.x, torch.linalg.lstsq(matrix, y.T).solution.T, atol=1e-8)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_the_jacobian_is_that_of_autograd(shape):
    num_residuals, dim = shape
    matrix = torch.randn(num_residuals, dim, generator=given_by.seeded(3), dtype=F64)
    x = torch.randn(4, dim, generator=given_by.seeded(4), dtype=F64)
    objective = Objective(lambda x: torch.sin(x @ matrix.T), difference, Layout(x[0]))
    y = torch.zeros(4, num_residuals, dtype=F64)
    objective.evaluate(x, y)
    found = objective.jacobian(x, y)
    expected = torch.stack([torch.autograd.functional.jacobian(lambda row: torch.sin(matrix @ row), row) for row in x])
    assert torch.allclose(found.matrix, expected)
    assert objective.num_evaluations == 4 * (1 + min(shape))


@pytest.mark.parametrize("problem", RESIDUAL_PROBLEMS, ids=lambda problem: problem.name)
def test_as_many_starts_converge_as_with_scipy(problem):
    result = solve(problem.residuals, problem.starts, problem.targets, 4000)  # twice what SciPy gets: large residuals

    def residuals(point):
        return problem.residuals(torch.as_tensor(point, dtype=F64)[None])[0].numpy()

    costs = [
        scipy.optimize.least_squares(residuals, start.numpy(), method="lm", max_nfev=2000).cost for start in problem.starts
    ]
    ours, theirs = problem.solved(result.loss), problem.solved(torch.tensor(costs, dtype=F64))
    if problem.name == "beale":  # many starts run off to infinity, with either; which of them, rounding decides
        assert float(ours.double().mean()) >= 0.4
    else:
        assert (ours | ~theirs).all()


def test_bounds_and_bad_points():
    y = torch.tensor([[3.0, 0.5], [-3.0, 0.2]], dtype=F64)
    result = solve(lambda x: x, torch.zeros(2, 2, dtype=F64), y, 40, bounds=(-1.0, 1.0))
    assert torch.allclose(result.x, y.clamp(-1.0, 1.0), atol=1e-8)
    walled = solve(lambda x: torch.where(x > 2.0, torch.nan, x.square()), torch.ones(1, 1, dtype=F64),
                   torch.full((1, 1), 3.9, dtype=F64), 60)  # fmt: skip
    assert float(walled.loss[0]) < 1e-8
    stuck = solve(lambda x: x.abs() + 1.0, torch.full((1, 1), 1e-9, dtype=F64), torch.zeros(1, 1, dtype=F64), 400)
    assert stuck.statuses()[0] in (Status.STALLED, Status.NO_GRADIENT)


def test_errors():
    plain = LandscapeInverter(LearnedLandscape(lambda x: x, torch.zeros(2)), squares)
    with pytest.raises(TypeError, match="LeastSquares"):
        plain.invert(torch.ones(2, 2), 9, solver=LevenbergMarquardt(), allow_unfitted=True)
    with pytest.raises(TypeError, match="Solver, got str"):
        plain.invert(torch.ones(2, 2), 9, solver="lm", allow_unfitted=True)
    with pytest.raises(ValueError, match="refine=False"):
        plain.invert(torch.ones(2, 2), 9, solver=LevenbergMarquardt(), refine=False, allow_unfitted=True)
    with pytest.raises(ValueError, match="damping must be positive, got 0"):
        LevenbergMarquardt(0.0)
    with pytest.raises(TypeError, match="residual_fn must be a function"):
        LeastSquares("mse")
    with pytest.raises(TypeError, match="must return a Tensor of shape"):
        LeastSquares(lambda p, t: (p - t).sum())(torch.ones(2), torch.ones(2))
    assert np.isfinite(float(difference(torch.ones(1, 2), torch.zeros(1, 2))))
