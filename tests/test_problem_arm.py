"""The arm problem: is F what geometry says, and can its targets be reached without touching anything?"""

from __future__ import annotations

import cmath
import importlib
import math

import numpy as np
import problem_laws
import pytest
import torch

from landscape_opt import LandscapeInverter
from landscape_opt.fitting import Callback, Cosine
from landscape_opt.problems.arm import MOVED_OBSTACLES, OBSTACLES, Arm, arm, intrusion, keep_out_of

module = importlib.import_module("landscape_opt.problems.arm")  # the package has the function by this name


@pytest.fixture(scope="module")
def problem():
    return arm()


def random_x(number, dtype=torch.float32):
    return torch.randn(number, 10, generator=torch.Generator().manual_seed(1), dtype=dtype)


def points_by_hand(angles):
    """Link after link in the complex plane."""
    end, heading, points = 0j, 0.0, []
    for angle in angles:
        heading += angle
        points += [end + 0.1 * part / 4 * cmath.exp(1j * heading) for part in (1, 2, 3, 4)]
        end = points[-1]
    return np.array(points)


def by_hand(angles, obstacles):
    points = points_by_hand(angles)
    depths = []
    for x, y, r in obstacles:
        distance = np.abs(points - complex(x, y))
        depths.append(np.maximum(0.0, (r - distance) * (r + distance) / (2 * r)).sum())
    return np.array([points[-1].real, points[-1].imag, *depths])


# ------------------------------------------------------------------------------------------------------------- the arm


@pytest.mark.parametrize("obstacles", [OBSTACLES, MOVED_OBSTACLES])
def test_tip_and_intrusions_are_those_of_the_complex_plane(obstacles):
    forward_model = Arm(obstacles).double()
    x = random_x(40, torch.float64)
    angles = x.numpy() * np.array([1.5] + 9 * [0.5])
    expected = np.stack([by_hand(row, forward_model.obstacles.tolist()) for row in angles])
    assert (expected[:, 2:] > 0.0).any(0).all()
    np.testing.assert_allclose(forward_model(x).numpy(), expected, atol=1e-12)


def test_depth_is_the_distance_from_the_edge_near_the_edge():
    circle = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64)
    across = torch.tensor([-0.01, 0.0, 0.001, 0.01], dtype=torch.float64)  # inwards of the edge
    points = torch.stack([0.3 + 0.5 - across, torch.full_like(across, -0.2)], dim=1)
    depth = intrusion(points[:, None], circle)[:, 0]
    assert torch.allclose(depth, across.relu(), atol=0.02 * 0.01)
    assert depth[0] == 0.0


def test_derivatives_are_right_twice():
    forward_model = Arm().double()
    x = random_x(4, torch.float64).requires_grad_(True)
    assert (forward_model(x)[:, 2:] > 0.0).any()
    assert torch.autograd.gradcheck(forward_model, x)
    assert torch.autograd.gradgradcheck(forward_model, x)


def test_rows_do_not_meet(problem):
    problem_laws.rows_do_not_meet(problem.forward_model, random_x(9))


def test_the_constraint_is_that_of_an_arm_among_the_other_obstacles():
    x = random_x(20)
    among = Arm(MOVED_OBSTACLES)
    assert torch.allclose(keep_out_of(among)(x, None), 0.5 * among(x)[:, 2:].square().sum(1))


# --------------------------------------------------------------------------------------------------------- the problem


def test_targets_can_be_reached(monkeypatch):
    drawn, clear = [], module._clear

    def recorded(*arguments):
        drawn.append(clear(*arguments))
        return drawn[-1]

    monkeypatch.setattr(module, "_clear", recorded)
    problem = arm(3)
    assert problem.loss_fn(problem.forward_model(drawn[0][-512:]), problem.test).max() < 1e-12
    moved = problem.unfamiliar
    x, goal = drawn[1], moved.targets[:, :2]
    assert (problem.forward_model(x)[:, :2] - goal).norm(dim=1).max() < 1e-6
    assert (moved.extra_terms[0](x, None) == 0.0).all()
    known, others = Arm(), Arm(MOVED_OBSTACLES)
    assert (others(drawn[0])[:, 2:] > 0.0).any(1).float().mean() > 0.5  # the move makes a difference
    assert (known(x)[:, 2:] > 0.0).any(1).float().mean() > 0.5
    assert (drawn[0][:, 0].abs() <= 2.9 / 1.5 + 1e-6).all()


