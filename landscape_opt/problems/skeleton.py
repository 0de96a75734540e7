"""A human pose from the 2D keypoints of one photograph: a skeleton of 22 joints before a pinhole camera."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..least_squares import LeastSquares
from .camera import rotation_matrix
from .problem import Metric, Problem, TargetSet

JOINTS = (
    *("pelvis", "left hip", "right hip", "lower spine", "left knee", "right knee", "middle spine", "left ankle"),
    *("right ankle", "upper spine", "left toes", "right toes", "neck", "left collar", "right collar", "head"),
    *("left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist"),
)
"""Names of the joints, in the order of the keypoints."""
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""The joint that carries each joint; the pelvis is carried by none, -1."""
CARRIERS = tuple(sorted(set(PARENTS[1:])))
"""The 17 joints that carry another one. How the others are turned cannot be seen."""
NEAREST, USUAL_DISTANCE = 1.5, 4.0
"""Depth of the pelvis in m: what no x goes below, and that of the plain start."""
FOCAL_LENGTH = 1000.0
"""Pixels per unit of the normalised image coordinates, for the metric alone."""

_ASIDE = 0.3  # of the pelvis, in normalised image coordinates per unit of x
_HEIGHT = 1.70
# The bone from the parent at rest in shares of the height (leftwards, downwards, backwards); then, of a joint that carries
# another, lower limit, usual value and upper limit of its rotation vector in rad (bending, twisting, swinging sideways).
_BODY: dict[str, tuple[tuple[float, float, float], ...]] = {
    "left hip": ((0.055, 0.02, 0.0), (-2.0, -0.7, -0.9), (-0.4, 0.0, -0.1), (0.5, 0.7, 0.5)),
    "lower spine": ((0.0, -0.06, 0.0), (-0.3, -0.3, -0.3), (0.05, 0.0, 0.0), (0.6, 0.3, 0.3)),
    "left knee": ((0.01, 0.245, 0.0), (-0.05, -0.15, -0.15), (0.5, 0.0, 0.0), (2.4, 0.15, 0.15)),
    "middle spine": ((0.0, -0.08, 0.01), (-0.3, -0.3, -0.3), (0.05, 0.0, 0.0), (0.6, 0.3, 0.3)),
    "left ankle": ((0.0, 0.246, 0.01), (-0.6, -0.3, -0.4), (0.0, 0.0, 0.0), (0.8, 0.3, 0.4)),
    "upper spine": ((0.0, -0.04, 0.0), (-0.3, -0.3, -0.3), (0.05, 0.0, 0.0), (0.4, 0.3, 0.3)),
    "left toes": ((0.01, 0.032, -0.10),),
    "neck": ((0.0, -0.12, 0.01), (-0.8, -1.0, -0.5), (0.1, 0.0, 0.0), (0.8, 1.0, 0.5)),
    "left collar": ((0.04, -0.065, 0.0), (-0.2, -0.3, -0.4), (0.0, 0.0, 0.0), (0.2, 0.3, 0.2)),
    "head": ((0.0, -0.07, -0.02),),
    "left shoulder": ((0.075, -0.015, 0.0), (-2.6, -1.4, -2.2), (-0.3, 0.0, -0.3), (1.0, 1.4, 0.6)),
    "left elbow": ((0.064, 0.175, 0.0), (-2.5, -0.9, -0.1), (-0.8, 0.0, 0.0), (0.05, 0.9, 0.1)),
    "left wrist": ((0.03, 0.143, 0.0),),
}
_LEAN = 0.15  # standard deviation of the whole body's other two rotations, in rad
_INSIDE = 0.95  # share of half a range that no angle of a target goes beyond
_FEWEST_HIDDEN, _MOST_HIDDEN = 7, 13
_TRAIN, _VALIDATION, _TEST = 4096, 512, 512


class _Spread(NamedTuple):
    angles: float  # standard deviation, in shares of half the range
    turn: tuple[float, float]  # about the vertical, either way, in rad
    distance: tuple[float, float]  # in m


_FAMILIAR = _Spread(1 / 3, (0.0, 2 * math.pi / 3), (3.0, 6.0))
_UNFAMILIAR = _Spread(1 / 2, (2 * math.pi / 3, math.pi), (8.0, 12.0))


