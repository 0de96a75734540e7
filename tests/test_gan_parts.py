"""GAN inversion: pictures, losses, degraded targets, rivals."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.applications import gan
from landscape_opt.applications.gan.images import (
    MIN_CONTRAST,
    TEST_FONTS,
    TRAIN_FONTS,
    UNSEEN_CHARACTERS,
    UNSEEN_FONTS,
    VALIDATION_FONTS,
    coloured,
    glyphs,
)
from landscape_opt.applications.gan.projector import FALL, NOISY, RISE
from landscape_opt.applications.gan.restyle import restyle_refined
from landscape_opt.problems import Problem


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Painter(nn.Module):
    """Six numbers to pictures of 16 by 16."""

    def __init__(self):
        super().__init__()
        self.register_buffer("basis", drawn(6, 3, 4, 4, seed=7))

    def forward(self, x):
        return nn.functional.interpolate(torch.tanh(torch.einsum("bd,dchw->bchw", x, self.basis)), scale_factor=4.0)


@pytest.fixture(scope="module")
def problem():
    F = gan.Perceived(Painter(), nn.AvgPool2d(8))
    train, validation, test = (F.target(F.forward_model(0.5 * drawn(n, 6, seed=n))) for n in (256, 32, 24))
    return Problem(
        name="painter",
        forward_model=F,
        loss_fn=gan.pixels_and_features(),
        x_init=torch.full((6,), 0.1),
        train=train,
        validation=validation,
        test=test,
        hard_because="It saturates.",
    )


def solved(problem, solver, budget, **options):
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)
    return inverter.invert(problem.test, budget, solver=solver, allow_unfitted=True, **options)


# ------------------------------------------------------------------------------------------------------------- pictures


def test_no_font_is_in_two_splits_and_no_unseen_character_was_trained_on():
    splits = [set(TRAIN_FONTS), set(VALIDATION_FONTS), set(TEST_FONTS)]
    assert sum(map(len, splits)) == len(set.union(*splits))
    assert not set(UNSEEN_CHARACTERS) & set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def test_every_unseen_character_is_drawn_and_none_is_cut_off():
    ink = glyphs(UNSEEN_FONTS[:1], UNSEEN_CHARACTERS).ink
    assert (ink.flatten(1).sum(1) > 20).all()
    assert len(ink.unique(dim=0)) == len(ink)  # a character that the font lacks would be the same box as another
    border = torch.cat([ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]], 1)
    assert (border.amax(1) < 0.5).float().mean() > 0.9


def test_pictures_are_reproducible_have_contrast_and_leave_the_global_state_alone():
    state = torch.get_rng_state()
    one, again = (coloured(glyphs(("DejaVuSans",)), 64, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.images, again.images)
    assert torch.equal(state, torch.get_rng_state())
    span = (one.images.amax((2, 3)) - one.images.amin((2, 3))).norm(dim=1)
    assert (span > 0.8 * MIN_CONTRAST).all()  # thin strokes never reach the colour of the letter


# --------------------------------------------------------------------------------------------------------------- losses


def test_known_features_are_those_that_no_hidden_pixel_has_a_say_in():
    F = gan.Perceived(nn.Identity(), nn.AvgPool2d(4))
    images, seen = drawn(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    seen[0, :, :4], seen[1, 2:] = True, True  # the left half; all but two rows
    known = F.observed(images, seen)
    expected = torch.tensor([[[True, False], [True, False]], [[False, False], [True, True]]])
    assert torch.equal(known["features"].reshape(2, 3, 2, 2), expected[:, None].expand(-1, 3, -1, -1))
    assert torch.equal(known["image"], seen[:, None].expand(-1, 3, -1, -1))


def test_hidden_pixels_have_no_say_in_an_inversion(problem):
    images, seen = problem.test["image"], torch.arange(16).expand(24, 16, 16) < 8
    spoilt = torch.where(seen[:, None], images, 5.0 * drawn(24, 3, 16, 16))
    mask = problem.forward_model.observed(images, seen)
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)
    one, other = (
        inverter.invert(problem.forward_model.target(each), 20, observed=mask, allow_unfitted=True)
        for each in (images, spoilt)
    )
    assert torch.allclose(one.x, other.x, atol=1e-5)
    assert one.loss.median() < 0.05 * one.history.best[0].median()


def test_the_loss_is_the_mean_over_pixels_plus_the_weighed_distance_of_features():
    one, other = ({"image": drawn(4, 3, 2, 2, seed=s), "features": drawn(4, 5, seed=s + 9)} for s in (0, 1))
    pixels = (one["image"] - other["image"]).square().flatten(1).mean(1)
    features = (one["features"] - other["features"]).square().sum(1)
    assert torch.allclose(gan.pixels_and_features(0.3)(one, other), 0.5 * (pixels + 0.3 * features))
    with pytest.raises(ValueError, match="feature_weight must not be negative"):
        gan.pixels_and_features(-1.0)


def test_squared_distances_of_lpips_features_are_lpips():
    """Against the sum as the paper writes it, on a stand-in with the parts that the package's module has."""
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, stride=2)]

    class Backbone(nn.Module):
        def forward(self, x):
            first = layers[0](x)
            return [first, layers[1](first)]

    lins = [SimpleNamespace(model=[None, nn.Conv2d(n, 1, 1, bias=False)]) for n in (4, 6)]
    for lin in lins:
        lin.model[-1].weight.data.abs_()
    stand_in = SimpleNamespace(scaling_layer=lambda x: (x - 0.1) / 0.5, net=Backbone(), lins=lins)
    F = gan.Perceived(nn.Identity(), gan.LpipsFeatures(stand_in))
    one, other = drawn(2, 3, 8, 8), drawn(2, 3, 8, 8, seed=1)
    expected = torch.zeros(2)
    for a, b, lin in zip(*(stand_in.net(stand_in.scaling_layer(each)) for each in (one, other)), lins, strict=True):
        a, b = (each / (each.norm(dim=1, keepdim=True) + 1e-10) for each in (a, b))
        expected = expected + lin.model[-1]((a - b).square()).mean((2, 3))[:, 0]
    found = (F.target(one)["features"] - F.target(other)["features"]).square().sum(1)
    assert torch.allclose(found, expected, rtol=1e-4)
    with pytest.raises(TypeError, match="has no scaling_layer"):
        gan.LpipsFeatures(nn.Identity())


