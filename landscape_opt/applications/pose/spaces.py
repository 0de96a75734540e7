"""What the numbers of a pose mean: angles within their limits, or the latent code of a learned prior."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from .body import BodyModel
from .mixture import PoseMixture

_LOOSE = 1.0  # rad; standard deviation of an angle where there is no mixture


class PoseSpace(nn.Module):
    """Numbers to angles, and what a prior thinks of them.

    Attributes:
        start: where plain descent begins, (d,).
    """

    start: Tensor

    @abstractmethod
    def angles(self, numbers: Tensor) -> Tensor:
        """Rotation vectors in rad, (B, d) to (B, N, 3)."""

    @abstractmethod
    def residuals(self, numbers: Tensor, angles: Tensor) -> Tensor:
        """What is squared and halved for the prior, (B, R), of numbers (B, d) and their angles (B, N, 3)."""


class LimitedAngles(PoseSpace):
    """``middle + half_range · sin(x)``: no number leaves the range of motion.

    Args:
        body: whose ranges are kept.
        mixture: prior of the angles; None takes a normal one about the start, with a standard deviation of 1 rad.

    Raises:
        ValueError: if the mixture is of another number of angles.

    Example:
        >>> from landscape_opt.applications.pose import SkinnedBody
        >>> LimitedAngles(SkinnedBody()).angles(torch.zeros(2, 48)).shape
        torch.Size([2, 16, 3])
    """

    middle: Tensor
    half_range: Tensor

    def __init__(self, body: BodyModel, mixture: PoseMixture | None = None) -> None:
        super().__init__()
        if mixture is not None and mixture.means.shape[1] != body.lower.numel():
            raise ValueError(f"the mixture is of {mixture.means.shape[1]} angles, the body has {body.lower.numel()}")
        self.mixture = mixture
        self.register_buffer("middle", (body.lower + body.upper) / 2)
        self.register_buffer("half_range", (body.upper - body.lower) / 2)
        usual = torch.zeros_like(self.middle) if mixture is None else mixture.most_usual.reshape(self.middle.shape)
        self.register_buffer("start", self.numbers(usual[None])[0])

    def angles(self, numbers: Tensor) -> Tensor:
        """Within the limits, whatever the numbers."""
        angles: Tensor = self.middle + self.half_range * numbers.unflatten(1, self.middle.shape).sin()
        return angles

    def numbers(self, angles: Tensor) -> Tensor:
        """The numbers of angles (B, N, 3), those beyond the limits taken to them; (B, 3 N)."""
        numbers: Tensor = ((angles - self.middle) / self.half_range).clamp(-0.999, 0.999).asin().flatten(1)
        return numbers

    def residuals(self, numbers: Tensor, angles: Tensor) -> Tensor:
        """Those of the mixture."""
        if self.mixture is None:
            return numbers / _LOOSE
        return self.mixture.residuals(angles.flatten(1))
