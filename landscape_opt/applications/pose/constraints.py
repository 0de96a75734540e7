"""What may be asked of a pose when it is inverted: feet on the floor, a hand on a point, no leap since the last frame."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from .keypoints import KeypointModel, Pose


class JointTerm:
    """An extra term of :meth:`~landscape_opt.LandscapeInverter.invert` on some joints, in squared standard deviations.

    The same for all rows of a batch: what differs between photographs has to go into the target.

    Args:
        model: whose joints they are.
        joints: their names.
        tolerance: standard deviation in m.

    Raises:
        ValueError: for a joint that the body does not have, or a tolerance that is not positive.
    """

    def __init__(self, model: KeypointModel, joints: Sequence[str], tolerance: float) -> None:
        names = model.body.joint_names
        if unknown := [name for name in joints if name not in names]:
            raise ValueError(f"the body has no joint {', '.join(map(repr, unknown))}; it has {', '.join(names)}")
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, in m, got {tolerance}")
        self.model, self.tolerance = model, tolerance
        self.places = [names.index(name) for name in joints]

    def __call__(self, x: Pose, prediction: dict[str, Tensor]) -> Tensor:
        """Half the squared distance over the squared tolerance, (B,)."""
        away = self.away(self.model.joints(x)[:, self.places]) / self.tolerance
        return 0.5 * away.square().reshape(len(away), -1).sum(1)

    @abstractmethod
    def away(self, joints: Tensor) -> Tensor:
        """How far these joints, (B, n, 3), are from where they should be, (B, …) in m."""


class OnFloor(JointTerm):
    """The lowest of some joints stands on a level floor, and none is below it.

    Args:
        model: whose joints they are.
        height: of the floor below the optical axis, in m.
        joints: that may touch it.
        tolerance: standard deviation in m.

    Example:
        >>> from landscape_opt.applications.pose import KeypointModel, SkinnedBody
        >>> model = KeypointModel(SkinnedBody())
        >>> x = {name: part[None] for name, part in model.x_init.items()}
        >>> feet = model.joints(x)[:, [10, 11], 1].max()
        >>> float(OnFloor(model, float(feet))(x, {})) < 1e-6
        True
    """

    def __init__(
        self,
        model: KeypointModel,
        height: float,
        joints: Sequence[str] = ("left toes", "right toes"),
        tolerance: float = 0.02,
    ) -> None:
        super().__init__(model, joints, tolerance)
        self.height = height

    def away(self, joints: Tensor) -> Tensor:
        """Of the lowest one."""
        return joints[:, :, 1].amax(1) - self.height


class AtPoint(JointTerm):
    """A joint is at a known point.

    Args:
        model: whose joint it is.
        joint: its name.
        point: in the frame of the camera, (3,) in m.
        tolerance: standard deviation in m.

    Raises:
        ValueError: for a point of another shape, and as :class:`JointTerm`.

    Example:
        >>> from landscape_opt.applications.pose import KeypointModel, SkinnedBody
        >>> model = KeypointModel(SkinnedBody())
        >>> x = {name: part[None] for name, part in model.x_init.items()}
        >>> AtPoint(model, "left wrist", model.joints(x)[0, 20])(x, {})
        tensor([0.])
    """

    def __init__(self, model: KeypointModel, joint: str, point: Tensor, tolerance: float = 0.02) -> None:
        super().__init__(model, [joint], tolerance)
        if point.shape != (3,):
            raise ValueError(f"point must have the shape (3,), got {tuple(point.shape)}")
        self.point = point

    def away(self, joints: Tensor) -> Tensor:
        """Along each axis."""
        return joints[:, 0] - self.point


class NearLast(JointTerm):
    """No joint leaps between two frames of one sequence.

    Args:
        model: whose joints they are.
        last: joints of the frame before, or where they would be if it went on as before, (1, J, 3) in m.
        tolerance: standard deviation of a coordinate's change, in m.

    Raises:
        ValueError: for ``last`` of another shape, and as :class:`JointTerm`.

    Example:
        >>> from landscape_opt.applications.pose import KeypointModel, SkinnedBody
        >>> model = KeypointModel(SkinnedBody())
        >>> x = {name: part[None] for name, part in model.x_init.items()}
        >>> NearLast(model, model.joints(x))(x, {})
        tensor([0.])
    """

    def __init__(self, model: KeypointModel, last: Tensor, tolerance: float = 0.2) -> None:
        super().__init__(model, model.body.joint_names, tolerance)
        if last.shape != (1, len(self.places), 3):
            raise ValueError(
                f"last must have the shape (1, {len(self.places)}, 3), one sequence at a time; got {last.shape}"
            )
        self.last = last

    def away(self, joints: Tensor) -> Tensor:
        """Of every joint, along each axis."""
        return joints - self.last
