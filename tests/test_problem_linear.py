"""The linear oracle: are its three sets what they are said to be, and does the closed form solve them all?"""

from __future__ import annotations

import problem_laws
import pytest
import torch

from landscape_opt.problems import linear
from landscape_opt.problems.metrics import relative_error


@pytest.fixture(scope="module")
def problem():
    return linear(dtype=torch.float64)


def solutions(problem, targets):
    return torch.linalg.solve(problem.forward_model.matrix, targets.T).T


def test_splits_are_of_different_targets_from_a_seed_of_their_own(problem):
    problem_laws.a_seed_of_its_own(problem, lambda seed: linear(seed=seed, dtype=torch.float64))
    rows = torch.cat([*(getattr(problem, split) for split in problem_laws.SPLITS), problem.unfamiliar.targets])
    assert len(rows) == len({row.numpy().tobytes() for row in rows}) == 2048 + 3 * 512


def test_half_of_the_numbers_are_lost(problem):
    observed = problem.partly.observed
    assert torch.equal(problem.partly.targets, problem.test)
    assert (observed.sum(1) == 16).all()
    assert (observed.double().mean(0) - 0.5).abs().max() < 0.1


def test_unfamiliar_solutions_lie_along_the_flattest_directions(problem):
    x = solutions(problem, problem.unfamiliar.targets)
    curvatures, directions = torch.linalg.eigh(problem.hessian)
    share = (x @ directions).square().sum(0)
    assert curvatures[0] < curvatures[-1]
    assert share[:8].sum() > (1.0 - 1e-9) * share.sum()
    lengths = problem.unfamiliar.targets.square().sum(1).mean() / problem.test.square().sum(1).mean()
    assert 0.95 < float(lengths) < 1.05


def test_one_step_of_the_best_mapping_solves_familiar_and_unfamiliar_targets(problem):
    root = problem.one_step_mapping()
    for some in (problem.test, problem.unfamiliar.targets):
        z = torch.zeros_like(some, requires_grad=True)
        loss = problem.loss_fn(problem.forward_model(z @ root.T), some)
        (gradient,) = torch.autograd.grad(loss.sum(), z)
        assert float(problem.loss_fn(problem.forward_model(-gradient @ root.T), some).max()) < 1e-18


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_smallest_have_all_sets(dim):
    problem = linear(dim=dim, condition=2.0)
    assert problem.partly.observed.any(1).all()
    assert problem.unfamiliar.targets.shape == problem.test.shape


def test_the_metric_is_of_any_rows(problem):
    some = problem.test[:4]
    assert problem.metric.of is relative_error
    assert torch.allclose(problem.metric.of(some, 1.1 * some, some), torch.full((4,), 10.0, dtype=torch.float64))
