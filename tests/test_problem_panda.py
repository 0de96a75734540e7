"""The Panda problem: is the arm the published one, and are the targets what is said of them?"""

from __future__ import annotations

import numpy as np
import problem_laws
import pytest
import torch

from landscape_opt.problems.panda import JOINT_LOWER, JOINT_UPPER, READY, PandaArm, panda, pose_difference
from landscape_opt.problems.panda import _near_limits as near_limits

# Flange in the base frame at three joint vectors, as the URDF of roboticstoolbox-python 1.5.0 gives it (panda_link8).
REFERENCE = [
    (
        [0.794, -0.812, -2.66, -3.022, 1.815, 3.424, 0.618],
        [
            [-0.523903, 0.813277, 0.253192, -0.044182],
            [0.76105, 0.313446, 0.567939, -0.031631],
            [0.38253, 0.490237, -0.783159, 0.078313],
        ],
    ),
    (
        [1.33, 0.154, 2.521, -0.623, -2.881, 3.215, -2.703],
        [
            [0.037825, -0.895594, -0.443261, -0.240394],
            [0.930877, 0.192878, -0.310268, -0.153255],
            [0.36337, -0.400886, 0.840983, 1.076943],
        ],
    ),
    (
        [1.331, -1.144, 2.104, -1.446, -1.161, 1.576, -2.733],
        [
            [0.933022, -0.122235, -0.338419, -0.613991],
            [0.350398, 0.522465, 0.777336, -0.32086],
            [0.081794, -0.843854, 0.530302, 0.328399],
        ],
    ),
]


@pytest.fixture(scope="module")
def problem():
    return panda()


def about(axis, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array({"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])


def pose_by_hand(joints):
    """Position and rotation, joint by joint: turn about x, go along x, turn about z, go along z."""
    position, rotation = np.zeros(3), np.eye(3)
    table = zip(
        (0, -90, 90, 90, -90, 90, 90),
        (0, 0, 0, 0.0825, -0.0825, 0, 0.088),
        (0.333, 0, 0.316, 0, 0.384, 0, 0),
        joints,
        strict=True,
    )
    for degrees, a, d, q in table:
        position = position + rotation @ [a, 0, 0]
        rotation = rotation @ about("x", np.radians(degrees)) @ about("z", q)
        position = position + rotation @ [0, 0, d]
    return position + rotation @ [0, 0, 0.107], rotation


def random_x(number, dtype=torch.float32, scale=2.0):
    return scale * torch.randn(number, 7, generator=torch.Generator().manual_seed(1), dtype=dtype)


# ------------------------------------------------------------------------------------------------------------- the arm


def test_pose_is_that_of_the_published_parameters():
    arm = PandaArm().double()
    x = random_x(50, torch.float64)
    for joints, pose in zip(arm.joints(x).numpy(), arm(x).numpy(), strict=True):
        position, rotation = pose_by_hand(joints)
        np.testing.assert_allclose(pose[:3], position, atol=1e-6)  # the table was rounded to float32
        np.testing.assert_allclose(pose[3:].reshape(3, 3), rotation, atol=1e-6)


@pytest.mark.parametrize(("joints", "pose"), REFERENCE)
def test_pose_is_that_of_another_library(joints, pose):
    arm = PandaArm()
    found = arm(arm.x_of(torch.tensor([joints])))[0]
    assert torch.allclose(found[:3], torch.tensor(pose)[:, 3], atol=2e-6)
    assert torch.allclose(found[3:].reshape(3, 3), torch.tensor(pose)[:, :3], atol=2e-6)


def test_joints_never_leave_their_limits_and_reach_them():
    arm = PandaArm()
    lower, upper = torch.tensor(JOINT_LOWER), torch.tensor(JOINT_UPPER)
    joints = arm.joints(random_x(1000, scale=10.0))
    assert (joints >= lower - 1e-6).all()
    assert (joints <= upper + 1e-6).all()
    for limit in (lower, upper):
        assert torch.allclose(arm.joints(arm.x_of(limit[None]))[0], limit, atol=1e-6)


def test_derivatives_are_right_twice():
    arm = PandaArm().double()
    x = random_x(2, torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(arm, x)
    assert torch.autograd.gradgradcheck(arm, x)


def test_rows_do_not_meet(problem):
    problem_laws.rows_do_not_meet(problem.forward_model, random_x(9))


def test_a_turn_by_a_radian_counts_as_thirty_centimetres():
    def pose(q7):
        arm = PandaArm().double()
        return arm(arm.x_of(torch.tensor([[*READY[:6], q7]], dtype=torch.float64)))

    turn, still = pose_difference(pose(0.01), pose(0.0)), pose_difference(pose(0.0), pose(0.0))
    assert float(turn.norm()) == pytest.approx(0.3 * 0.01, rel=1e-4)
    assert not still.any()


# --------------------------------------------------------------------------------------------------------- the problem


def test_targets_can_be_reached():
    generator = torch.Generator().manual_seed(0)
    x = (2.0 * torch.rand(5120, 7, generator=generator) - 1.0).asin()  # as the problem draws them
    problem = panda(seed=0)
    assert problem.loss_fn(problem.forward_model(x[-512:]), problem.test).max() < 1e-12


def test_splits_are_distinct_and_seeded(problem):
    problem_laws.a_seed_of_its_own(problem, panda)
    every = torch.cat([problem.train, problem.validation, problem.test, problem.unfamiliar.targets])
    assert every.shape == (4096 + 3 * 512, 12)
    assert every.unique(dim=0).shape == every.shape


def test_starts_have_a_finite_loss_and_a_slope(problem):
    for targets in (problem.test, problem.unfamiliar.targets):
        problem_laws.finite_with_a_slope(problem, targets, 1e-4)
    assert torch.allclose(problem.forward_model.joints(problem.x_init[None])[0], torch.tensor(READY), atol=1e-6)


def test_what_is_hidden_is_the_turn_about_the_pointing_direction(problem):
    observed, target = problem.partly.observed, problem.partly.targets
    assert observed.shape == target.shape
    arm = problem.forward_model
    turned = arm(arm.x_of(torch.tensor([[*READY[:6], -1.0]])))[0]
    ready = arm(problem.x_init[None])[0]
    same = (turned - ready).abs() < 1e-6
    assert same[observed[0]].all()
    assert observed.sum(1).eq(6).all()
    assert not same[3:].reshape(3, 3)[:2, :2].any()


def test_unfamiliar_targets_are_near_the_limits_and_unlike_those_of_the_fit(problem):
    shares = near_limits(1000, torch.Generator().manual_seed(1))
    assert (shares.abs() >= 0.9).all()
    assert (shares.abs() <= 1.0).all()
    assert ((shares > 0).float().mean(0) - 0.5).abs().max() < 0.1

    def to_nearest(targets):
        distances = [pose_difference(row.expand_as(problem.train), problem.train).norm(dim=1).min() for row in targets]
        return torch.stack(distances).median()

    assert to_nearest(problem.unfamiliar.targets) > 1.05 * to_nearest(problem.test)


def test_metric_is_the_distance_in_millimetres(problem):
    moved = problem.test[:5].clone()
    moved[:, 1] += 0.002
    assert torch.allclose(problem.metric.of(None, moved, problem.test[:5]), torch.full((5,), 2.0), atol=1e-3)
