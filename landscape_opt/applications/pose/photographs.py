"""Keypoints as a detector would give them, complete, hidden in part, noisy or cut off, and where the joints really were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from .actions import People
from .camera import PinholeCamera
from .keypoints import KeypointModel
from .skinned import SkinnedBody

DETECTOR = 2.0
"""Standard deviation of a keypoint in pixels."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """What was seen of some people, and the truth.

    Attributes:
        keypoints: in pixels, (N, J, 2), or (N, V, J, 2) in V views.
        confidence: of every keypoint, (N, J) or (N, V, J); 0 is hidden.
        joints: where the joints were, (N, J, 3) in m.
    """

    keypoints: Tensor = field(repr=False)
    confidence: Tensor = field(repr=False)
    joints: Tensor = field(repr=False)

    @classmethod
    def of(
        cls,
        people: People,
        body: SkinnedBody,
        cameras: Sequence[PinholeCamera],
        generator: torch.Generator,
        noise: float = DETECTOR,
    ) -> Self:
        """Photographs of people by one camera or several.

        Example:
            >>> from landscape_opt.applications.pose import PinholeCamera, SkinnedBody, sample_people
            >>> generator, body = torch.Generator().manual_seed(0), SkinnedBody()
            >>> seen = Photographs.of(sample_people(body, 3, generator), body, [PinholeCamera()], generator)
            >>> seen.hidden(0.5, generator).confidence.sum(1)
            tensor([11., 11., 11.])
        """
        joints = people.joints(body)
        views = [camera(joints) for camera in cameras]
        exact = views[0] if len(views) == 1 else torch.stack(views, dim=1)
        keypoints = exact + noise * torch.randn(exact.shape, generator=generator)
        return cls(keypoints, torch.ones(keypoints.shape[:-1]), joints)

    def __len__(self) -> int:
        return len(self.joints)

    def first(self, number: int) -> Self:
        """At most so many."""
        return replace(
            self,
            keypoints=self.keypoints[:number],
            confidence=self.confidence[:number],
            joints=self.joints[:number],
        )

    def hidden(self, share: float, generator: torch.Generator) -> Self:
        """The same with this share of the keypoints hidden, other ones in every photograph."""
        rank = torch.rand(self.confidence.shape, generator=generator).argsort(-1).argsort(-1)
        number = round(share * self.confidence.shape[-1])
        return replace(self, confidence=torch.where(rank < number, 0.0, self.confidence))

    def noisy(self, pixels: float, generator: torch.Generator) -> Self:
        """The same with more noise."""
        return replace(self, keypoints=self.keypoints + pixels * torch.randn(self.keypoints.shape, generator=generator))

    def truncated(self, generator: torch.Generator) -> Self:
        """The same cut off by one edge of the image, so that 35 % to 65 % of the keypoints are in sight."""
        number, last = len(self), self.keypoints.shape[-2]
        angle = torch.randint(4, (number,), generator=generator) * (torch.pi / 2)
        way = torch.stack([angle.cos(), angle.sin()], dim=1)
        along = (self.keypoints * way[:, None]).sum(2)
        seen = (last * (0.35 + 0.3 * torch.rand(number, 1, generator=generator))).round()
        return replace(self, confidence=torch.where(along.argsort(1).argsort(1) < seen, self.confidence, 0.0))

    def target(self, model: KeypointModel) -> dict[str, Tensor]:
        """What ``fit`` and ``invert`` take."""
        return model.targets(self.keypoints)

    def observed(self, model: KeypointModel, prior: float = 1.0) -> dict[str, Tensor] | None:
        """What ``observed`` takes; None where everything was seen and the priors count once."""
        if prior == 1.0 and bool((self.confidence == 1.0).all()):
            return None
        return model.weights(self.target(model), self.confidence, prior)
