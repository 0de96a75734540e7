"""The skeleton problem: is a keypoint where kinematics puts it, and are the targets what is said of them?"""

from __future__ import annotations

import importlib
import math

import numpy as np
import problem_laws
import pytest
import torch
from scipy.spatial.transform import Rotation

from landscape_opt.problems.skeleton import CARRIERS, JOINTS, PARENTS, Skeleton, skeleton

module = importlib.import_module("landscape_opt.problems.skeleton")  # the package has the function by this name


@pytest.fixture(scope="module")
def problem():
    return skeleton()


def random_x(number, dtype=torch.float32, scale=0.7):
    return scale * torch.randn(number, 54, generator=torch.Generator().manual_seed(1), dtype=dtype)


def keypoints_by_hand(body, x):
    """The tree walked joint by joint, each with its whole frame."""
    pelvis, rotations = body.pelvis(x[None])[0].numpy(), body.rotations(x[None])[0].numpy()
    bones = body.bones[:, :, 0].numpy()
    turned = {0: Rotation.from_rotvec(rotations[0])}
    place = {0: pelvis}
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        place[joint] = place[parent] + turned[parent].apply(bones[joint - 1])
        if joint in CARRIERS:
            turned[joint] = turned[parent] * Rotation.from_rotvec(rotations[CARRIERS.index(joint)])
    return np.stack([place[joint][:2] / place[joint][2] for joint in range(len(JOINTS))])


# -------------------------------------------------------------------------------------------------------- the skeleton


def test_keypoints_are_those_of_the_tree_walked_joint_by_joint():
    body = Skeleton().double()
    x = random_x(5, torch.float64)
    expected = np.stack([keypoints_by_hand(body, row) for row in x])
    np.testing.assert_allclose(body(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.05, 1.0])
def test_derivatives_are_right_twice(scale):
    body = Skeleton().double()
    x = random_x(1, torch.float64, scale).requires_grad_(True)
    some = torch.arange(0, 54, 5)

    def some_numbers(part):
        return body(x.detach().index_copy(1, some, part))[:, [3, 11, 15, 18, 21]]

    part = x[:, some].detach().requires_grad_(True)
    assert torch.autograd.gradcheck(some_numbers, part)
    assert torch.autograd.gradgradcheck(some_numbers, part)


def test_rows_do_not_meet(problem):
    problem_laws.rows_do_not_meet(problem.forward_model, random_x(9))


def test_the_start_stands_upright_and_is_symmetric(problem):
    start = dict(zip(JOINTS, problem.forward_model(problem.x_init[None])[0], strict=True))
    assert torch.allclose(problem.forward_model.pelvis(problem.x_init[None]), torch.tensor([[0.0, 0.0, 4.0]]))
    assert start["head"][1] < start["pelvis"][1] < start["left knee"][1] < start["left toes"][1]  # downwards
    for joint in JOINTS:
        if joint.startswith("left"):
            left, right = start[joint], start[joint.replace("left", "right")]
            assert torch.allclose(left, right * torch.tensor([-1.0, 1.0]), atol=1e-6)
            assert left[0] > 0.0  # it faces the camera


def test_every_x_is_a_possible_pose_before_the_camera(problem):
    body = problem.forward_model
    reach = (body.paths @ body.bones.norm(dim=1)).max()
    assert reach < module.NEAREST
    x = random_x(64, scale=20.0)
    x[:, -1].clamp_(max=5.0)
    x.requires_grad_(True)
    assert (body.joints(x)[:, :, 2] > 0.3).all()
    assert ((body.rotations(x)[:, 1:] - body.middle).abs() <= body.half_range * (1 + 1e-6)).all()
    (slope,) = torch.autograd.grad(body(x).sum(), x)
    assert slope.isfinite().all()


def test_every_number_of_x_moves_a_keypoint():
    body = Skeleton().double()
    jacobian = torch.autograd.functional.jacobian(lambda x: body(x[None])[0], random_x(1, torch.float64)[0])
    assert (jacobian.flatten(0, 1).norm(dim=0) > 1e-4).all()


# --------------------------------------------------------------------------------------------------------- the problem


def test_targets_can_be_reached(monkeypatch):
    drawn, poses = [], module._poses

    def recorded(*arguments):
        drawn.append(poses(*arguments))
        return drawn[-1]

    monkeypatch.setattr(module, "_poses", recorded)
    problem = skeleton(3)
    for x, targets in ((drawn[0][-512:], problem.test), (drawn[1], problem.unfamiliar.targets)):
        assert x.isfinite().all()
        assert problem.loss_fn(problem.forward_model(x), targets).max() < 1e-10
    familiar, unfamiliar = drawn[0], drawn[1]
    assert familiar[:, 1].abs().max() <= 2 * math.pi / 3 <= unfamiliar[:, 1].abs().min() + 1e-6
    body = problem.forward_model
    near, far = (body.pelvis(x)[:, 2] for x in drawn)
    assert near.min() > 2.999
    assert near.max() < 6.001
    assert far.min() > 7.999
    assert far.max() < 12.001
    spreads = [(body.rotations(x)[:, 1:] / body.half_range).std() for x in drawn]
    assert spreads[1] > 1.2 * spreads[0]


def test_splits_are_distinct_and_seeded(problem):
    problem_laws.a_seed_of_its_own(problem, skeleton)
    every = torch.cat([problem.train, problem.validation, problem.test, problem.unfamiliar.targets])
    assert every.shape == (4096 + 3 * 512, 22, 2)
    assert every.isfinite().all()
    assert every.abs().max() < 0.7  # in the picture of a camera of 70°
    assert every.flatten(1).unique(dim=0).shape[0] == len(every)


def test_whole_joints_are_hidden(problem):
    observed = problem.partly.observed
    assert observed.shape == problem.partly.targets.shape
    assert observed.dtype == torch.bool
    assert torch.equal(observed[..., 0], observed[..., 1])
    hidden = (~observed[..., 0]).sum(1)
    assert sorted(hidden.unique().tolist()) == list(range(7, 14))
    assert (observed[..., 0].float().mean(0) - 0.545).abs().max() < 0.1  # no joint is favoured


def test_starts_have_a_finite_loss_and_a_slope(problem):
    seen = problem.partly.observed.float()
    for targets, weight in ((problem.test, 1.0), (problem.test, seen), (problem.unfamiliar.targets, 1.0)):
        problem_laws.finite_with_a_slope(problem, targets, 1e-3, weight)


def test_keypoint_error_is_in_pixels(problem):
    target = problem.test[:2]
    moved = target + torch.tensor([0.003, 0.004])
    assert torch.allclose(problem.metric.of(None, moved, target), torch.full((2,), 5.0), atol=1e-3)
