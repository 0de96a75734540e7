"""What an attacker differentiates: the classifier alone, or the whole defence, in one of several ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from .reversal import Reversal

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(logits ``(B, K)``, labels ``(B,)``) → ``(B,)``; the higher, the nearer to a wrong class."""


@dataclass(frozen=True, eq=False)
class Slope:
    """What one look at a victim shows.

    Attributes:
        loss: of the attacker, ``(B,)``.
        gradient: of the loss in the images, ``(B, …)``.
        right: rows that are still classified as labelled, ``(B,)``.
    """

    loss: Tensor = field(repr=False)
    gradient: Tensor = field(repr=False)
    right: Tensor = field(repr=False)


class Victim(ABC):
    """A way to differentiate a classifier, defended or not. Its values are those of what is attacked.

    Attributes:
        through: the defence that gradients take account of; None is the classifier alone.
        averages: whether a slope is an expectation over the defence's randomness.
    """

    through: Reversal | None = None
    averages = False

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of images ``(B, …)``, differentiable in them."""

    def slope(self, images: Tensor, labels: Tensor, loss: Loss) -> Slope:
        """The attacker's loss and its gradient, row by row."""
        at = images.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self.logits(at)
            losses = loss(logits, labels)
            (gradient,) = torch.autograd.grad(losses.sum(), at)
        return Slope(losses.detach(), gradient.nan_to_num(0.0, 0.0, 0.0), logits.detach().argmax(1) == labels)


class Undefended(Victim):
    """The classifier alone: an attacker who knows of no defence.

    Args:
        classifier: Images to logits.

    Example:
        >>> Undefended(nn.Flatten()).logits(torch.zeros(3, 2, 2)).shape
        torch.Size([3, 4])
    """

    def __init__(self, classifier: nn.Module) -> None:
        self.classifier = classifier

    def logits(self, images: Tensor) -> Tensor:
        """Logits of the images as they are."""
        logits: Tensor = self.classifier(images)
        return logits


class _Through(Victim):
    """A defence and the classifier behind it."""

    def __init__(self, reversal: Reversal) -> None:
        self.through = self.reversal = reversal


class StraightThrough(_Through):
    """BPDA: the defence forwards, the identity in place of the correction backwards.

    Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False Sense of Security" (ICML 2018). A correction is small, so
    ∂corrected/∂image ≈ 1.

    Args:
        reversal: The defence.

    Example:
        >>> from landscape_opt.applications.defence import Reversal, Supervision
        >>> images = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> supervision = Supervision.contrastive(nn.Flatten(), negatives=images)
        >>> reversal = Reversal(nn.Flatten(), supervision.inverter(), num_steps=2)
        >>> StraightThrough(reversal).logits(images).shape
        torch.Size([4, 64])
    """

    def logits(self, images: Tensor) -> Tensor:
        """Logits of the corrected images, as if the correction were a constant."""
        change = self.reversal.correct(images).images - images.detach()
        logits: Tensor = self.reversal.classifier(images + change)
        return logits


class Unrolled(_Through):
    """The gradient through every step of the reversal, second derivatives of the encoder included.

    Args:
        reversal: The defence.

    Example:
        >>> from landscape_opt.applications.defence import Reversal, Supervision
        >>> images = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> supervision = Supervision.contrastive(nn.Flatten(), negatives=images)
        >>> reversal = Reversal(nn.Flatten(), supervision.inverter(), num_steps=2)
        >>> Unrolled(reversal).logits(images).shape
        torch.Size([4, 64])
    """

    def logits(self, images: Tensor) -> Tensor:
        """Logits of the corrected images: the defence's values, with the gradient of the unrolled descent."""
        with torch.no_grad():
            value = self.reversal.correct(images).images
        corrected = self.reversal.unrolled(images)
        logits: Tensor = self.reversal.classifier(corrected + (value - corrected).detach())
        return logits


class Expectation(Victim):
    """The mean over several calls of a defence with randomness, of losses and of gradients (Athalye et al., 2018).

    A row counts as right while the mean probability of its class is the highest.

    Args:
        victim: What is called.
        num_draws: Calls.

    Raises:
        ValueError: if ``num_draws`` is below 1.

    Example:
        >>> Expectation(Undefended(nn.Flatten()), num_draws=2).logits(torch.zeros(3, 2, 2)).shape
        torch.Size([3, 4])
    """

    averages = True

    def __init__(self, victim: Victim, num_draws: int = 8) -> None:
        if num_draws < 1:
            raise ValueError(f"num_draws must be at least 1, got {num_draws}")
        self.through, self.victim, self.num_draws = victim.through, victim, num_draws

    def logits(self, images: Tensor) -> Tensor:
        """Logarithms of the mean probabilities."""
        draws = torch.stack([self.victim.logits(images).log_softmax(1) for _ in range(self.num_draws)])
        return draws.exp().mean(0).log()

    def slope(self, images: Tensor, labels: Tensor, loss: Loss) -> Slope:
        """The mean of the slopes."""
        likely, losses, gradients = [], [], []
        for _ in range(self.num_draws):
            leaf = images.detach().requires_grad_(True)
            with torch.enable_grad():
                logits = self.victim.logits(leaf)
                values = loss(logits, labels)
                (gradient,) = torch.autograd.grad(values.sum(), leaf)
            likely.append(logits.detach().softmax(1))
            losses.append(values.detach())
            gradients.append(gradient.nan_to_num(0.0, 0.0, 0.0))
        right = torch.stack(likely).mean(0).argmax(1) == labels
        return Slope(torch.stack(losses).mean(0), torch.stack(gradients).mean(0), right)
