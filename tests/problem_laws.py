"""What every benchmark problem has to keep, as assertions that take the problem."""

from __future__ import annotations

import torch

SPLITS = ("train", "validation", "test")


def rows_do_not_meet(forward_model, x, atol=1e-6):
    alone = torch.cat([forward_model(row[None]) for row in x])
    assert torch.allclose(forward_model(x), alone, atol=atol)


def a_seed_of_its_own(problem, make):
    """Same seed, same problem; another seed, other targets; and the global random state is left alone."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    again, other = make(seed=0), make(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(getattr(problem, split), getattr(again, split)) for split in SPLITS)
    for mine, theirs in ((problem.partly, again.partly), (problem.unfamiliar, again.unfamiliar)):
        torch.testing.assert_close(mine.targets, theirs.targets, rtol=0.0, atol=0.0, equal_nan=True)
        assert (mine.observed is None) == (theirs.observed is None)
        assert mine.observed is None or torch.equal(mine.observed, theirs.observed)
    assert not torch.equal(problem.test, other.test)
    return other


def finite_with_a_slope(problem, targets, least, weight=1.0):
    """The loss at the plain start, where what has no weight is left out on both sides."""
    x = problem.x_init.expand(len(targets), *problem.x_init.shape).clone().requires_grad_(True)
    loss = problem.loss_fn(weight * problem.forward_model(x), weight * targets)
    (slope,) = torch.autograd.grad(loss.sum(), x)
    assert loss.isfinite().all()
    assert slope.isfinite().all()
    assert (slope.flatten(1).norm(dim=1) > least).all()