@pytest.mark.parametrize(("degrade", "restore"), [(gan.shrunk, gan.enlarged), (gan.grey, gan.grey)])
def test_degraded_targets_are_inverted_in_the_same_landscape_and_nothing_is_fitted(problem, degrade, restore):
    small = degrade(problem.test["image"])
    assert torch.allclose(degrade(restore(small)), small, atol=1e-6)
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, batch_size=32)
    inverter.fit(problem.train, num_rounds=3, progress=False)
    before = copy.deepcopy(inverter.landscape.state_dict())
    asked = gan.degraded(problem, degrade, restore)
    again = LandscapeInverter(inverter.landscape, asked.loss_fn, memory=inverter.memory)
    result = again.invert(asked.test, 30)
    off = (degrade(result.prediction["image"]) - small).square().flatten(1).mean(1)
    assert torch.allclose(result.loss, 0.5 * off, atol=1e-6)
    assert (
        result.loss.median()
        < 0.05 * asked.loss_fn(problem.forward_model(problem.x_init.expand(24, -1)), asked.test).median()
    )
    assert all(torch.equal(value, before[name]) for name, value in inverter.landscape.state_dict().items())


# --------------------------------------------------------------------------------------------------------------- rivals


def test_the_projector_is_adam_with_ramps_and_noise(problem):
    """Against the loop as the public code writes it, for one target."""
    steps, lr, spread = 40, 0.2, 0.1
    target = {name: part[:1] for name, part in problem.test.items()}
    x = problem.x_init[None].clone().requires_grad_(True)
    optimizer, expected, generator = torch.optim.Adam([x], lr=lr), [], torch.Generator().manual_seed(0)
    for k in range(steps + 1):
        left = max(0.0, 1 - k / steps / NOISY) ** 2 if k else 0.0
        noise = torch.randn(6, generator=generator) * spread * left if left else 0.0
        loss = problem.loss_fn(problem.forward_model(x + noise), target)
        expected.append(loss.item())
        ramp = 0.5 - 0.5 * math.cos(math.pi * min(1.0, max(0.0, 1 - k / steps) / FALL))
        optimizer.param_groups[0]["lr"] = lr * ramp * min(1.0, (k + 1) / steps / RISE)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    landscape = problem.landscape()
    inverter = LandscapeInverter(landscape, problem.loss_fn)
    result = inverter.invert(target, steps, solver=gan.Projector(landscape, steps, lr, spread), allow_unfitted=True)
    assert torch.allclose(result.history.loss[:, 0], torch.tensor(expected), rtol=1e-3, atol=1e-6)
    assert result.loss < 0.05 * result.history.loss[0]


