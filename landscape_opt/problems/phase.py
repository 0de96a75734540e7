"""Phase retrieval: an image from the magnitudes of its coded diffraction patterns, beside a weak reference wave."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from landscape_opt.least_squares import LeastSquares
from landscape_opt.problems.problem import Metric, Problem, TargetSet

SIZE = 8
"""Pixels along a side, of the image and of each diffraction pattern."""
NUM_MASKS = 3
REFERENCE = 0.075
"""Magnitude of the reference wave at each pixel of the detector; that of the image is about 0.6."""
DARK = 0.05
"""Magnitude that the detector shows in the dark."""

_NUM_SPOTS, _NUM_SPIKES = 12, 6
_MASK_SEED = 1984  # of the apparatus: not the seed of the targets
_TRAIN, _VALIDATION, _TEST = 4096, 512, 512


class CodedDiffraction(nn.Module):
    """Magnitudes ``√(|A x + ρ|² + ε²)`` of three coded diffraction patterns; ``ρ = 0.075``, ``ε = 0.05``.

    The image x, of real numbers, is multiplied by a known mask ``exp(iφ)`` of random phases and Fourier transformed
    (unitary); so for three masks (Candès, Li and Soltanolkotabi, "Phase retrieval from coded diffraction patterns",
    2015). The weak wave ρ passes no mask: without it −x would be as good as x, and x = 0 a stationary point.

    Magnitudes, not intensities: where photons are counted their errors are alike at all levels (Anscombe 1948), and
    descent in them is faster (Zhang and Liang, "Reshaped Wirtinger flow", 2016). ε keeps the root smooth at 0.

    ``A`` is stored as matrices of real numbers, which for so small an image are faster than Fourier transforms.

    Example:
        >>> CodedDiffraction()(torch.zeros(5, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """

    real: Tensor
    imaginary: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(_MASK_SEED)
        phases = torch.rand(NUM_MASKS, SIZE, SIZE, generator=generator, dtype=torch.float64)
        masks = torch.exp(2j * math.pi * phases)
        pixels = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, 1, SIZE, SIZE)
        matrix = torch.fft.fft2(pixels * masks, norm="ortho").flatten(1)
        self.register_buffer("real", matrix.real.float())
        self.register_buffer("imaginary", matrix.imag.float())

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``x`` of shape ``(B, 8, 8)`` to magnitudes ``(B, 3, 8, 8)``."""
        flat = x.flatten(1)
        real, imaginary = flat @ self.real + REFERENCE, flat @ self.imaginary
        magnitudes = (real.square() + imaginary.square() + DARK**2).sqrt()
        return magnitudes.reshape(-1, NUM_MASKS, SIZE, SIZE)


def smooth_images(num: int, generator: torch.Generator) -> Tensor:
    """Sums of 12 Gaussian spots 0.5 to 1 pixels wide, with heights from N(0, 1), ``(num, 8, 8)``.

    Example:
        >>> smooth_images(3, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 8, 8])
    """
    pixels = torch.arange(float(SIZE))
    centres = (SIZE - 2.0) * torch.rand(num, _NUM_SPOTS, 2, 1, generator=generator) + 0.5
    widths = 0.5 + 0.5 * torch.rand(num, _NUM_SPOTS, 1, 1, generator=generator)
    heights = torch.randn(num, _NUM_SPOTS, generator=generator)
    along_y, along_x = torch.exp(-0.5 * ((pixels - centres) / widths).square()).unbind(2)
    return torch.einsum("bs,bsy,bsx->byx", heights, along_y, along_x)


def spikes(num: int, generator: torch.Generator) -> Tensor:
    """Six single pixels, with heights from 1.5 N(0, 1), on an empty image, ``(num, 8, 8)``.

    Example:
        >>> (spikes(2, torch.Generator().manual_seed(0)) != 0).sum((1, 2))
        tensor([6, 6])
    """
    lit = torch.rand(num, SIZE * SIZE, generator=generator).argsort(dim=1) < _NUM_SPIKES
    heights = 1.5 * torch.randn(num, SIZE * SIZE, generator=generator)
    return torch.where(lit, heights, 0.0).reshape(num, SIZE, SIZE)


def r_factor(_x: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    """The crystallographers' R-factor, 100 Σ |prediction − target| / Σ target of each row, in %, ``(B,)``.

    Example:
        >>> r_factor(torch.zeros(1, 8, 8), torch.full((1, 3, 8, 8), 1.25), torch.ones(1, 3, 8, 8))
        tensor([25.])
    """
    return 100.0 * (prediction - target).flatten(1).abs().sum(dim=1) / target.flatten(1).sum(dim=1)


def phase(seed: int = 0) -> Problem:
    """Find the image whose diffraction patterns have the given magnitudes.

    ``F`` is :class:`CodedDiffraction`, the loss half the sum of squared differences over the 3 × 8 × 8 magnitudes, and
    the start the empty image, ``x = 0``, which is the mean of the images. An evaluation of F, forward and backward,
    takes about 6 µs per row in a batch of 256 on one CPU thread. Targets are made by F itself from :func:`smooth_images`,
    so that a loss of 0 is within reach.

    Args:
        seed: of the targets; the masks are always the same. The global random state is not touched.

    Returns:
        The problem; ``x`` has shape ``(8, 8)``, targets ``(3, 8, 8)``; 4096 train, 512 validation and 512 test targets.
        In ``partly`` 96 of the 192 magnitudes are lost, others for every target; ``unfamiliar`` is of :func:`spikes`.

    Example:
        >>> problem = phase()
        >>> problem.test.shape, problem.partly.observed[0].sum()
        (torch.Size([512, 3, 8, 8]), tensor(96))
    """
    generator = torch.Generator().manual_seed(seed)
    forward_model = CodedDiffraction()
    images = smooth_images(_TRAIN + _VALIDATION + _TEST, generator)
    train, validation, test = (forward_model(part) for part in images.split([_TRAIN, _VALIDATION, _TEST]))
    unfamiliar = forward_model(spikes(_TEST, generator))
    order = torch.rand(test.shape, generator=generator).flatten(1).argsort(dim=1)
    observed = (order < order.shape[1] // 2).reshape(test.shape)
    return Problem(
        name="phase",
        forward_model=forward_model,
        loss_fn=LeastSquares(torch.sub),
        x_init=torch.zeros(SIZE, SIZE),
        train=train,
        validation=validation,
        test=test,
        hard_because="Without phases the loss has many local minima: L-BFGS from the empty image ends in one for about "
        "a third of the targets.",
        partly=TargetSet(targets=test, observed=observed, described_as="half of the magnitudes are lost"),
        unfamiliar=TargetSet(targets=unfamiliar, described_as="single bright pixels instead of smooth images"),
        metric=Metric(name="R-factor", unit="%", of=r_factor),
    )
