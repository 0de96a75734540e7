"""Anyone's generator in Z, W and W+: do the spaces show its own pictures, and does it stay as it was?"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.applications.gan import (
    NoiseRegularisation,
    StyleModel,
    WithNoise,
    WPlusSpace,
    WSpace,
    ZSpace,
    pivotal_tuning,
)
from landscape_opt.applications.gan.perceptual import Perceived, pixels_and_features

Z_DIM, W_DIM, NUM_WS, C_DIM = 5, 6, 3, 2


class Mapping(nn.Module):
    """As NVIDIA's: z and a class label to a w for every layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(Z_DIM + C_DIM, 16), nn.LeakyReLU(0.2), nn.Linear(16, W_DIM))

    def forward(self, z, c, truncation_psi=1, truncation_cutoff=None, update_emas=False):
        z = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        c = z.new_zeros(len(z), C_DIM) if c is None else c
        return self.layers(torch.cat([z, c], 1))[:, None].repeat(1, NUM_WS, 1)


class Layer(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.affine, self.noise_strength = nn.Linear(W_DIM, 4), nn.Parameter(torch.tensor(0.3))
        self.register_buffer("noise_const", torch.randn(size, size))

    def forward(self, x, w, noise_mode):
        x = x * (1 + self.affine(w))[:, :, None, None]
        if noise_mode != "none":
            noise = self.noise_const if noise_mode == "const" else torch.randn_like(x[:, :1])
            x = x + noise * self.noise_strength
        return nn.functional.leaky_relu(x, 0.2)


class Synthesis(nn.Module):
    """As NVIDIA's: a w for every layer to a picture; without noise_mode the noise is drawn each time."""

    def __init__(self):
        super().__init__()
        self.const, self.b8, self.b16, self.rgb = nn.Parameter(torch.randn(4, 8, 8)), Layer(8), Layer(16), nn.Conv2d(4, 3, 1)
        self.to_rgb = nn.Linear(W_DIM, 4)

    def forward(self, ws, noise_mode="random", force_fp32=False):
        x = self.b8(self.const.expand(len(ws), -1, -1, -1), ws[:, 0], noise_mode)
        x = self.b16(nn.functional.interpolate(x, scale_factor=2.0), ws[:, 1], noise_mode)
        return self.rgb(x * self.to_rgb(ws[:, 2])[:, :, None, None])


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.z_dim, self.w_dim, self.c_dim = Z_DIM, W_DIM, C_DIM
        self.mapping, self.synthesis = Mapping(), Synthesis()


@pytest.fixture(scope="module")
def style():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Generator().eval()


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def squares(prediction, target):
    return (prediction - target).square().flatten(1).mean(1)


def test_every_space_shows_the_pictures_of_the_module(style):
    model, z = StyleModel.of(style), drawn(4, Z_DIM)
    ws = style.mapping(z, None)
    expected = style.synthesis(ws, noise_mode="const")
    for space, x in ((ZSpace(model), z), (WSpace(model), ws[:, 0]), (WPlusSpace(model), ws)):
        assert torch.equal(space(x), expected)
        assert space(space.x_init[None]).isfinite().all()


def test_the_label_reaches_the_mapping_and_the_arguments_the_synthesis(style):
    label, z = torch.tensor([0.0, 1.0]), drawn(4, Z_DIM)
    model = StyleModel.of(style, label, noise_mode="none")
    expected = style.synthesis(style.mapping(z, label.expand(4, -1)), noise_mode="none")
    assert torch.equal(ZSpace(model)(z), expected)


def test_the_start_is_the_mean_of_w_and_truncation_leads_to_it(style):
    model, z = StyleModel.of(style, seed=3), drawn(4096, Z_DIM, seed=3)
    w = style.mapping(z, None)[:, 0]
    assert torch.allclose(model.w_avg, w.mean(0), atol=1e-5)
    assert torch.allclose(WPlusSpace(model).x_init, model.w_avg.expand(NUM_WS, -1))
    assert torch.allclose(model.truncated(z[:2], 1.0), w[:2], atol=1e-5)
    nearest = (w - w.mean(0)).norm(dim=1).min()
    assert torch.allclose((style.mapping(ZSpace(model).x_init[None], None)[0, 0] - w.mean(0)).norm(), nearest, atol=1e-5)


def test_inversion_finds_pictures_again_and_leaves_the_module_alone(style):
    before, model = copy.deepcopy(style.state_dict()), StyleModel.of(style)
    target = ZSpace(model)(drawn(6, Z_DIM, seed=1)).detach()
    for space in (ZSpace(model), WSpace(model), WPlusSpace(model)):
        inverter = LandscapeInverter(LearnedLandscape(space, space.x_init), squares)
        result = inverter.invert(target, 60, allow_unfitted=True)
        assert (result.loss < 0.2 * result.history.best[0]).all()
    assert all(torch.equal(value, before[name]) for name, value in style.state_dict().items())
    assert all(weight.requires_grad for weight in style.parameters())


def test_one_w_for_all_layers_has_no_w_plus():
    with torch.random.fork_rng(devices=[]):
        model = StyleModel(nn.Linear(4, 6), nn.Unflatten(1, (6, 1, 1)), z_dim=4)
    assert WSpace(model)(torch.zeros(2, 6)).shape == (2, 6, 1, 1)
    with pytest.raises(ValueError, match="one w for all layers"):
        WPlusSpace(model)


def test_what_is_no_generator_is_refused():
    with pytest.raises(TypeError, match="Linear has no mapping"):
        StyleModel.of(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"z_to_w must return w of shape \(B, w_dim\)"):
        StyleModel(lambda z: z[0], nn.Identity(), z_dim=3)


# ---------------------------------------------------------------------------------------------------------------- noise


def test_noise_is_part_of_x_and_every_row_has_its_own(style):
    space = WithNoise(WSpace(StyleModel.of(style)))
    assert {name: tuple(part.shape) for name, part in space.x_init.items() if name != "x"} == {
        "synthesis_b8_noise_const": (8, 8),
        "synthesis_b16_noise_const": (16, 16),
    }
    x = {name: part.expand(2, *part.shape).clone() for name, part in space.x_init.items()}
    same = space(x)
    assert torch.equal(same[0], same[1])
    x["synthesis_b16_noise_const"][1] = drawn(16, 16, seed=5)
    other = space(x)
    assert torch.allclose(other[0], same[0])
    assert not torch.allclose(other[1], same[1])


def test_noise_as_x_is_the_noise_of_the_module(style):
    standard = copy.deepcopy(style)
    for name, noise in standard.named_buffers():
        if name.endswith("noise_const"):
            noise.copy_((noise - noise.mean()) / noise.std(correction=0))
    space, w = WithNoise(WSpace(StyleModel.of(style))), drawn(1, W_DIM)
    x = {name: part[None] for name, part in space.x_init.items()} | {"x": w}
    expected = standard.synthesis(w[:, None].expand(-1, NUM_WS, -1), noise_mode="const")
    assert torch.allclose(space(x), expected, atol=1e-5)


def test_regularisation_keeps_noise_white(style):
    space, term = WithNoise(WSpace(StyleModel.of(style))), NoiseRegularisation(1.0)
    white, smooth = drawn(1, 16, 16), drawn(1, 16, 1).expand(-1, -1, 16)
    x = torch.zeros(1, 3)
    assert term({"x": x, "n": white}, None) < 0.05 < term({"x": x, "n": smooth}, None)
    target = WSpace(StyleModel.of(style))(drawn(4, W_DIM, seed=2)).detach()
    target = target + torch.linspace(-1, 1, 16)  # a slope that noise alone can follow
    inverter = LandscapeInverter(LearnedLandscape(space, space.x_init), squares)
    free = inverter.invert(target, 40, allow_unfitted=True)
    kept = inverter.invert(target, 40, extra_terms=[NoiseRegularisation(10.0)], allow_unfitted=True)
    assert (term(kept.x, None) < term(free.x, None)).all()
    assert (squares(free.prediction, target) < free.history.best[0]).all()


def test_a_synthesis_without_noise_says_so():
    with torch.random.fork_rng(devices=[]):
        model = StyleModel(nn.Linear(4, 6), nn.Unflatten(1, (6, 1, 1)), z_dim=4)
    with pytest.raises(ValueError, match="no buffers called 'noise_const'"):
        WithNoise(WSpace(model))
    with pytest.raises(ValueError, match="weight must not be negative"):
        NoiseRegularisation(-1.0)


# -------------------------------------------------------------------------------------------------------- pivotal tuning


def test_pivotal_tuning_begins_at_the_pivot_improves_it_and_leaves_the_module_alone(style):
    before, space = copy.deepcopy(style.state_dict()), WSpace(StyleModel.of(style))
    perceived, loss_fn = Perceived(space, nn.AvgPool2d(4)), pixels_and_features()
    target = perceived.target(space(drawn(3, W_DIM, seed=4)).detach().flip(3))
    found = LandscapeInverter(LearnedLandscape(perceived, space.x_init), loss_fn).invert(target, 20, allow_unfitted=True)
    tuned = pivotal_tuning(perceived, loss_fn, found, target, 15)
    assert torch.allclose(tuned.history.loss[0], found.loss, rtol=1e-4)
    assert (tuned.loss < 0.9 * found.loss).all()
    assert all(torch.equal(value, before[name]) for name, value in style.state_dict().items())


def test_pivotal_tuning_needs_a_space():
    with pytest.raises(TypeError, match="needs a space whose synthesis"):
        pivotal_tuning(Perceived(nn.Identity(), nn.Identity()), squares, None, {})
