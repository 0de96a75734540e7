"""Per-row L-BFGS on problems with known answers, through `descend`."""

from __future__ import annotations

import pytest
import torch

from landscape_opt.descent import Limits, descend
from landscape_opt.layout import Layout
from landscape_opt.objective import Objective
from landscape_opt.solvers import LBFGS
from landscape_opt.solvers.solver import Start


def run(forward, loss_fn, x, target, budget, **settings):
    objective = Objective(forward, loss_fn, Layout(x[0]))
    return descend(objective, LBFGS(**settings), Start(x), target, Limits(budget))


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_quadratics_are_solved(condition):
    scale = torch.logspace(0, 1, 8, base=condition, dtype=torch.float64)
    solution = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss_fn = lambda x, y: 0.5 * (scale * (x - y).square()).sum(1)  # noqa: E731
    descent = run(lambda x: x, loss_fn, torch.zeros_like(solution), solution, 150)
    assert float((descent.x - solution).abs().max()) < 1e-6
    assert (descent.history.best.diff(dim=0) <= 0).all()


def test_with_the_exact_inverse_hessian_one_step_solves_a_quadratic():
    scale = torch.tensor([1.0, 10.0, 1000.0], dtype=torch.float64)
    solution = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -7.0]], dtype=torch.float64)
    loss_fn = lambda x, y: 0.5 * (scale * (x - y).square()).sum(1)  # noqa: E731
    descent = run(lambda x: x, loss_fn, torch.zeros_like(solution), solution, 1, metric=lambda v: v / scale)
    assert torch.allclose(descent.x, solution, atol=1e-12)


def test_rosenbrock_converges_from_several_starts():
    def residuals(x):
        return torch.stack([10.0 * (x[:, 1] - x[:, 0].square()), 1.0 - x[:, 0]], dim=1)

    starts = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, -1.0]], dtype=torch.float64)
    loss_fn = lambda prediction, y: (prediction - y).square().sum(1)  # noqa: E731
    descent = run(residuals, loss_fn, starts, torch.zeros(3, 2, dtype=torch.float64), 200)
    assert float((descent.x - 1.0).abs().max()) < 1e-4
    assert float(descent.loss.max()) < 1e-8
