"""How good pictures are: errors of pixels, and what a network says that was never optimised."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...problems.metrics import decibels
from .classifier import JUDGE, GlyphClassifier, load_classifier


@dataclass(frozen=True)
class Quality:
    """Figures of every picture of a batch, hidden pixels included.

    Attributes:
        mse: Mean squared error of pixels in [0, 1], ``(B,)``; predictions are clipped.
        distance: Squared distance of the judge's features, ``(B,)``.
        identity: Whether the judge reads the same letter in both, ``(B,)`` of 0 and 1.
    """

    mse: Tensor = field(repr=False)
    distance: Tensor = field(repr=False)
    identity: Tensor = field(repr=False)

    @property
    def psnr(self) -> Tensor:
        """Peak signal-to-noise ratio in dB, ``(B,)``, at most 100."""
        return decibels(self.mse)


class Judge:
    """Compares pictures in [-1, 1].

    Args:
        classifier: Whose features and letters count; None takes the one that no loss knows.

    Example:
        >>> picture = torch.zeros(1, 3, 32, 32)
        >>> quality = Judge()(picture, picture)
        >>> float(quality.mse), float(quality.distance), float(quality.identity)
        (0.0, 0.0, 1.0)
    """

    def __init__(self, classifier: GlyphClassifier | None = None) -> None:
        self.classifier = load_classifier(JUDGE) if classifier is None else classifier

    @torch.no_grad()
    def __call__(self, images: Tensor, targets: Tensor) -> Quality:
        """The figures of pictures against their targets, both ``(B, 3, 32, 32)``."""
        images = images.clamp(-1.0, 1.0)
        off = self.classifier.features(images) - self.classifier.features(targets)
        same = self.classifier(images).argmax(1) == self.classifier(targets).argmax(1)
        mse = ((images - targets) / 2.0).square().flatten(1).mean(1)
        return Quality(mse, off.flatten(1).square().sum(1), same.to(images))
