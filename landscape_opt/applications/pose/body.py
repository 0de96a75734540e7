"""What a fit needs to know of a body: pose, shape and place in, vertices and joints out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True, eq=False)
class PosedBody:
    """A batch of bodies in the frame of the camera, in metres.

    Attributes:
        vertices: of the skin, (B, V, 3).
        joints: in the order of ``joint_names``, (B, J, 3).
    """

    vertices: Tensor = field(repr=False)
    joints: Tensor = field(repr=False)


@runtime_checkable
class BodyModel(Protocol):
    """A differentiable, batched body: what a :class:`KeypointModel` projects.

    The frame is a camera's: to the right in the image, downwards, away from the camera, in metres.

    Attributes:
        joint_names: of the J joints that are returned, the root first.
        num_shapes: S, how many numbers the shape has; each is meant to be about standard normal.
        lower: least angles of the N joints that turn, the root left out, (N, 3) in rad.
        upper: greatest angles, (N, 3).
        to_camera: rotation from the body's own frame to that of a camera that it faces upright, (3, 3).

    Example:
        >>> from landscape_opt.applications.pose import SkinnedBody
        >>> isinstance(SkinnedBody(), BodyModel)
        True
    """

    joint_names: tuple[str, ...]
    num_shapes: int
    lower: Tensor
    upper: Tensor
    to_camera: Tensor

    def __call__(self, pose: Tensor, shape: Tensor, orientation: Tensor, translation: Tensor) -> PosedBody:
        """Skin and joints.

        Args:
            pose: rotation vectors of the joints that turn, the root left out, (B, N, 3) in rad.
            shape: (B, S).
            orientation: of the whole body about its root, from the body's own frame, (B, 3, 3).
            translation: where the root is, (B, 3).
        """

    def joints(self, pose: Tensor, shape: Tensor, orientation: Tensor, translation: Tensor) -> Tensor:
        """The joints alone, (B, J, 3); arguments as above."""
