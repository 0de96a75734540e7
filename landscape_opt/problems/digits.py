"""Inversion of a small adversarially trained generator of 8x8 handwritten digits."""

from __future__ import annotations

import random
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from landscape_opt.problems.metrics import psnr
from landscape_opt.problems.problem import Metric, Problem, TargetSet

LATENT_DIM = 32
_TRAIN, _TEST = 1024, 512
_SPLIT_SEED = 2206
_WEIGHTS = "digits_generator.safetensors"


class DigitsGenerator(nn.Module):
    """A convolutional generator of 8x8 grey images of digits.

    Two dense layers to a 4x4 feature map, a convolution, bilinear upsampling to 8x8, two convolutions. It
    has no batch statistics, so rows of a batch do not meet.

    Args:
        hidden: Width of the dense layer.
        channels: Number of feature maps.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     generator = DigitsGenerator()
        >>> generator(torch.zeros(5, 32)).shape
        torch.Size([5, 8, 8])
    """

    def __init__(self, hidden: int = 128, channels: int = 48) -> None:
        super().__init__()
        self.channels = channels
        self.dense = nn.Linear(LATENT_DIM, hidden)
        self.features = nn.Linear(hidden, channels * 4 * 4)
        self.coarse = nn.Conv2d(channels, channels, 3, padding=1)
        self.fine = nn.Conv2d(channels, channels, 3, padding=1)
        self.pixels = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map latent vectors ``x`` of shape ``(B, 32)`` to images in [0, 1], shape ``(B, 8, 8)``."""
        features = leaky_relu(self.dense(x), 0.2)
        features = leaky_relu(self.features(features), 0.2).reshape(len(x), self.channels, 4, 4)
        features = leaky_relu(self.coarse(features), 0.2)
        features = interpolate(features, scale_factor=2.0, mode="bilinear")
        features = leaky_relu(self.fine(features), 0.2)
        return torch.sigmoid(self.pixels(features).squeeze(1))


def squared_pixel_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the sum of squared pixel differences of each image; ``(B, 8, 8)`` twice to ``(B,)``.

    Example:
        >>> squared_pixel_distance(torch.ones(2, 8, 8), torch.zeros(2, 8, 8))
        tensor([64., 64.])
    """
    return (prediction - target).square().flatten(1).sum(dim=1)


def digit_images() -> tuple[Tensor, Tensor, Tensor]:
    """Return the real digits of scikit-learn, split once and for all.

    Returns:
        Train ``(1024, 8, 8)``, validation ``(261, 8, 8)`` and test ``(512, 8, 8)`` images in [0, 1].
        The generator has been trained on the train images alone.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> [len(images) for images in digit_images()]
        [1024, 261, 512]
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import,unused-ignore]
    except ImportError as error:
        raise ImportError(
            "The digits problem takes its images from scikit-learn, which is not installed: "
            'pip install "landscape_opt[examples]"'
        ) from error
    images = torch.as_tensor(load_digits().images, dtype=torch.float32) / 16.0
    # Python promises the sequence of random() across versions; torch.randperm promises nothing, and
    # another split would put images that the generator has seen among the test targets.
    source = random.Random(_SPLIT_SEED)
    keys = [source.random() for _ in range(len(images))]
    order = torch.tensor(sorted(range(len(images)), key=keys.__getitem__))
    return images[order[:_TRAIN]], images[order[_TRAIN:-_TEST]], images[order[-_TEST:]]


def digits(seed: int = 0) -> Problem:
    """Find the latent vector whose generated image is a given real, held-out digit.

    ``F`` is an adversarially trained :class:`DigitsGenerator` with frozen weights
    (``examples/train_digits_generator.py`` made them), the loss is the sum of squared differences over
    the 64 pixels, and the start is ``x = 0``, the mean of the prior ``N(0, I)`` over latent vectors.

    In ``partly`` every pixel is lost with probability one half, others for every target; those of ``unfamiliar`` are
    the test images seen in a mirror.

    Args:
        seed: Order of the targets inside each split. Which image is in which split is fixed, because
            the generator has seen the train images. The global random state is not touched.

    Returns:
        The problem with ``x`` has shape ``(32,)``, targets have shape ``(8, 8)``; 1024 train, 261 validation
        and 512 test targets.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> problem = digits()
        >>> x = problem.x_init.expand(512, 32)
        >>> problem.loss_fn(problem.forward_model(x), problem.test).shape
        torch.Size([512])
    """
    order = torch.Generator().manual_seed(seed)
    train, validation, test = (images[torch.randperm(len(images), generator=order)] for images in digit_images())
    observed = torch.rand(test.shape, generator=order) < 0.5
    return Problem(
        name="digits",
        forward_model=_load_generator(),
        loss_fn=squared_pixel_distance,
        x_init=torch.zeros(LATENT_DIM, dtype=torch.float32),
        train=train,
        validation=validation,
        test=test,
        hard_because="The generator is far from linear, so descent from the prior mean stalls on plateaus "
        "and in local minima that another start avoids.",
        partly=TargetSet(targets=test, observed=observed, described_as="half of the pixels at random"),
        unfamiliar=TargetSet(targets=test.flip(-1), described_as="the images are mirrored"),
        metric=Metric(name="PSNR", unit="dB", of=psnr),
    )


def _load_generator() -> DigitsGenerator:
    stored = load(resources.files("landscape_opt.problems").joinpath(_WEIGHTS).read_bytes())
    # Modules draw their initial weights from the global random state; on the meta device they draw nothing.
    with torch.device("meta"):
        generator = DigitsGenerator()
    weights = {name: weight.to(torch.float32) for name, weight in stored.items()}
    generator.load_state_dict(weights, assign=True)
    # Channels last: the convolutions of so small an image take two thirds of the time on a CPU.
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return generator.requires_grad_(False).eval()