def test_splits_are_distinct_and_seeded(problem):
    problem_laws.a_seed_of_its_own(problem, arm)
    every = torch.cat([problem.train, problem.validation, problem.test])
    assert every.shape == (4096 + 2 * 512, 5)
    assert (every[:, 2:] == 0.0).all()
    assert every[:, :2].norm(dim=1).max() < 1.0 + 1e-6
    goals = torch.cat([every, problem.unfamiliar.targets])[:, :2]
    assert goals.unique(dim=0).shape[0] == len(goals)


def test_what_is_asked_for_is_what_is_not_nan(problem):
    for some in (problem.partly, problem.unfamiliar):
        assert some.observed.dtype == torch.bool
        assert torch.equal(some.observed, ~some.targets.isnan())
    partly = problem.partly
    assert (partly.observed[:, :2].sum(1) == 1).all()
    assert partly.observed[:, 2:].all()
    assert partly.observed[:, 0].sum() == 256
    assert torch.equal(partly.targets[partly.observed], problem.test[partly.observed])
    assert torch.equal(problem.unfamiliar.observed[0], torch.tensor([True, True, False, False, False]))


def test_starts_are_clear_with_a_finite_loss_and_a_slope(problem):
    assert (problem.forward_model(problem.x_init[None])[:, 2:] == 0.0).all()
    for some in problem.test_sets().values():
        x = problem.x_init.repeat(512, 1).requires_grad_(True)
        prediction = problem.forward_model(x)
        asked = ~some.targets.isnan()
        loss = problem.loss_fn(torch.where(asked, prediction, 0.0), torch.where(asked, some.targets, 0.0))
        loss = loss + sum(term(x, prediction) for term in some.extra_terms)
        (slope,) = torch.autograd.grad(loss.sum(), x)
        assert loss.isfinite().all()
        assert slope.isfinite().all()
        assert (slope.norm(dim=1) > 0.0).all()  # small where the start is near the line


def test_every_target_set_can_be_inverted_as_it_is(problem):
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)
    for some in problem.test_sets().values():
        result = inverter.invert(some.targets, 60, observed=some.observed, extra_terms=some.extra_terms, allow_unfitted=True)
        error = problem.metric.of(result.x, result.prediction, some.targets)
        assert error.median() < 0.1
        among = Arm(MOVED_OBSTACLES) if some.extra_terms else problem.forward_model
        solved = result.loss < 1e-10
        assert solved.float().mean() > 0.5
        assert among(result.x[solved])[:, 2:].max() < 2e-5


def test_tip_error_is_in_millimetres_of_what_is_asked_for(problem):
    target = torch.tensor([[0.3, 0.4, 0.0, 0.0, 0.0], [math.nan, 0.4, 0.0, 0.0, 0.0]])
    prediction = torch.tensor([[0.303, 0.404, 1.0, 1.0, 1.0]]).repeat(2, 1)
    assert torch.allclose(problem.metric.of(None, prediction, target), torch.tensor([5.0, 4.0]), atol=1e-3)


class After(Callback):
    """Ends a fit after so many rounds."""

    def __init__(self, num_rounds):
        self.num_rounds = num_rounds

    def on_round_end(self, *, record, **context):
        return record.round + 1 == self.num_rounds


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3, 12])
def test_no_step_of_a_fit_runs_away(problem, seed):
    """Walls make steps steep: without a bound on what rows far away say, each of these fits lost its steps for good."""
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, seed=seed)
    inverter.fit(problem.train, num_rounds=260, schedule=Cosine(), callbacks=[After(100)], progress=False)
    assert max(record.objective for record in inverter.history) < 5.0
    assert sum(record.skipped_updates for record in inverter.history) == 0
    found = inverter.invert(problem.validation[:256], 2)
    assert found.loss.median() < 0.1 * found.history.loss[0].median()
