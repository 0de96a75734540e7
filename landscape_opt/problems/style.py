"""Inversion of a small style-based generator of 16x16 glyphs in its latent space of 512 numbers."""

from __future__ import annotations

from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu, pad

from ..least_squares import LeastSquares
from .metrics import psnr
from .problem import Metric, Problem, TargetSet

LATENT_DIM = 512
SIZE = 16
TRAIN_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif-Bold",
    "cmr10",
    "cmb10",
    "STIXGeneralBol",
)
VALIDATION_FONTS = ("cmtt10",)
TEST_FONTS = ("DejaVuSerif", "cmss10", "STIXGeneral")
FONTS = TRAIN_FONTS + VALIDATION_FONTS + TEST_FONTS
_VALIDATION, _TEST = 256, 512
_WEIGHTS, _GLYPHS = "glyph_generator.safetensors", "glyphs.safetensors"


class ModulatedConvolution(nn.Module):
    """A convolution whose input channels are scaled by a style, and whose output is scaled back to unit variance.

    ``s = 1 + A x + a``, weights ``w'_oik = s_i w_oik / √(Σ_ik (s_i w_oik)² + 1e-8)``: modulation and demodulation of
    Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), eqs. 1 and 3. Scaling input and output
    instead of the weights is the same and keeps one convolution for the whole batch.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: Width of the kernel.
        demodulate: Whether the output is scaled back.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     layer = ModulatedConvolution(3, 5)
        >>> layer(torch.zeros(2, 3, 4, 4), torch.zeros(2, 512)).shape
        torch.Size([2, 5, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, demodulate: bool = True) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel * kernel) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.style = nn.Linear(LATENT_DIM, inputs)

    def forward(self, features: Tensor, x: Tensor) -> Tensor:
        """Map features ``(B, inputs, H, W)`` in the style of ``x`` ``(B, 512)`` to ``(B, outputs, H, W)``."""
        style = 1.0 + self.style(x)
        out = conv2d(features * style[:, :, None, None], self.weight, padding="same")
        if self.demodulate:
            power = style.square() @ self.weight.square().sum((2, 3)).T
            out = out * (power + 1e-8).rsqrt()[:, :, None, None]
        return out + self.bias[:, None, None]


class StyleGenerator(nn.Module):
    """A generator in the manner of StyleGAN2: a learned constant, then convolutions that ``x`` modulates.

    4x4, 8x8 and 16x16 pixels, bilinear upsampling between, leaky ReLU 0.2, pixels linear as in the paper, no noise inputs;
    the rows of a batch do not meet. ``x`` is the intermediate latent, W of the paper: the network that maps a code to it is
    used in training alone.

    Args:
        channels: Feature maps at 4x4, 8x8 and 16x16.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     generator = StyleGenerator()
        >>> generator(torch.zeros(5, 512)).shape
        torch.Size([5, 16, 16])
    """

    def __init__(self, channels: tuple[int, int, int] = (48, 32, 16)) -> None:
        super().__init__()
        coarse, middle, fine = channels
        self.constant = nn.Parameter(torch.randn(coarse, 4, 4))
        sizes = ((coarse, coarse), (coarse, middle), (middle, middle), (middle, fine), (fine, fine))
        self.layers = nn.ModuleList(ModulatedConvolution(inputs, outputs) for inputs, outputs in sizes)
        self.pixels = ModulatedConvolution(fine, 1, kernel=1, demodulate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(B, 512)`` to grey images, 0 black and 1 white, shape ``(B, 16, 16)``."""
        features = self.constant.expand(len(x), -1, -1, -1)
        for index, layer in enumerate(self.layers):
            if index in (1, 3):
                features = interpolate(features, scale_factor=2.0, mode="bilinear")
            features = leaky_relu(layer(features, x), 0.2)
        images: Tensor = self.pixels(features, x).squeeze(1)
        return images


def glyph_images() -> dict[str, Tensor]:
    """Return letters and numerals in fonts that come with matplotlib, rendered once and for all.

    Returns:
        For each of ``FONTS`` the images of a-z, A-Z, 0-9 in [0, 1], shape ``(62, 16, 16)``; white on black, capitals
        9.5 pixels high, centred from left to right, on a common baseline.

    Example:
        >>> {tuple(images.shape) for images in glyph_images().values()}
        {(62, 16, 16)}
    """
    stored = load(resources.files("landscape_opt.problems").joinpath(_GLYPHS).read_bytes())
    return {font: stored[font].to(torch.float32) / 255.0 for font in FONTS}


