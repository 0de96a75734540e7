"""Digits: is what is partly observed and unfamiliar what it is said to be?"""

from __future__ import annotations

import problem_laws
import pytest
import torch

from landscape_opt.problems import digits
from landscape_opt.problems.metrics import psnr


@pytest.fixture(scope="module")
def problem():
    return digits()


def test_splits_are_of_different_images_in_an_order_of_its_own(problem):
    problem_laws.a_seed_of_its_own(problem, digits)
    images = [{image.numpy().tobytes() for image in getattr(problem, split)} for split in problem_laws.SPLITS]
    assert [len(some) for some in images] == [1024, 261, 512]
    assert len(set.union(*images)) == 1024 + 261 + 512


def test_half_of_the_pixels_are_lost_others_for_every_image(problem):
    observed = problem.partly.observed
    assert torch.equal(problem.partly.targets, problem.test)
    assert observed.shape == problem.test.shape
    assert 0.49 < float(observed.float().mean()) < 0.51
    assert len({mask.numpy().tobytes() for mask in observed}) == len(observed)


def test_unfamiliar_images_are_the_test_images_in_a_mirror(problem):
    mirrored = problem.unfamiliar.targets
    assert torch.equal(mirrored[:, :, 0], problem.test[:, :, -1])
    assert torch.equal(mirrored.flip(-1), problem.test)


def test_every_target_can_be_descended_on(problem):
    for some in problem.test_sets().values():
        problem_laws.finite_with_a_slope(problem, some.targets, 1e-2)


def test_the_metric_is_psnr(problem):
    assert problem.metric.of is psnr
    grey = torch.full((4, 8, 8), 0.5)
    assert torch.allclose(problem.metric.of(problem.x_init, grey, grey + 0.1), torch.full((4,), 20.0), atol=1e-4)
