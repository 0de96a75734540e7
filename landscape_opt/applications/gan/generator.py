"""A small style-based generator of 32x32 colour pictures, with the interface of NVIDIA's StyleGAN2 and StyleGAN3 modules."""

from __future__ import annotations

from importlib import resources
from itertools import pairwise
from typing import Literal

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from ...problems.style import ModulatedConvolution

NoiseMode = Literal["const", "none", "random"]
WEIGHTS = "generator.safetensors"
CHANNELS = (48, 32, 16, 8)
"""Feature maps at 4x4, 8x8, 16x16 and 32x32."""
Z_DIM, W_DIM = 48, 96


class StyledConvolution(ModulatedConvolution):
    """A modulated convolution with a style of any width, and noise of its own.

    ``out + strength · noise`` after the convolution, as in Karras et al. (2020), figure 2.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        size: Height and width of the image.
        w_dim: Numbers in one style.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     layer = StyledConvolution(3, 5, size=4, w_dim=7)
        >>> layer(torch.zeros(2, 3, 4, 4), torch.zeros(2, 7)).shape
        torch.Size([2, 5, 4, 4])
    """

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, w_dim: int) -> None:
        super().__init__(inputs, outputs)
        self.style = nn.Linear(w_dim, inputs)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(size, size))

    def noisy(self, features: Tensor, w: Tensor, noise_mode: NoiseMode) -> Tensor:
        """The convolution in the style of ``w`` ``(B, w_dim)``, its noise, and leaky ReLU 0.2."""
        out = self(features, w)
        if noise_mode == "const":
            out = out + self.noise_strength * self.noise_const
        elif noise_mode == "random":
            out = out + self.noise_strength * torch.randn_like(out[:, :1])
        return leaky_relu(out, 0.2)


class MappingNetwork(nn.Module):
    """``z ↦ w``, repeated for every layer of the synthesis; ``truncation_psi`` draws w towards the mean.

    Args:
        z_dim: Numbers in one z.
        w_dim: Numbers in one w.
        num_ws: Layers that take a w.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     mapping = MappingNetwork(4, 6, num_ws=3)
        >>> mapping(torch.zeros(2, 4), None).shape
        torch.Size([2, 3, 6])
    """

    w_avg: Tensor

    def __init__(self, z_dim: int, w_dim: int, num_ws: int) -> None:
        super().__init__()
        self.num_ws = num_ws
        sizes = (z_dim, 128, 128, w_dim)
        dense: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layer = nn.Linear(inputs, outputs)
            nn.init.normal_(layer.weight, std=1.3 * inputs**-0.5)
            dense += [layer, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*dense[:-1])
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, c: Tensor | None = None, truncation_psi: float = 1.0) -> Tensor:
        """Map ``z`` ``(B, z_dim)`` to ``ws`` ``(B, num_ws, w_dim)``; there are no classes ``c``."""
        w: Tensor = self.layers(z)
        if truncation_psi != 1.0:
            w = self.w_avg.lerp(w, truncation_psi)
        return w[:, None].expand(-1, self.num_ws, -1)


class SynthesisNetwork(nn.Module):
    """``ws ↦`` picture: a learned constant, then convolutions from 4x4 to 32x32, each in the style of its own w.

    Args:
        w_dim: Numbers in one w.
        channels: Feature maps at 4x4, 8x8, 16x16 and 32x32.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     synthesis = SynthesisNetwork(w_dim=6, channels=(4, 4, 4, 4))
        >>> synthesis(torch.zeros(2, synthesis.num_ws, 6)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, w_dim: int, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(channels[0], 4, 4))
        layers = [StyledConvolution(channels[0], channels[0], 4, w_dim)]
        for level, (inputs, outputs) in enumerate(pairwise(channels), start=1):
            size = 4 * 2**level
            layers += [StyledConvolution(inputs, outputs, size, w_dim), StyledConvolution(outputs, outputs, size, w_dim)]
        self.layers = nn.ModuleList(layers)
        self.pixels = ModulatedConvolution(channels[-1], 3, kernel=1, demodulate=False)
        self.pixels.style = nn.Linear(w_dim, channels[-1])
        self.num_ws = len(layers) + 1

    def forward(self, ws: Tensor, noise_mode: NoiseMode = "random") -> Tensor:
        """Map ``ws`` ``(B, num_ws, w_dim)`` to pictures ``(B, 3, 32, 32)``, about -1 to 1."""
        features = self.constant.expand(len(ws), -1, -1, -1)
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, StyledConvolution)
            if index % 2 == 1:
                features = interpolate(features, scale_factor=2.0, mode="bilinear")
            features = layer.noisy(features, ws[:, index], noise_mode)
        images: Tensor = self.pixels(features, ws[:, -1])
        return images


class StyleGenerator(nn.Module):
    """Mapping and synthesis under the names that NVIDIA's checkpoints have.

    Args:
        z_dim: Numbers in one z.
        w_dim: Numbers in one w.
        channels: Feature maps at 4x4, 8x8, 16x16 and 32x32.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     G = StyleGenerator()
        >>> G(torch.zeros(2, G.z_dim)).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, z_dim: int = Z_DIM, w_dim: int = W_DIM, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.c_dim = z_dim, w_dim, 0
        self.synthesis = SynthesisNetwork(w_dim, channels)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, w_dim, self.num_ws)

    def forward(self, z: Tensor, c: Tensor | None = None, noise_mode: NoiseMode = "random") -> Tensor:
        """Map ``z`` ``(B, z_dim)`` to pictures ``(B, 3, 32, 32)``."""
        images: Tensor = self.synthesis(self.mapping(z, c), noise_mode=noise_mode)
        return images


def load_generator() -> StyleGenerator:
    """Return the generator that ``examples/train_style_generator.py`` made, its weights frozen.

    Example:
        >>> load_generator()(torch.zeros(1, 48), noise_mode="const").shape
        torch.Size([1, 3, 32, 32])
    """
    stored = load(resources.files(__package__).joinpath(WEIGHTS).read_bytes())
    with torch.device("meta"):  # modules draw their initial weights from the global random state; there they draw nothing
        generator = StyleGenerator()
    generator.load_state_dict({name: weight.to(torch.float32) for name, weight in stored.items()}, assign=True)
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return generator.requires_grad_(False).eval()