class Skeleton(nn.Module):
    """Image points of 22 joints: ``F(x)`` is ``(B, 22, 2)``, in normalised image coordinates (focal length 1).

    The tree is that of the body model SMPL (Loper et al., 2015) without its hands; the proportions are our own, near
    the segment lengths of Drillis and Contini (1966), for a height of 1.70 m. The frame is the camera's, in metres: to
    the right in the image (the left of a person who faces it), downwards, and away from the camera.

    ``x`` holds, in this order,

    * a rotation vector of the whole body about its pelvis, in rad, 3 numbers;
    * for each of the other 16 joints that carry one, three angles ``middle + half_range · sin(x)`` that form its
      rotation vector: no ``x`` leaves the range of motion, a knee bends one way only;
    * the pelvis: ``(0.3 x[51] D, 0.3 x[52] D, D)`` with the depth ``D = 1.5 m + 2.5 m · exp(x[53])``.

    Stretched out, the skeleton is shorter than 1.5 m, so that no joint gets behind the camera.

    Example:
        >>> Skeleton()(torch.zeros(2, 54)).shape
        torch.Size([2, 22, 2])
    """

    bones: Tensor
    paths: Tensor
    middle: Tensor
    half_range: Tensor

    def __init__(self) -> None:
        super().__init__()
        lower, _, upper = _ranges()
        paths = _paths()
        self.register_buffer("bones", _bones()[:, :, None])
        self.register_buffer("paths", paths[:, 1:].clone())
        self.register_buffer("middle", (lower + upper) / 2)
        self.register_buffer("half_range", (upper - lower) / 2)
        # CARRIERS go down the tree level by level; of each level, where the parents are among them.
        depths = paths[list(CARRIERS)].sum(1)
        carrier = {joint: place for place, joint in enumerate(CARRIERS)}
        self.parents = [carrier[parent] for parent in PARENTS[1:]]
        self.levels = [
            [carrier[PARENTS[joint]] for joint, depth in zip(CARRIERS, depths, strict=True) if depth == level]
            for level in range(2, int(depths.max()) + 1)
        ]

    def rotations(self, x: Tensor) -> Tensor:
        """Rotation vectors of the 17 joints in ``CARRIERS``, in rad; ``(B, 54)`` to ``(B, 17, 3)``."""
        angles = x[:, 3:-3].unflatten(1, self.middle.shape).sin()
        return torch.cat([x[:, None, :3], self.middle + self.half_range * angles], dim=1)

    def pelvis(self, x: Tensor) -> Tensor:
        """Position of the pelvis in the camera's frame, in m; ``(B, 54)`` to ``(B, 3)``."""
        depth = NEAREST + (USUAL_DISTANCE - NEAREST) * x[:, -1:].exp()
        return torch.cat([_ASIDE * depth * x[:, -3:-1], depth], dim=1)

    def x_of(self, rotations: Tensor, pelvis: Tensor) -> Tensor:
        """The ``x`` of rotation vectors within their ranges, ``(B, 17, 3)``, and positions ``(B, 3)``; ``(B, 54)``."""
        angles = ((rotations[:, 1:] - self.middle) / self.half_range).asin()
        across, depth = pelvis.split([2, 1], dim=1)
        away = ((depth - NEAREST) / (USUAL_DISTANCE - NEAREST)).log()
        return torch.cat([rotations[:, 0], angles.flatten(1), across / depth / _ASIDE, away], dim=1)

    def joints(self, x: Tensor) -> Tensor:
        """Positions of the joints in the camera's frame, in m; ``(B, 54)`` to ``(B, 22, 3)``."""
        rotations = self.rotations(x)
        turns = rotation_matrix(rotations.flatten(0, 1)).unflatten(0, rotations.shape[:2])
        turned = turned_down(turns[:, :1], turns[:, 1:], self.levels)
        bones = (turned[:, self.parents] @ self.bones).squeeze(-1)
        joints: Tensor = self.pelvis(x)[:, None] + self.paths @ bones
        return joints

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(B, 54)`` to image points, ``(B, 22, 2)``."""
        joints = self.joints(x)
        return joints[:, :, :2] / joints[:, :, 2:]


def turned_down(root: Tensor, own: Tensor, levels: list[list[int]]) -> Tensor:
    """How the joints in ``CARRIERS`` are turned in the frame of the root's rotation.

    Args:
        root: rotation of the pelvis, ``(B, 1, 3, 3)``.
        own: of the other joints against their parents, ``(B, 16, 3, 3)``.
        levels: of the tree from the root down, where the parents of each joint are among ``CARRIERS``.

    Returns:
        ``(B, 17, 3, 3)``.
    """
    turned = root
    for parents in levels:
        first = turned.shape[1] - 1  # the root is not among those of ``own``
        turned = torch.cat([turned, turned[:, parents] @ own[:, first : first + len(parents)]], dim=1)
    return turned


def skeleton(seed: int = 0) -> Problem:
    """Find a pose whose joints appear where the keypoints of a photograph are.

    ``F`` is a :class:`Skeleton`. Targets are the keypoints of poses whose angles are normal about a usual pose, with a
    sixth of their range of motion as standard deviation; the body is turned by up to 120° to either side and stands 3 m
    to 6 m away. The loss is half the sum of the squared keypoint differences. As 44 numbers do not determine 54, every
    target has many answers. The start is the usual pose, upright in the middle of the image, facing the camera from
    4 m.

    Args:
        seed: Seed of the targets. The global random state is not touched.

    Returns:
        The problem; ``x`` has shape ``(54,)``, targets have shape ``(22, 2)``; 4096 train, 512 validation and 512 test
        targets. The metric is the mean distance over all 22 joints, hidden ones too, in pixels of a camera with a
        focal length of 1000.

    Example:
        >>> problem = skeleton()
        >>> x = problem.x_init.expand(512, 54)
        >>> problem.loss_fn(problem.forward_model(x), problem.test).shape
        torch.Size([512])
    """
    generator = torch.Generator().manual_seed(seed)
    body = Skeleton()
    targets = body(_poses(body, _TRAIN + _VALIDATION + _TEST, generator, _FAMILIAR))
    test = targets[-_TEST:].clone()
    usual = torch.cat([torch.zeros(1, 1, 3), _ranges()[None, 1]], dim=1)
    return Problem(
        name="skeleton",
        forward_model=body,
        loss_fn=LeastSquares(torch.sub),
        x_init=body.x_of(usual, torch.tensor([[0.0, 0.0, USUAL_DISTANCE]]))[0],
        train=targets[:_TRAIN].clone(),
        validation=targets[_TRAIN:-_TEST].clone(),
        test=test,
        hard_because="Singular values of the Jacobian differ ten-thousandfold, which slows every descent down, and 8 % of "
        "the targets hold L-BFGS in a poor local minimum, more than half of them with the body turned the wrong way.",
        partly=TargetSet(targets=test, observed=_visible(_TEST, generator), described_as="7 to 13 of the 22 joints hidden"),
        unfamiliar=TargetSet(
            targets=body(_poses(body, _TEST, generator, _UNFAMILIAR)),
            described_as="seen from behind, from 8 m to 12 m, with angles spread 1.5 times as wide",
        ),
        metric=Metric(name="keypoint error", unit="px", of=_keypoint_error),
    )


def _sided(joint: str) -> tuple[Tensor, float]:
    """The joint's rows of the table, and -1 where they are to be mirrored."""
    return torch.tensor(_BODY[joint.replace("right", "left")]), -1.0 if joint.startswith("right") else 1.0


