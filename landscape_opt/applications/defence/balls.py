"""How far an attacker may go: bounds on the change of an image, whose pixels stay in [0, 1]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-12


@dataclass(frozen=True)
class Ball(ABC):
    """All images within a radius of an image.

    Attributes:
        radius: in units of a pixel.
    """

    radius: float

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"an attacker's radius must be positive, got {self.radius}")

    def project(self, attacked: Tensor, images: Tensor) -> Tensor:
        """The nearest allowed images, or allowed ones nearby; ``(B, …)`` twice to ``(B, …)``."""
        return images + self._bounded((images + self._bounded(attacked - images)).clamp(0.0, 1.0) - images)

    def drawn(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A random allowed start for every image."""
        noise = 2.0 * torch.rand(images.shape, generator=generator, dtype=images.dtype).to(images.device) - 1.0
        return self.project(images + self.radius * noise, images)

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of unit length in this norm that ascends most, ``(B, …)``."""

    @abstractmethod
    def distance(self, change: Tensor) -> Tensor:
        """The norm of every change, ``(B,)``."""

    @abstractmethod
    def _bounded(self, change: Tensor) -> Tensor:
        """The change, brought back within the radius."""


@dataclass(frozen=True)
class LInf(Ball):
    """A change of at most ``radius`` in every pixel.

    Example:
        >>> LInf(0.1).project(torch.tensor([[0.9, 0.0]]), torch.tensor([[0.5, 0.05]]))
        tensor([[0.6000, 0.0000]])
    """

    def steepest(self, gradient: Tensor) -> Tensor:
        """The signs."""
        return gradient.sign()

    def distance(self, change: Tensor) -> Tensor:
        """The largest change of a pixel."""
        return change.flatten(1).abs().amax(1)

    def _bounded(self, change: Tensor) -> Tensor:
        return change.clamp(-self.radius, self.radius)


@dataclass(frozen=True)
class L2(Ball):
    """A change of at most ``radius`` in the Euclidean norm of the image.

    Example:
        >>> L2(0.5).project(torch.tensor([[0.3, 0.4]]), torch.zeros(1, 2))
        tensor([[0.3000, 0.4000]])
    """

    def steepest(self, gradient: Tensor) -> Tensor:
        """The gradient, of length 1."""
        return gradient / _norms(gradient)

    def distance(self, change: Tensor) -> Tensor:
        """The Euclidean norm."""
        norms: Tensor = change.flatten(1).norm(dim=1)
        return norms

    def _bounded(self, change: Tensor) -> Tensor:
        bounded: Tensor = change * (self.radius / _norms(change)).clamp_max(1.0)
        return bounded


def _norms(images: Tensor) -> Tensor:
    norms: Tensor = images.flatten(1).norm(dim=1).clamp_min(_TINY)
    return norms.reshape(-1, *[1] * (images.dim() - 1))
