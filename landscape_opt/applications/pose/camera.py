"""A pinhole camera that stands anywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...problems.camera import rotation_matrix

NEAREST = 0.2
"""Depth in m: what is nearer to the camera, or behind it, is projected as if it were here."""


class PinholeCamera(nn.Module):
    """Points in m to pixels: ``f (X, Y) / Z + c`` with ``(X, Y, Z) = R p + t``.

    Args:
        focal_length: f in pixels.
        centre: c, where the optical axis meets the image, in pixels.
        rotation: R, (3, 3); None is the frame in which bodies are given.
        translation: t in m, (3,).

    Raises:
        ValueError: if ``focal_length`` is not positive.

    Example:
        >>> PinholeCamera()(torch.tensor([[[0.2, 0.0, 2.0]]]))
        tensor([[[600., 500.]]])
    """

    centre: Tensor
    rotation: Tensor
    translation: Tensor

    def __init__(
        self,
        focal_length: float = 1000.0,
        centre: tuple[float, float] = (500.0, 500.0),
        rotation: Tensor | None = None,
        translation: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not focal_length > 0:
            raise ValueError(f"focal_length must be positive, in pixels, got {focal_length}")
        self.focal_length = focal_length
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("rotation", torch.eye(3) if rotation is None else rotation.clone())
        self.register_buffer("translation", torch.zeros(3) if translation is None else translation.clone())

    @classmethod
    def from_the_side(cls, degrees: float, distance: float) -> PinholeCamera:
        """A camera that looks at the point so many metres before the first one, from that angle about the vertical."""
        turn = rotation_matrix(torch.tensor([[0.0, math.radians(degrees), 0.0]]))[0]
        middle = torch.tensor([0.0, 0.0, distance])
        return cls(rotation=turn, translation=middle - turn @ middle)

    def forward(self, points: Tensor) -> Tensor:
        """Pixels of points, (B, N, 3) to (B, N, 2)."""
        seen = points @ self.rotation.T + self.translation
        return self.focal_length * seen[..., :2] / seen[..., 2:].clamp_min(NEAREST) + self.centre