def shifted(images: Tensor) -> Tensor:
    """Return every image ``(N, 16, 16)`` moved by -1, 0 and 1 pixels along both axes, ``(N, 9, 16, 16)``.

    Example:
        >>> shifted(torch.eye(16)[None])[0, 4].equal(torch.eye(16))
        True
    """
    wide = pad(images, (1, 1, 1, 1))
    places = [(down, right) for down in range(3) for right in range(3)]
    return torch.stack([wide[:, down : down + SIZE, right : right + SIZE] for down, right in places], dim=1)


def style(seed: int = 0) -> Problem:
    """Find the latent vector of 512 numbers whose generated image is a letter in a font never seen.

    ``F`` is a :class:`StyleGenerator` with frozen weights (``examples/train_glyph_generator.py`` made them from the
    glyphs of eight fonts), the loss is half the sum of squared differences of the 256 pixels, and the start is
    ``x = 0``, the mean latent of the training images. ``x`` is scaled so that those have unit variance.

    The targets are real images, in which the generator took no part. It has 192 styles for 256 pixels, so that it reaches
    them closely, not exactly. Half hidden, they are an inpainting; the metric counts the hidden pixels, the loss does not.
    One evaluation of ``F`` for one row takes about 0.2 ms on one thread.

    Args:
        seed: Which shifts of which glyphs are targets, and which halves are hidden. The fonts of each split are fixed,
            because the generator has seen the train images. The global random state is not touched.

    Returns:
        The problem with ``x`` of shape ``(512,)`` and targets of shape ``(16, 16)``: all shifts of the train fonts
        (at least 4096), 256 validation and 512 test targets.

    Example:
        >>> problem = style()
        >>> x = problem.x_init.expand(512, 512)
        >>> problem.loss_fn(problem.forward_model(x), problem.test).shape
        torch.Size([512])
    """
    generator = torch.Generator().manual_seed(seed)
    glyphs = glyph_images()
    train, validation, test, unfamiliar = (
        _drawn(torch.cat([glyphs[font] for font in fonts]), count, generator)
        for fonts, count in ((TRAIN_FONTS, None), (VALIDATION_FONTS, _VALIDATION), (TEST_FONTS, _TEST), (TEST_FONTS, _TEST))
    )
    return Problem(
        name="style",
        forward_model=_load_generator(),
        loss_fn=LeastSquares(pixel_differences),
        x_init=torch.zeros(LATENT_DIM),
        train=train,
        validation=validation,
        test=test,
        hard_because="At the mean latent the Jacobian has 192 singular values from 0.8 to 4e-4 and 320 zeros, and there are "
        "local minima: after 300 evaluations of L-BFGS a quarter of the targets are at twice what another start reaches.",
        partly=TargetSet(
            targets=test,
            observed=_one_half(_TEST, generator),
            described_as="the left, right, upper or lower half of the pixels hidden",
        ),
        unfamiliar=TargetSet(
            targets=unfamiliar.rot90(1, (1, 2)).contiguous(),
            described_as="letters turned by a quarter; the fit has seen upright ones only",
        ),
        metric=Metric(name="PSNR", unit="dB", of=psnr),
    )


def pixel_differences(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the residuals ``prediction - target`` of every pixel; ``(B, 16, 16)`` twice to ``(B, 16, 16)``.

    Example:
        >>> pixel_differences(torch.ones(2, 16, 16), torch.zeros(2, 16, 16)).shape
        torch.Size([2, 16, 16])
    """
    return prediction - target


def _drawn(images: Tensor, count: int | None, generator: torch.Generator) -> Tensor:
    """Distinct shifted images in random order; all where ``count`` is None."""
    # Some glyphs are the same image: l and I in a font without serifs.
    pool: Tensor = shifted(images).flatten(0, 1).unique(dim=0)
    return pool[torch.randperm(len(pool), generator=generator)[:count]]


def _one_half(count: int, generator: torch.Generator) -> Tensor:
    """Masks that are True on one half, a side drawn for every row, (count, 16, 16)."""
    first = torch.arange(SIZE) < SIZE // 2
    columns = first.expand(SIZE, SIZE)
    halves = torch.stack([columns, ~columns, columns.T, ~columns.T])
    sides = torch.randint(0, len(halves), (count,), generator=generator)
    return halves.index_select(0, sides)


def _load_generator() -> StyleGenerator:
    stored = load(resources.files("landscape_opt.problems").joinpath(_WEIGHTS).read_bytes())
    # Modules draw their initial weights from the global random state; on the meta device they draw nothing.
    with torch.device("meta"):
        generator = StyleGenerator()
    generator.load_state_dict({name: weight.to(torch.float32) for name, weight in stored.items()}, assign=True)
    # Channels last: a quarter of the time on a CPU.
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return generator.requires_grad_(False).eval()
