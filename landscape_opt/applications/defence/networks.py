"""The trained networks of the two image sets: a classifier, one that was trained on attacks, and an encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn

from ...problems.digits_defence import EMBEDDING_DIM, DigitsNetwork, load_defence
from .images import SIDE

CHANNELS = 10
HIDDEN = 128


def encoder_of(num_pixels: int) -> nn.Sequential:
    """An encoder with random weights: images ``(B, …)`` of so many pixels to ``(B, 32)`` by three dense layers.

    Reversal calls it at every step and for every view: at 8x8 pixels, dense layers cost a tenth of small convolutions.
    """
    layers = [nn.Linear(num_pixels, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()]
    return nn.Sequential(Centred(), *layers, nn.Linear(HIDDEN, EMBEDDING_DIM))


class Centred(nn.Module):
    """Pixels in a row, from [0, 1] to [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, …)`` to ``(B, D)``."""
        return 2.0 * images.flatten(1) - 1.0


@dataclass(frozen=True, eq=False)
class Networks:
    """Three frozen networks that share no weight.

    Attributes:
        standard: classifier, images ``(B, 8, 8)`` to logits ``(B, classes)``; nothing makes it robust.
        robust: classifier, trained on attacked images.
        encoder: ``(B, 8, 8)`` to ``(B, 32)``; it never saw a label.
    """

    standard: nn.Module = field(repr=False)
    robust: nn.Module = field(repr=False)
    encoder: nn.Module = field(repr=False)


def digit_networks() -> Networks:
    """Networks for :func:`~landscape_opt.applications.defence.digit_images`.

    Example:
        >>> digit_networks().robust(torch.zeros(1, 8, 8)).shape
        torch.Size([1, 10])
    """
    found = _loaded("digits", {"robust": 10})
    return Networks(load_defence()[0], found["robust"], found["encoder"])


def letter_networks() -> Networks:
    """Networks for :func:`~landscape_opt.applications.defence.letter_images`.

    Example:
        >>> letter_networks().standard(torch.zeros(1, 8, 8)).shape
        torch.Size([1, 12])
    """
    found = _loaded("letters", {"standard": 12, "robust": 12})
    return Networks(found["standard"], found["robust"], found["encoder"])


def _loaded(name: str, classes: dict[str, int]) -> nn.ModuleDict:
    """Classifiers with so many classes, and the encoder, from the file of this name."""
    stored = load(resources.files(__package__).joinpath(f"{name}.safetensors").read_bytes())
    # Modules draw their initial weights from the global random state; on the meta device they draw nothing.
    with torch.device("meta"):
        networks = nn.ModuleDict({role: DigitsNetwork(count, CHANNELS) for role, count in classes.items()})
        networks["encoder"] = encoder_of(SIDE * SIDE)
    networks.load_state_dict({key: weight.to(torch.float32) for key, weight in stored.items()}, assign=True)
    return networks.requires_grad_(False).eval()
