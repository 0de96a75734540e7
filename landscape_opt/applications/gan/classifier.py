"""Small classifiers of letters: the features of one are the perceptual distance, the other judges."""

from __future__ import annotations

from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn

PERCEPTUAL, JUDGE = "perceptual.safetensors", "judge.safetensors"
NUM_CLASSES = 62


class GlyphFeatures(nn.Module):
    """The last feature maps of a classifier: what pictures are compared by.

    Args:
        channels: Feature maps of the three layers, each at half the size of the one before.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     features = GlyphFeatures((4, 4, 6))
        >>> features(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 6, 4, 4])
    """

    level: Tensor

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.layers = nn.Sequential(
            nn.Conv2d(3, first, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(first, second, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(second, third, 4, stride=2, padding=1),
        )
        self.register_buffer("level", torch.ones(third, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """The maps ``(B, third, 4, 4)``, scaled so that a squared distance is a mean, in units of their spread."""
        maps: Tensor = self.layers(images)
        scaled: Tensor = maps / (self.level * maps[0].numel() ** 0.5)
        return scaled

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """Take the spread of every map over these pictures for its unit."""
        self.level.copy_(self.layers(images).std((0, 2, 3), keepdim=True)[0])


class GlyphClassifier(nn.Module):
    """Which letter or numeral a picture shows.

    Args:
        channels: Feature maps of the three layers.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     classifier = GlyphClassifier((4, 4, 6))
        >>> classifier(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 62])
    """

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.features = GlyphFeatures(channels)
        self.last = nn.Linear(channels[2] * 16, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, ``(B, 62)``, of pictures ``(B, 3, 32, 32)`` in [-1, 1]."""
        logits: Tensor = self.last(torch.relu(self.features.layers(images)).flatten(1))
        return logits


CLASSIFIER_CHANNELS = {PERCEPTUAL: (16, 32, 64), JUDGE: (24, 48, 96)}


def load_classifier(name: str = PERCEPTUAL) -> GlyphClassifier:
    """Return one of the two classifiers that ``examples/train_style_generator.py`` made, its weights frozen.

    Args:
        name: ``PERCEPTUAL``, whose features are optimised, or ``JUDGE``, which only judges.

    Raises:
        ValueError: for another name.

    Example:
        >>> load_classifier()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 62])
    """
    if name not in CLASSIFIER_CHANNELS:
        raise ValueError(f"there is no classifier {name!r}; choose from {', '.join(CLASSIFIER_CHANNELS)}")
    stored = load(resources.files(__package__).joinpath(name).read_bytes())
    with torch.device("meta"):
        classifier = GlyphClassifier(CLASSIFIER_CHANNELS[name])
    classifier.load_state_dict({key: weight.to(torch.float32) for key, weight in stored.items()}, assign=True)
    return classifier.requires_grad_(False).eval()
