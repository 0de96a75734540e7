"""Reversal of adversarial attacks on a digits classifier, by a loss that knows nothing of the classes."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .digits_defence import EMBEDDING_DIM, DigitsNetwork, attacked, distinct, labelled_digits, load_defence
from .problem import Metric, Problem, TargetSet
from .views import View, view_matrix

Attacked: TypeAlias = dict[str, Tensor]
SIDE = 8
MAX_CORRECTION = 0.25
VIEW_NOISE = 0.3
TEMPERATURE = 1.0
NUM_NEGATIVES = 256
_TRAIN_STARTS = 3
_NUM_DEAD = 16
_FIXED_SEED = 2021
_VIEWS = (
    View(15.0, 1.0, 0.0, 1.0),
    View(-15.0, -1.0, 0.0, 1.0),
    View(15.0, 0.0, 1.0, 0.9),
    View(-15.0, 0.0, -1.0, 1.1),
    View(0.0, 0.7, 0.7, 1.0),
    View(0.0, -0.7, -0.7, 1.0),
    View(20.0, 0.0, 0.0, 1.0),
    View(-20.0, 0.0, 0.0, 1.0),
)


class CorrectedViews(nn.Module):
    """``F(x, image)``: unit embeddings of fixed views of the corrected image ``image + 0.25 sin(x)``.

    A view turns, shifts and scales the image with bilinear sampling, which is a matrix of 64x64, and adds noise that is the
    same at every call. The encoder was trained to ignore as much. Noise keeps a correction from suiting the encoder alone.

    Args:
        encoder: Maps ``(N, 8, 8)`` to ``(N, 32)``.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     views = CorrectedViews(DigitsNetwork(EMBEDDING_DIM))
        >>> views(torch.zeros(5, 8, 8), torch.ones(5, 8, 8)).shape
        torch.Size([5, 8, 32])
    """

    matrices: Tensor
    noise: Tensor

    def __init__(self, encoder: DigitsNetwork) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("matrices", view_matrices())
        fixed = torch.Generator().manual_seed(_FIXED_SEED)
        self.register_buffer("noise", VIEW_NOISE * torch.randn(len(_VIEWS), SIDE * SIDE, generator=fixed))

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Map ``x`` ``(B, 8, 8)`` and images ``(B, 8, 8)`` to embeddings ``(B, V, 32)``."""
        views = torch.einsum("bi,vio->bvo", corrected(x, image).flatten(1), self.matrices) + self.noise
        return embedded(self.encoder, views.reshape(-1, SIDE, SIDE)).reshape(len(x), -1, EMBEDDING_DIM)


class ContrastiveLoss(nn.Module):
    """How well the views of an image agree against fixed other images, one loss per row.

    The mean over ordered pairs of views ``i ≠ j`` of ``-log(e^{e_i·e_j/τ} / (e^{e_i·e_j/τ} + Σ_n e^{e_i·b_n/τ}))``, the loss
    of Chen et al., "A Simple Framework for Contrastive Learning" (2020), with a bank of embeddings ``b_n`` as negatives, so
    that no row meets another. ``τ = 1``. Measured from a lower bound, which does not depend on x: all views at the one
    embedding that is farthest from the bank. So it is positive, and 0 is not reached.

    Args:
        bank: Unit embeddings of the negatives, ``(N, 32)``.

    Example:
        >>> loss_fn = ContrastiveLoss(torch.eye(32))
        >>> same = torch.full((1, 8, 32), -(32**-0.5))
        >>> f"{loss_fn(same, {}).item():.4f}"
        '0.0000'
    """

    bank: Tensor
    bound: Tensor

    def __init__(self, bank: Tensor) -> None:
        super().__init__()
        self.register_buffer("bank", bank)
        self.register_buffer("bound", _lower_bound(bank))

    def forward(self, prediction: Tensor, target: Attacked) -> Tensor:
        """Map embeddings ``(B, V, 32)`` to losses ``(B,)``; the target, which F has been given, is not looked at."""
        agreement = prediction @ prediction.transpose(1, 2) / TEMPERATURE
        others = (prediction @ self.bank.T / TEMPERATURE).logsumexp(dim=2, keepdim=True)
        losses = torch.logaddexp(agreement, others) - agreement
        pairs = ~torch.eye(prediction.shape[1], dtype=torch.bool)
        return losses[:, pairs].mean(1) - self.bound


def corrected(x: Tensor, image: Tensor) -> Tensor:
    """Return ``image + 0.25 sin(x)``; ``(B, 8, 8)`` twice to ``(B, 8, 8)``.

    A correction is bounded in every pixel. The sine is how MINUIT bounds a parameter from both sides (James and Roos 1975):
    a minimum on the bound lies at a finite x with a curvature of its own, where tanh would send x to infinity.

    Example:
        >>> corrected(torch.full((1, 8, 8), torch.pi / 2), torch.zeros(1, 8, 8)).mean()
        tensor(0.2500)
    """
    return image + MAX_CORRECTION * torch.sin(x)


def embedded(encoder: DigitsNetwork, images: Tensor) -> Tensor:
    """Return the unit embeddings of images; ``(N, 8, 8)`` to ``(N, 32)``."""
    return normalize(encoder(images), dim=1)


