"""The noise of a synthesis as part of x, and the term that keeps it noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from .spaces import Space

BUFFER = "noise_const"
_SMALLEST = 8


class WithNoise(nn.Module):
    """A space whose x has the noise maps of the synthesis beside it: ``{"x": …, "layers_0_noise_const": (4, 4), …}``.

    Every row has noise of its own, moved and scaled to mean 0 and variance 1 before it is used, as StyleGAN projectors do
    after every step. The noise buffers of the synthesis are the start; the module itself is not changed.

    Args:
        space: Z, W or W+ of a :class:`StyleModel` whose synthesis is a module.
        name: How the noise buffers are called; NVIDIA's are ``noise_const``.

    Attributes:
        x_init: The start of the space, and the noise of the module.

    Raises:
        ValueError: if the synthesis has no such buffers.

    Example:
        >>> from landscape_opt.applications.gan import StyleModel, WSpace, load_generator
        >>> space = WithNoise(WSpace(StyleModel.of(load_generator())))
        >>> x = {name: part[None] for name, part in space.x_init.items()}
        >>> len(x) > 1, space(x).shape
        (True, torch.Size([1, 3, 32, 32]))
    """

    def __init__(self, space: Space, name: str = BUFFER) -> None:
        super().__init__()
        synthesis = space.model.synthesis
        buffers = dict(synthesis.named_buffers()) if isinstance(synthesis, nn.Module) else {}
        self.names = [key for key in buffers if key.split(".")[-1] == name]
        if not self.names:
            raise ValueError(f"the synthesis has no buffers called {name!r}; say what they are called, or go without noise")
        self.space = space
        self.x_init = {"x": space.x_init, **{key.replace(".", "_"): buffers[key].clone() for key in self.names}}

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """The pictures of x with its noise, ``(B, channels, height, width)``."""
        maps = {key: _standard(x[key.replace(".", "_")])[:, None] for key in self.names}
        synthesis: Any = self.space.model.synthesis
        images: Tensor = torch.func.functional_call(synthesis, maps, (self.space.w(x["x"]),))
        return images


class NoiseRegularisation:
    r"""Keeps neighbours in the noise maps uncorrelated, at every scale: an extra term of an inversion.

    ``weight · Σ_maps Σ_scales (mean n(i, j) n(i, j−1))² + (mean n(i, j) n(i−1, j))²``, where the next scale is the mean of
    four neighbours times two, down to 8x8: Karras et al. (2020), the appendix on projection.

    Args:
        weight: Of the term. Karras et al. take 1e5 beside LPIPS of pictures with 1024 pixels a side.

    Raises:
        ValueError: if ``weight`` is negative.

    Example:
        >>> term = NoiseRegularisation(1.0)
        >>> term({"x": torch.zeros(1, 3), "noise": torch.ones(1, 16, 16)}, None)
        tensor([34.])
    """

    def __init__(self, weight: float = 0.1) -> None:
        if weight < 0:
            raise ValueError(f"weight must not be negative, got {weight}")
        self.weight = weight

    def __call__(self, x: dict[str, Tensor], prediction: Any) -> Tensor:
        """The term of every row, (B,), of an x of :class:`WithNoise`."""
        total = x["x"].new_zeros(len(x["x"]))
        for name, noise in x.items():
            if name != "x":
                total = total + _correlation(noise)
        return self.weight * total


def _correlation(noise: Tensor) -> Tensor:
    """Squared means of products of neighbours, over all scales, (B,), of maps (B, H, W)."""
    total = noise.new_zeros(len(noise))
    while True:
        for axis in (1, 2):
            total = total + (noise * noise.roll(1, axis)).mean((1, 2)).square()
        if noise.shape[1] <= _SMALLEST:
            return total
        noise = 2.0 * avg_pool2d(noise[:, None], 2)[:, 0]


def _standard(noise: Tensor) -> Tensor:
    """Every map moved and scaled to mean 0 and variance 1."""
    centred = noise - noise.mean((1, 2), keepdim=True)
    return centred * (centred.square().mean((1, 2), keepdim=True) + 1e-8).rsqrt()
