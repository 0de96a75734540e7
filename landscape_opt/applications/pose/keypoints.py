"""F of a photograph: keypoints in pixels, and what a prior thinks of the pose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ...least_squares import LeastSquares
from .body import BodyModel, PosedBody
from .camera import PinholeCamera
from .spaces import LimitedAngles, PoseSpace

Pose: TypeAlias = dict[str, Tensor]
"""x: "turn" (B, 6), "pose" (B, …), "shape" (B, S), "pelvis" (B, 3)."""
NEAREST, USUAL_DISTANCE = 1.5, 4.0
"""Depth of the root in m: what no x goes below, and that of the plain start."""
_ASIDE = 0.3  # of the root, in shares of its depth per unit of x
_UPRIGHT = 0.2  # standard deviation of the vertical's two level components
PIXELS = 5.0
"""Standard deviation of a keypoint that the loss takes for granted."""


class KeypointModel(nn.Module):
    r"""x to the keypoints of one photograph or several at once, and to the residuals of the priors.

    x is a dict: ``"turn"``, the first two columns of the body's rotation before Gram and Schmidt (Zhou et al., 2019), in
    which no turn is far from its neighbours; ``"pose"`` in the terms of the pose space; ``"shape"``; ``"pelvis"``, the root
    at :math:`(0.3\,p_0 D,\ 0.3\,p_1 D,\ D)` with :math:`D = 1.5 + 2.5\,e^{p_2}` metres.

    The prediction is a dict: ``"keypoints"`` in pixels, (B, J, 2), or (B, V, J, 2) with V > 1 cameras, and ``"prior"``,
    (B, R): pose, shape, and how far the body leans, each divided by its standard deviation. A prior is so a measurement
    that was zero: the landscape is fitted to it like to any other, and weights of a :class:`~landscape_opt.Stage` can
    raise or lower it.

    Args:
        body: any :class:`BodyModel`.
        cameras: of the views.
        space: what ``x["pose"]`` means, and its prior; None takes :class:`LimitedAngles` of the body without a mixture.

    Raises:
        TypeError: for a body that lacks a part of :class:`BodyModel`.

    Example:
        >>> from landscape_opt.applications.pose import SkinnedBody
        >>> model = KeypointModel(SkinnedBody())
        >>> prediction = model({name: part[None] for name, part in model.x_init.items()})
        >>> prediction["keypoints"].shape
        torch.Size([1, 22, 2])
    """

    def __init__(self, body: BodyModel, cameras: Sequence[PinholeCamera] = (), space: PoseSpace | None = None) -> None:
        super().__init__()
        if not isinstance(body, BodyModel):
            raise TypeError(f"body must have what a BodyModel has (see its page), got {type(body).__name__}")
        self.body: Any = body
        self.cameras = nn.ModuleList(cameras or [PinholeCamera()])
        self.space: Any = LimitedAngles(body) if space is None else space

    @property
    def x_init(self) -> Pose:
        """The plain start, the usual pose, upright, facing the camera from 4 m in the middle of the image."""
        like = self.body.lower
        return {
            "turn": like.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
            "pose": self.space.start.to(like),
            "shape": like.new_zeros(self.body.num_shapes),
            "pelvis": like.new_zeros(3),
        }

    def forward(self, x: Pose) -> dict[str, Tensor]:
        """Keypoints in pixels and the residuals of the priors."""
        pose, orientation = self.space.angles(x["pose"]), self._orientation(x)
        joints = self.body.joints(pose, x["shape"], orientation @ self.body.to_camera, self.pelvis(x))
        views = [camera(joints) for camera in self.cameras]
        lean = orientation[:, [0, 2], 1] / _UPRIGHT
        prior = torch.cat([self.space.residuals(x["pose"], pose), x["shape"], lean], dim=1)
        return {"keypoints": views[0] if len(views) == 1 else torch.stack(views, dim=1), "prior": prior}

    def joints(self, x: Pose) -> Tensor:
        """Where the joints are, (B, J, 3) in m."""
        joints: Tensor = self.body.joints(*self._placed(x))
        return joints

    def posed(self, x: Pose) -> PosedBody:
        """Skin and joints."""
        posed: PosedBody = self.body(*self._placed(x))
        return posed

    def pelvis(self, x: Pose) -> Tensor:
        """Where the root is, (B, 3) in m."""
        depth = NEAREST + (USUAL_DISTANCE - NEAREST) * x["pelvis"][:, 2:].exp()
        return torch.cat([_ASIDE * depth * x["pelvis"][:, :2], depth], dim=1)

    def targets(self, keypoints: Tensor) -> dict[str, Tensor]:
        """What ``fit`` and ``invert`` take: the keypoints in pixels, and zeros for the priors."""
        with torch.no_grad():
            prior = self({name: part[None] for name, part in self.x_init.items()})["prior"]
        return {"keypoints": keypoints, "prior": keypoints.new_zeros(len(keypoints), prior.shape[1])}

    def weights(self, target: dict[str, Tensor], confidence: Tensor, prior: float = 1.0) -> dict[str, Tensor]:
        """What ``observed`` takes: a weight for every squared error.

        Args:
            target: of :meth:`targets`.
            confidence: of every keypoint, in the shape of the keypoints without the last dimension; 0 is hidden.
            prior: how much the priors count.
        """
        weights = confidence.to(target["keypoints"]).unsqueeze(-1).expand_as(target["keypoints"])
        return {"keypoints": weights, "prior": torch.full_like(target["prior"], prior)}

    def _placed(self, x: Pose) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.space.angles(x["pose"]), x["shape"], self._orientation(x) @ self.body.to_camera, self.pelvis(x)

    @staticmethod
    def _orientation(x: Pose) -> Tensor:
        """The rotation of two columns, (B, 3, 3)."""
        first, second = x["turn"].split(3, dim=1)
        first = torch.nn.functional.normalize(first, dim=1)
        second = second - (first * second).sum(1, keepdim=True) * first
        second = torch.nn.functional.normalize(second, dim=1)
        return torch.stack([first, second, torch.linalg.cross(first, second)], dim=2)


class KeypointResiduals:
    r"""Residuals for a :class:`~landscape_opt.LeastSquares` loss: pixels over their standard deviation, and the priors.

    With ``outlier`` set, a keypoint's difference :math:`e` becomes :math:`e / \sqrt{1 + \lVert e \rVert^2 / c^2}`, whose
    square is the function of Geman and McClure (1987) that SMPLify uses: no keypoint costs more than :math:`c^2`.

    Args:
        pixels: standard deviation of a keypoint.
        outlier: c in pixels; None takes squared differences.

    Raises:
        ValueError: if one of them is not positive.

    Example:
        >>> target = {"keypoints": torch.zeros(1, 22, 2), "prior": torch.zeros(1, 3)}
        >>> prediction = {"keypoints": torch.full((1, 22, 2), 10.0), "prior": torch.zeros(1, 3)}
        >>> LeastSquares(KeypointResiduals(pixels=10.0))(prediction, target)
        tensor([22.])
    """

    def __init__(self, pixels: float = PIXELS, outlier: float | None = None) -> None:
        if not pixels > 0 or (outlier is not None and not outlier > 0):
            raise ValueError(f"pixels and outlier must be positive, got {pixels} and {outlier}")
        self.pixels, self.outlier = pixels, outlier

    def __call__(self, prediction: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        """(B, R)."""
        away = prediction["keypoints"] - target["keypoints"]
        if self.outlier is not None:
            away = away * (1.0 + away.square().sum(-1, keepdim=True) / self.outlier**2).rsqrt()
        return torch.cat([away.flatten(1) / self.pixels, (prediction["prior"] - target["prior"]).flatten(1)], dim=1)


def keypoint_loss(pixels: float = PIXELS, outlier: float | None = None) -> LeastSquares:
    """Minus the logarithm of the posterior, up to a constant: half the squared residuals.

    Args:
        pixels: standard deviation of a keypoint.
        outlier: pixels beyond which a keypoint counts less and less; None lets all count.

    Example:
        >>> target = {"keypoints": torch.zeros(1, 22, 2), "prior": torch.zeros(1, 3)}
        >>> prediction = {"keypoints": torch.full((1, 22, 2), 10.0), "prior": torch.zeros(1, 3)}
        >>> keypoint_loss(pixels=10.0)(prediction, target)
        tensor([22.])
    """
    return LeastSquares(KeypointResiduals(pixels, outlier))
