"""A classifier of digits, attacks on it, and an encoder that never saw a label: what the attack problem is made of."""

from __future__ import annotations

import random
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu

EMBEDDING_DIM = 32
ATTACK_RADIUS = 0.15
EUCLIDEAN_RADIUS = 1.0
_STEPS = 10
_TRAIN, _TEST = 1024, 512
_SPLIT_SEED = 2021
_WEIGHTS = "digits_defence.safetensors"


class DigitsNetwork(nn.Module):
    """Two convolutions and three dense layers: the classifier of 8x8 digits, and the encoder.

    Args:
        outputs: Logits, or numbers of an embedding.
        channels: Feature maps at 8x8; twice as many at 4x4.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     classifier = DigitsNetwork(outputs=10)
        >>> classifier(torch.zeros(5, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(self, outputs: int, channels: int = 20) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, channels, 3, padding=1)
        self.coarse = nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1)
        self.features = nn.Linear(2 * channels * 4 * 4, 64)
        self.hidden = nn.Linear(64, 64)
        self.out = nn.Linear(64, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 8, 8)``, 0 black and 1 white, to ``(B, outputs)``."""
        maps = silu(self.coarse(silu(self.fine(images[:, None] * 2.0 - 1.0))))
        out: Tensor = self.out(silu(self.hidden(silu(self.features(maps.flatten(1))))))
        return out


def labelled_digits() -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the digits of scikit-learn, split once and for all.

    Returns:
        1024 train, 261 validation and 512 test pairs of images ``(N, 8, 8)`` in [0, 1] and labels ``(N,)``. Classifier and
        encoder have been trained on the train images alone.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> [len(labels) for images, labels in labelled_digits()]
        [1024, 261, 512]
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import,unused-ignore]
    except ImportError as error:
        raise ImportError(
            "The attack problem takes its images from scikit-learn, which is not installed: "
            'pip install "landscape_opt[examples]"'
        ) from error
    digits = load_digits()
    images, labels = torch.as_tensor(digits.images, dtype=torch.float32) / 16.0, torch.as_tensor(digits.target).long()
    # Python promises the sequence of random() across versions: another split would test on trained images.
    source = random.Random(_SPLIT_SEED)
    keys = [source.random() for _ in range(len(images))]
    order = torch.tensor(sorted(range(len(images)), key=keys.__getitem__))
    return tuple((images[part], labels[part]) for part in (order[:_TRAIN], order[_TRAIN:-_TEST], order[-_TEST:]))


def attacked(
    classifier: DigitsNetwork, images: Tensor, labels: Tensor, generator: torch.Generator, *, euclidean: bool = False
) -> Tensor:
    """Return images near the given ones that the classifier gets wrong; ``(N, 8, 8)`` to ``(N, 8, 8)``.

    Projected gradient ascent on the cross-entropy from a random start, Madry et al., "Towards Deep Learning Models Resistant
    to Adversarial Attacks" (2018): ten steps of a quarter of the radius, each pixel kept in [0, 1].

    Args:
        classifier: Maps ``(N, 8, 8)`` to logits ``(N, 10)``.
        images: In [0, 1].
        labels: Of the images, ``(N,)``.
        generator: Draws the starts.
        euclidean: A change of at most 1 in the Euclidean norm of the image, instead of at most 0.15 in every pixel.
    """

    def within(change: Tensor) -> Tensor:
        if euclidean:
            change = change * (EUCLIDEAN_RADIUS / _norms(change)).clamp_max(1.0)
        else:
            change = change.clamp(-ATTACK_RADIUS, ATTACK_RADIUS)
        return (images + change).clamp(0.0, 1.0) - images

    step = 0.25 * (EUCLIDEAN_RADIUS if euclidean else ATTACK_RADIUS)
    change = within(ATTACK_RADIUS * (2.0 * torch.rand(images.shape, generator=generator) - 1.0))
    for _ in range(_STEPS):
        leaf = (images + change).requires_grad_(True)
        (slope,) = torch.autograd.grad(cross_entropy(classifier(leaf), labels, reduction="sum"), leaf)
        change = within(change + step * (slope / _norms(slope) if euclidean else slope.sign()))
    return images + change


def distinct(targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the rows with one of each ``"image"``: attacks may end in one corner of the box, wherever they began.

    Example:
        >>> distinct({"image": torch.zeros(3, 8, 8), "label": torch.arange(3)})["label"]
        tensor([0])
    """
    _, group = targets["image"].flatten(1).unique(dim=0, return_inverse=True)
    rows = torch.arange(len(group))
    first = torch.full_like(rows, len(rows)).scatter_reduce(0, group, rows, "amin")[group]
    return {name: part[rows == first] for name, part in targets.items()}


def load_defence() -> tuple[DigitsNetwork, DigitsNetwork]:
    """Return the frozen classifier and the frozen encoder.

    Example:
        >>> classifier, encoder = load_defence()
        >>> classifier(torch.zeros(1, 8, 8)).shape, encoder(torch.zeros(1, 8, 8)).shape
        (torch.Size([1, 10]), torch.Size([1, 32]))
    """
    stored = load(resources.files("landscape_opt.problems").joinpath(_WEIGHTS).read_bytes())
    # Modules draw their initial weights from the global random state; on the meta device they draw nothing.
    with torch.device("meta"):
        networks = nn.ModuleDict({"classifier": DigitsNetwork(10), "encoder": DigitsNetwork(EMBEDDING_DIM)})
    networks.load_state_dict({name: weight.to(torch.float32) for name, weight in stored.items()}, assign=True)
    classifier, encoder = networks.requires_grad_(False).eval().values()
    assert isinstance(classifier, DigitsNetwork)
    assert isinstance(encoder, DigitsNetwork)
    return classifier, encoder


def _norms(images: Tensor) -> Tensor:
    norms: Tensor = images.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
    return norms