def view_matrices() -> Tensor:
    """Return the views as matrices: ``image.flatten() @ matrix`` is the view; ``(V, 64, 64)``.

    Example:
        >>> view_matrices().shape
        torch.Size([8, 64, 64])
    """
    return torch.stack([view_matrix(view, SIDE, SIDE) for view in _VIEWS])


def attack(seed: int = 0) -> Problem:
    """Find the correction of an attacked image that makes its views agree again.

    Mao et al., "Adversarial Attacks are Reversible with Natural Supervision" (ICCV 2021): an attack on a classifier also
    disturbs what a self-supervised loss sees, and descent on that loss, without a label, undoes part of the harm. ``x`` is a
    correction of 64 pixels, ``F`` is told the attacked image and gives the embeddings of eight views of the corrected one
    (:class:`CorrectedViews`), the loss is :class:`ContrastiveLoss`, and the start, ``x = 0``, is no correction. Classifier
    and encoder are networks of their own (``examples/train_digits_defence.py`` made them); neither ``F`` nor the loss
    contains the classifier.

    A target is a dict: ``"image"``, attacked, ``(B, 8, 8)``, and ``"label"``, ``(B,)`` integers, which only the metric
    reads: the share of rows that the classifier gets right after the correction.

    Predictions are not of the shape of targets, so no mask fits: partly observed are images a quarter of whose pixels are
    dead (0) and not marked, ``observed`` is None. The unfamiliar attack is bounded in the Euclidean norm.
    One evaluation of ``F`` for one row takes about 0.3 ms on one thread.

    Args:
        seed: Random starts of the attacks, order and dead pixels. Which digit is in which split is fixed. The global random
            state is not touched.

    Returns:
        The problem with ``x`` of shape ``(8, 8)``; at least 2048 train targets (three attacks on each of 1024 digits, less
        those that are the same), 261 validation and 512 test targets.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> problem = attack()
        >>> x, images = problem.x_init.expand(512, 8, 8), problem.given(problem.test)
        >>> problem.loss_fn(problem.forward_model(x, images), problem.test).shape
        torch.Size([512])
    """
    generator = torch.Generator().manual_seed(seed)
    classifier, encoder = load_defence()
    splits = [_shuffled(*split, generator) for split in labelled_digits()]
    repeated = [torch.cat([part] * _TRAIN_STARTS) for part in splits[0]]
    train, validation, test = (
        {"image": attacked(classifier, images, labels, generator), "label": labels}
        for images, labels in (repeated, *splits[1:])
    )
    train = distinct(train)
    images, labels = splits[2]
    other = attacked(classifier, images, labels, generator, euclidean=True)
    dead = torch.rand(len(labels), SIDE * SIDE, generator=generator).argsort(dim=1) < _NUM_DEAD
    negatives = labelled_digits()[0][0][:NUM_NEGATIVES]
    return Problem(
        name="attack",
        forward_model=CorrectedViews(encoder).eval(),
        loss_fn=ContrastiveLoss(embedded(encoder, negatives)),
        x_init=torch.zeros(SIDE, SIDE),
        train=train,
        validation=validation,
        test=test,
        hard_because="The loss is not convex, at the start already, and L-BFGS from there ends in a poor local minimum for "
        "a fifth of the targets: more than 10 % above the best of six starts.",
        partly=TargetSet(
            targets={**test, "image": test["image"].masked_fill(dead.reshape(-1, SIDE, SIDE), 0.0)},
            described_as="a quarter of the pixels dead, which nobody is told",
        ),
        unfamiliar=TargetSet(
            targets={"image": other, "label": labels},
            described_as="an attack bounded in the Euclidean norm; that of the fit is bounded in every pixel",
        ),
        metric=Metric(name="accuracy", unit="%", of=Accuracy(classifier)),
        given=attacked_image,
    )


class Accuracy(nn.Module):
    """100 for every row that the classifier gets right after the correction, 0 for the others.

    Args:
        classifier: Maps ``(B, 8, 8)`` to logits ``(B, 10)``.
    """

    def __init__(self, classifier: DigitsNetwork) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor, prediction: Tensor, target: Attacked) -> Tensor:
        """Map ``x`` ``(B, 8, 8)`` and the targets to percentages ``(B,)``."""
        with torch.no_grad():
            classes = self.classifier(corrected(x, target["image"])).argmax(1)
        right: Tensor = classes == target["label"]
        return 100.0 * right.float()


def attacked_image(target: Attacked) -> Tensor:
    """What ``F`` is told of a target: its image, ``(B, 8, 8)``."""
    return target["image"]


def _lower_bound(bank: Tensor) -> Tensor:
    """min over ‖p‖ ≤ 1 of log(1 + Σ_n e^{(p·b_n - 1)/τ}), a convex problem, by projected gradient steps."""
    negatives = bank.double()
    p = torch.zeros_like(negatives[0])
    for _ in range(500):
        p = p - TEMPERATURE * (negatives @ p / TEMPERATURE).softmax(0) @ negatives
        p = p / p.norm().clamp_min(1.0)
    others = (negatives @ p / TEMPERATURE).logsumexp(0)
    bound: Tensor = torch.log1p((others - 1.0 / TEMPERATURE).exp()).to(bank.dtype)
    return bound


def _shuffled(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(images), generator=generator)
    return images[order], labels[order]
