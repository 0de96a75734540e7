"""The style problem: is its generator the one of the equations, and are its targets real, distinct and reproducible?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import functional_call, vmap

from landscape_opt import LandscapeInverter, LeastSquares
from landscape_opt.problems.metrics import psnr
from landscape_opt.problems.style import (
    FONTS,
    TEST_FONTS,
    TRAIN_FONTS,
    VALIDATION_FONTS,
    ModulatedConvolution,
    StyleGenerator,
    glyph_images,
    shifted,
    style,
)


@pytest.fixture(scope="module")
def problem():
    return style()


def latents(count, seed=0):
    return torch.randn(count, 512, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------------ generator


def convolved(image, kernel):
    """Correlation with zero padding, (I, H, W) by (O, I, k, k), in loops."""
    reach = kernel.shape[2] // 2
    wide = np.pad(image, ((0, 0), (reach, reach), (reach, reach)))
    out = np.zeros((len(kernel), *image.shape[1:]))
    for down in range(kernel.shape[2]):
        for right in range(kernel.shape[3]):
            moved = wide[:, down : down + image.shape[1], right : right + image.shape[2]]
            out += np.einsum("oi,ihw->ohw", kernel[:, :, down, right], moved)
    return out


def doubled(image):
    """Bilinear upsampling by two, edges repeated: 3/4 of the nearest pixel, 1/4 of the next."""
    for axis in (1, 2):
        before, after = (np.take(image, places, axis, mode="clip") for places in _neighbours(image.shape[axis]))
        pairs = np.stack([0.75 * image + 0.25 * before, 0.75 * image + 0.25 * after], axis + 1)
        image = pairs.reshape(*image.shape[:axis], 2 * image.shape[axis], *image.shape[axis + 1 :])
    return image


def _neighbours(length):
    places = np.arange(length)
    return places - 1, places + 1


def generated(weights, x):
    """One image as the paper writes it: the weights themselves are modulated and demodulated."""
    image = weights["constant"]
    for name in [*(f"layers.{index}" for index in range(5)), "pixels"]:
        style_of = 1.0 + weights[f"{name}.style.weight"] @ x + weights[f"{name}.style.bias"]
        kernel = weights[f"{name}.weight"] * style_of[None, :, None, None]
        if name != "pixels":
            kernel = kernel / np.sqrt((kernel**2).sum((1, 2, 3), keepdims=True) + 1e-8)
        if name in ("layers.1", "layers.3"):
            image = doubled(image)
        image = convolved(image, kernel) + weights[f"{name}.bias"][:, None, None]
        if name != "pixels":
            image = np.where(image > 0, image, 0.2 * image)
    return image[0]


def test_the_generator_is_the_one_of_the_paper(problem):
    weights = {name: weight.double().numpy() for name, weight in problem.forward_model.state_dict().items()}
    x = latents(3)
    expected = np.stack([generated(weights, row.double().numpy()) for row in x])
    np.testing.assert_allclose(problem.forward_model(x).numpy(), expected, atol=2e-5)


def test_gradients_are_those_of_finite_differences_once_and_twice():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = ModulatedConvolution(2, 3).double().requires_grad_(False)
    features = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    x = latents(1).double()[:, :3].requires_grad_(True)
    rest = latents(1, seed=1).double()[:, 3:]

    def of_three(x):
        return torch.nn.functional.leaky_relu(layer(features, torch.cat([x, rest], 1)), 0.2)

    assert torch.autograd.gradcheck(of_three, x)
    assert torch.autograd.gradgradcheck(of_three, x)


def test_rows_do_not_meet(problem):
    x = latents(6)
    together = problem.forward_model(x)
    for row in range(6):
        torch.testing.assert_close(problem.forward_model(x[row : row + 1])[0], together[row], rtol=1e-5, atol=1e-5)
    weights = {name: weight.clone() for name, weight in problem.forward_model.state_dict().items()}
    one = vmap(lambda row: functional_call(problem.forward_model, weights, (row[None],))[0])
    torch.testing.assert_close(one(x), together, rtol=1e-4, atol=1e-4)


def test_the_mean_latent_is_a_plain_start(problem):
    assert problem.x_init.shape == (512,)
    assert problem.dim == 512
    x = problem.x_init.expand(512, 512).clone().requires_grad_(True)
    loss = problem.loss_fn(problem.forward_model(x), problem.test)
    (slope,) = torch.autograd.grad(loss.sum(), x)
    assert loss.isfinite().all()
    assert (slope.norm(dim=1) > 0.1).all()


def test_frozen_weights_take_no_gradient(problem):
    assert isinstance(problem.forward_model, StyleGenerator)
    assert not any(weight.requires_grad for weight in problem.forward_model.parameters())


# -------------------------------------------------------------------------------------------------------------- targets


def test_the_targets_are_shifted_glyphs_of_fonts_that_are_split(problem):
    assert len(set(FONTS)) == len(TRAIN_FONTS) + len(VALIDATION_FONTS) + len(TEST_FONTS)
    assert len(problem.train) >= 4096
    glyphs = glyph_images()
    for targets, fonts in ((problem.train, TRAIN_FONTS), (problem.validation, VALIDATION_FONTS), (problem.test, TEST_FONTS)):
        pool = shifted(torch.cat([glyphs[font] for font in fonts])).flatten(0, 1)
        known = {image.numpy().tobytes() for image in pool}
        assert {image.numpy().tobytes() for image in targets} <= known


def test_the_splits_are_distinct(problem):
    assert problem.validation.shape == (256, 16, 16)
    assert problem.test.shape == (512, 16, 16)
    together = torch.cat([problem.train, problem.validation, problem.test])
    assert len(together.unique(dim=0)) == len(together)
    assert 0.0 <= together.min() < together.max() <= 1.0


def test_shifts_move_and_lose_what_leaves():
    image = torch.zeros(1, 16, 16)
    image[0, 0, 5] = 1.0
    moved = shifted(image)[0]
    assert moved[4].equal(image[0])
    assert sorted(one.sum().item() for one in moved) == [0.0] * 3 + [1.0] * 6


def test_what_is_partly_observed_or_unfamiliar(problem):
    observed = problem.partly.observed
    assert observed.shape == problem.partly.targets.shape == (512, 16, 16)
    assert observed.dtype == torch.bool
    assert (observed.flatten(1).sum(1) == 128).all()
    assert len(observed.unique(dim=0)) == 4
    assert problem.unfamiliar.targets.shape == (512, 16, 16)
    assert problem.unfamiliar.described_as
    upright = problem.unfamiliar.targets.rot90(-1, (1, 2))
    assert len(torch.cat([upright, problem.train]).unique(dim=0)) == 512 + len(problem.train)


def test_same_seed_same_problem_and_no_global_randomness():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = style(3), style(3), style(4)
    assert torch.equal(torch.get_rng_state(), before)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(first, part), getattr(again, part))
        assert not torch.equal(getattr(first, part), getattr(other, part))
    assert torch.equal(first.partly.observed, again.partly.observed)
    assert torch.equal(first.unfamiliar.targets, again.unfamiliar.targets)


# ------------------------------------------------------------------------------------------------------ loss and figure


def test_the_loss_is_half_the_squared_distance_and_the_metric_is_psnr(problem):
    assert isinstance(problem.loss_fn, LeastSquares)
    prediction, target = problem.forward_model(latents(4)), problem.test[:4]
    difference = prediction.numpy().astype(np.float64) - target.numpy()
    np.testing.assert_allclose(problem.loss_fn(prediction, target), 0.5 * (difference**2).sum((1, 2)), rtol=1e-5)
    clipped = prediction.numpy().clip(0.0, 1.0).astype(np.float64) - target.numpy()
    expected = 10.0 * np.log10(1.0 / (clipped**2).mean((1, 2)))
    np.testing.assert_allclose(problem.metric.of(latents(4), prediction, target), expected, rtol=1e-5)
    assert psnr(target, target, target).eq(100.0).all()


def test_the_generator_knows_its_glyphs_and_reaches_others(problem):
    plain = LandscapeInverter(problem.landscape(), problem.loss_fn)
    for targets in (problem.train[:16], problem.test[:16]):
        result = plain.invert(targets, 60, allow_unfitted=True)
        assert result.loss.median() < 0.02 * result.history.loss[0].median()
        assert problem.metric.of(result.x, result.prediction, targets).median() > 25.0