def _bones() -> Tensor:
    """Bones from the parents at rest in m, without the pelvis; ``(21, 3)``."""
    sided = [_sided(joint) for joint in JOINTS[1:]]
    return torch.stack([_HEIGHT * rows[0] * torch.tensor([side, 1.0, 1.0]) for rows, side in sided])


def _paths() -> Tensor:
    """Row j has a 1 for every joint on the way from the pelvis to joint j, both included; ``(22, 22)``."""
    paths = torch.eye(len(JOINTS))
    for joint, parent in enumerate(PARENTS[1:], start=1):
        paths[joint] += paths[parent]
    return paths


def _ranges() -> Tensor:
    """Lower limits, usual values and upper limits of the angles in rad, without those of the pelvis; ``(3, 16, 3)``."""
    ranges = []
    for joint in CARRIERS[1:]:
        rows, side = _sided(JOINTS[joint])
        lower, usual, upper = rows[1:] * torch.tensor([1.0, side, side])
        ranges.append(torch.stack([torch.minimum(lower, upper), usual, torch.maximum(lower, upper)]))
    return torch.stack(ranges, dim=1)


def _poses(body: Skeleton, number: int, generator: torch.Generator, spread: _Spread) -> Tensor:
    """Draw ground-truth ``x``, ``(number, 54)``."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(number, generator=generator)

    _, usual, _ = _ranges()
    angles = usual + spread.angles * body.half_range * torch.randn(number, *usual.shape, generator=generator)
    shares = ((angles - body.middle) / body.half_range).clamp(-_INSIDE, _INSIDE)
    whole = _LEAN * torch.randn(number, 1, 3, generator=generator)
    whole[:, 0, 1] = uniform(*spread.turn) * uniform(-1.0, 1.0).sign()
    rotations = torch.cat([whole, body.middle + body.half_range * shares], dim=1)
    direction = torch.stack([uniform(-0.2, 0.2), uniform(-0.1, 0.1), torch.ones(number)], dim=1)
    return body.x_of(rotations, uniform(*spread.distance)[:, None] * direction)


def _visible(number: int, generator: torch.Generator) -> Tensor:
    """Masks of whole joints, ``(number, 22, 2)``; False is hidden."""
    hidden = torch.randint(_FEWEST_HIDDEN, _MOST_HIDDEN + 1, (number, 1), generator=generator)
    rank = torch.rand(number, len(JOINTS), generator=generator).argsort(1).argsort(1)
    return (rank >= hidden)[:, :, None].repeat(1, 1, 2)


def _keypoint_error(_x: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    distance: Tensor = (prediction - target).norm(dim=2)
    return FOCAL_LENGTH * distance.mean(1)