def test_rows_of_a_projection_do_not_meet(problem):
    solver = gan.Projector(problem.landscape(), 10, 0.1, 0.1)
    together = solved(problem, solver, 10)
    fewer = LandscapeInverter(problem.landscape(), problem.loss_fn).invert(
        {name: part[:3] for name, part in problem.test.items()}, 10, solver=solver, allow_unfitted=True
    )
    assert torch.allclose(together.x[:3], fewer.x, atol=1e-5)


def test_passes_of_restyle_learn_are_counted_and_look_at_no_hidden_pixel(problem):
    state = torch.get_rng_state()
    network = gan.train_passes(problem, spread=0.5, num_batches=40, batch_size=32)
    assert torch.equal(state, torch.get_rng_state())
    result = solved(problem, gan.ReStyle(network), 5)
    assert result.loss.mean() < 0.5 * result.history.loss[0].mean()
    assert (result.num_evaluations == 5).all()
    longer = solved(problem, restyle_refined(network, 5, problem.landscape(), 1.0), 15)
    assert (longer.loss <= result.loss + 1e-6).all()
    assert longer.loss.mean() < result.loss.mean()
    seen = torch.arange(16).expand(24, 16, 16) < 8
    mask = problem.forward_model.observed(problem.test["image"], seen)
    spoilt = {**problem.test, "image": torch.where(seen[:, None], problem.test["image"], torch.nan)}
    spoilt["features"] = torch.where(mask["features"], problem.test["features"], torch.nan)
    one, other = (
        LandscapeInverter(problem.landscape(), problem.loss_fn).invert(
            each, 3, observed=mask, solver=gan.ReStyle(network), allow_unfitted=True
        )
        for each in (problem.test, spoilt)
    )
    assert torch.equal(one.x, other.x)


# ------------------------------------------------------------------------------------------------- the trained networks


def test_the_judge_tells_letters_of_fonts_that_it_has_not_seen():
    judge = gan.Judge()
    some = coloured(glyphs(VALIDATION_FONTS), 256, torch.Generator().manual_seed(0))
    right = (judge.classifier(some.images).argmax(1) == some.label).float().mean()
    assert right > 0.7  # 1 in 62 by chance; c and C, o and O differ in size alone
    assert judge(some.images, some.images).psnr.min() == 100.0


def test_letters_of_new_fonts_are_found_in_w():
    model = gan.StyleModel.of(gan.load_generator())
    space = gan.WSpace(model)
    F = gan.perceived(space)
    target = F.target(coloured(glyphs(VALIDATION_FONTS), 8, torch.Generator().manual_seed(1)).images)
    inverter = LandscapeInverter(LearnedLandscape(F, space.x_init), gan.pixels_and_features())
    result = inverter.invert(target, 40, allow_unfitted=True)
    assert result.loss.median() < 0.1 * result.history.best[0].median()


def test_only_a_problem_of_perceived_pictures_can_be_degraded():
    with pytest.raises(TypeError, match="whose F is Perceived, got Linear"):
        gan.degraded(SimpleNamespace(forward_model=nn.Linear(2, 2)), gan.shrunk, gan.enlarged)
