"""The camera problem: is the silhouette what the formula says, and are the targets what is said of them?"""

from __future__ import annotations

import math

import numpy as np
import problem_laws
import pytest
import torch
from scipy.spatial.transform import Rotation

from landscape_opt.problems.camera import SilhouetteCamera, camera, rotation_matrix


@pytest.fixture(scope="module")
def problem():
    return camera()


def random_x(number, dtype=torch.float32):
    return 0.6 * torch.randn(number, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)


def image_by_hand(centres, radii, x):
    """Splats composited one by one: 1 - Π(1 - opacity), pixel by pixel."""
    placed = Rotation.from_rotvec(x[:3]).apply(centres) + 0.6 * x[3:] + [0, 0, 4.0]
    passed = np.ones((24, 24))
    for (X, Y, Z), radius in zip(placed, radii, strict=True):
        for i in range(24):
            for j in range(24):
                across, down = (j + 0.5) / 12 - 1 - 2.0 * X / Z, (i + 0.5) / 12 - 1 - 2.0 * Y / Z
                opacity = 1 - np.exp(-0.8 * np.exp(-(across**2 + down**2) / (2 * (2.0 * radius / Z) ** 2)))
                passed[i, j] *= 1 - opacity
    return 1 - passed


# ---------------------------------------------------------------------------------------------------------- the camera


def test_image_is_that_of_splats_composited_one_by_one():
    renderer = SilhouetteCamera().double()
    x = random_x(2, torch.float64)
    for pose, image in zip(x.numpy(), renderer(x).numpy(), strict=True):
        by_hand = image_by_hand(renderer.centres.numpy(), renderer.radii.numpy(), pose)
        np.testing.assert_allclose(image, by_hand, atol=2e-6)  # the places of the pixels were rounded to float32


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-3, 0.0999, 0.1001, 1.0, 3.0, 5.0])
def test_rotation_is_that_of_scipy(angle):
    axis = torch.nn.functional.normalize(torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64))
    expected = Rotation.from_rotvec((angle * axis[0]).numpy()).as_matrix()
    np.testing.assert_allclose(rotation_matrix(angle * axis)[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.05, 1.0])
def test_derivatives_are_right_twice(scale):
    renderer = SilhouetteCamera().double()
    x = (scale * random_x(1, torch.float64)).requires_grad_(True)

    def some_pixels(x):
        return renderer(x)[:, 4:20:5, 4:20:5]

    assert torch.autograd.gradcheck(some_pixels, x)
    assert torch.autograd.gradgradcheck(some_pixels, x)


def test_rows_do_not_meet(problem):
    problem_laws.rows_do_not_meet(problem.forward_model, random_x(9))


def test_an_object_behind_the_camera_has_a_finite_image(problem):
    x = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, z] for z in (-5.0, -6.0, -6.6667, -20.0, 1e4)], requires_grad=True)
    image = problem.forward_model(x)
    (slope,) = torch.autograd.grad(image.sum(), x)
    assert image.isfinite().all()
    assert slope.isfinite().all()


# --------------------------------------------------------------------------------------------------------- the problem


def test_targets_can_be_reached():
    generator = torch.Generator().manual_seed(0)
    number = 4096 + 2 * 512
    axis = torch.nn.functional.normalize(torch.randn(number, 3, generator=generator))  # as the problem draws them
    angle = math.radians(60.0) * torch.rand(number, 1, generator=generator)
    translation = 2.0 * torch.rand(number, 3, generator=generator) - 1.0
    x = torch.cat([angle * axis, translation], dim=1)[-512:]
    problem = camera(seed=0)
    assert problem.loss_fn(problem.forward_model(x), problem.test).max() < 1e-9


def test_splits_are_distinct_and_seeded(problem):
    problem_laws.a_seed_of_its_own(problem, camera)
    every = torch.cat([problem.train, problem.validation, problem.test, problem.unfamiliar.targets])
    assert every.shape == (4096 + 3 * 512, 24, 24)
    assert every.min() >= 0.0
    assert every.max() <= 1.0
    assert every.flatten(1).unique(dim=0).shape[0] == len(every)


def test_starts_have_a_finite_loss_and_a_slope(problem):
    hidden = ~problem.partly.observed
    for targets, seen in ((problem.test, 1.0), (problem.test, 1.0 - hidden.float()), (problem.unfamiliar.targets, 1.0)):
        problem_laws.finite_with_a_slope(problem, targets, 1e-3, seen)


def test_the_object_is_in_the_picture(problem):
    border = torch.ones(24, 24, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    for targets in (problem.test, problem.unfamiliar.targets):
        assert (targets.sum((1, 2)) > 20.0).all()
        assert (targets[:, border].amax(1) > 0.5).float().mean() < 0.1


def test_one_half_is_hidden_and_the_rest_shows_the_object(problem):
    observed, targets = problem.partly.observed, problem.partly.targets
    assert observed.shape == targets.shape
    assert observed.sum((1, 2)).eq(288).all()
    assert ((observed * targets).sum((1, 2)) >= 0.399 * targets.sum((1, 2))).all()
    halves, counts = observed.flatten(1).unique(dim=0, return_counts=True)
    assert len(halves) == 4
    assert counts.min() > 512 / 8


def test_overlap_is_of_the_silhouettes(problem):
    image = torch.zeros(3, 24, 24)
    image[:, :, :12] = 1.0
    other = image.clone()
    other[0, :12] = 0.0
    other[1] = 1.0 - image[1]
    assert torch.allclose(problem.metric.of(None, other, image), torch.tensor([50.0, 0.0, 100.0]))
