"""Inverse kinematics of the Franka Emika Panda, a robot arm with seven joints."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..least_squares import LeastSquares
from .problem import Metric, Problem, TargetSet

JOINT_LOWER = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
"""Lower joint limits, in radians."""
JOINT_UPPER = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
"""Upper joint limits, in radians."""
READY = (0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, math.pi / 2, math.pi / 4)
"""The ready pose of the manufacturer's examples, in radians."""

_TRAIN, _VALIDATION, _TEST = 4096, 512, 512
_NUM_JOINTS = 7
_OUTER = 0.9  # unfamiliar targets have every joint beyond this share of its way from the middle to a limit
_METRES_PER_RADIAN = 0.3
_QUARTER = math.pi / 2
# Seven joints, then the flange, which does not turn.
_A = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088, 0.0)
_D = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0, 0.107)
_ALPHA = (0.0, -_QUARTER, _QUARTER, _QUARTER, -_QUARTER, _QUARTER, _QUARTER, 0.0)


class PandaArm(nn.Module):
    """Pose of the Panda's flange: ``F(x) = (position, rotation matrix)``.

    The product over the links of ``RotX(α) TransX(a) RotZ(q) TransZ(d)``, with the modified Denavit-Hartenberg
    parameters (Craig's convention) and the joint limits that the manufacturer publishes: "Robot and interface
    specifications", Franka Control Interface documentation.

    The joint angles are ``q = middle + half_range · sin(x)``, so that every ``x`` keeps the limits. A sine, and not a
    hyperbolic tangent, because it reaches the limits at a finite ``x`` and has no plateau beyond them.

    Example:
        Where the flange is in the ready pose, forward and up:

        >>> arm = PandaArm()
        >>> arm(arm.x_of(torch.tensor([READY])))[0, [0, 2]]
        tensor([0.3069, 0.5903])
    """

    fixed: Tensor
    cosine: Tensor
    sine: Tensor
    middle: Tensor
    half_range: Tensor

    def __init__(self) -> None:
        super().__init__()
        fixed, cosine, sine = _links()
        lower, upper = torch.tensor(JOINT_LOWER), torch.tensor(JOINT_UPPER)
        self.register_buffer("fixed", fixed)
        self.register_buffer("cosine", cosine)
        self.register_buffer("sine", sine)
        self.register_buffer("middle", (lower + upper) / 2)
        self.register_buffer("half_range", (upper - lower) / 2)

    def joints(self, x: Tensor) -> Tensor:
        """Joint angles in radians, within their limits; ``(B, 7)`` to ``(B, 7)``."""
        return self.middle + self.half_range * x.sin()

    def x_of(self, joints: Tensor) -> Tensor:
        """The ``x`` within ±π/2 of joint angles, which are clipped to their limits; ``(B, 7)`` to ``(B, 7)``."""
        return ((joints - self.middle) / self.half_range).clamp(-1.0, 1.0).asin()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(B, 7)`` to three coordinates in metres and nine entries, row by row; ``(B, 12)``."""
        angles = pad(self.joints(x), (0, 1))[..., None, None]
        product = self.fixed + angles.cos() * self.cosine + angles.sin() * self.sine
        while product.shape[1] > 1:  # eight factors in three batched products
            product = product[:, 0::2] @ product[:, 1::2]
        pose = product[:, 0, :3]
        return torch.cat([pose[:, :, 3], pose[:, :, :3].flatten(1)], dim=1)


def pose_difference(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the residuals of two poses in metres, 1 rad counted as 0.3 m; ``(B, 12)`` twice to ``(B, 12)``.

    Rotation matrices that are a small angle ``φ`` apart differ by ``√2 φ`` in the Frobenius norm.

    Example:
        >>> pose_difference(torch.ones(1, 12), torch.zeros(1, 12))[0, 2:4]
        tensor([1.0000, 0.2121])
    """
    difference = prediction - target
    return torch.cat([difference[:, :3], _METRES_PER_RADIAN / math.sqrt(2.0) * difference[:, 3:]], dim=1)


def panda(seed: int = 0) -> Problem:
    """Find joint angles that take the flange of a Franka Emika Panda to a given pose.

    ``F`` is a :class:`PandaArm`. Targets are poses of joint angles that are uniform within their limits, so each can
    be reached, as a rule by a curve of configurations in each of several arm postures. Nothing asks whether the arm
    would touch itself. The start is the manufacturer's ready pose.

    Of a partly observed target, position and pointing direction (the flange's z-axis) are asked for, and the turn
    about it is free, as for a drill or a suction cup.

    Args:
        seed: Seed of the targets. The global random state is not touched.

    Returns:
        The problem; ``x`` has shape ``(7,)``, targets have shape ``(12,)`` as in :meth:`PandaArm.forward`; 4096 train,
        512 validation and 512 test targets.

    Example:
        >>> problem = panda()
        >>> x = problem.x_init.expand(512, 7)
        >>> problem.loss_fn(problem.forward_model(x), problem.test).shape
        torch.Size([512])
    """
    generator = torch.Generator().manual_seed(seed)
    arm = PandaArm()
    shares = 2.0 * torch.rand(_TRAIN + _VALIDATION + _TEST, _NUM_JOINTS, generator=generator) - 1.0
    targets = arm(shares.asin())
    test = targets[-_TEST:].clone()
    return Problem(
        name="panda",
        forward_model=arm,
        loss_fn=LeastSquares(pose_difference),
        x_init=arm.x_of(torch.tensor([READY]))[0],
        train=targets[:_TRAIN].clone(),
        validation=targets[_TRAIN:-_TEST].clone(),
        test=test,
        hard_because="Joint limits part the postures that reach a pose, which makes local minima: L-BFGS from the ready "
        "pose stays more than 1 mm away for one target in eight, and for one in three near the limits.",
        partly=TargetSet(
            targets=test,
            observed=_position_and_pointing(_TEST),
            described_as="the turn about the pointing direction is free",
        ),
        unfamiliar=TargetSet(
            targets=arm(_near_limits(_TEST, generator).asin()),
            described_as="every joint in the outer tenth of its way to a limit",
        ),
        metric=Metric(name="position error", unit="mm", of=_position_error),
    )


def _links() -> tuple[Tensor, Tensor, Tensor]:
    """The links' matrices, as ``fixed + cos(q) cosine + sin(q) sine``; each ``(8, 4, 4)``."""
    fixed, cosine, sine = (torch.zeros(len(_A), 4, 4, dtype=torch.float64) for _ in range(3))
    for link, (a, d, alpha) in enumerate(zip(_A, _D, _ALPHA, strict=True)):
        c, s = math.cos(alpha), math.sin(alpha)
        fixed[link] = torch.tensor([[0, 0, 0, a], [0, 0, -s, -s * d], [0, 0, c, c * d], [0, 0, 0, 1]])
        cosine[link, :3, :2] = torch.tensor([[1, 0], [0, c], [0, s]])
        sine[link, :3, :2] = torch.tensor([[0, -1], [c, 0], [s, 0]])
    return fixed.float(), cosine.float(), sine.float()


def _near_limits(number: int, generator: torch.Generator) -> Tensor:
    """Shares of the way from the middle to a limit, ±(0.9 to 1), ``(number, 7)``."""
    size = _OUTER + (1.0 - _OUTER) * torch.rand(number, _NUM_JOINTS, generator=generator)
    upper = torch.rand(number, _NUM_JOINTS, generator=generator) < 0.5
    return torch.where(upper, size, -size)


def _position_and_pointing(number: int) -> Tensor:
    observed = torch.zeros(number, 12, dtype=torch.bool)
    observed[:, :3] = True
    observed[:, 3:].unflatten(1, (3, 3))[:, :, 2] = True  # the z-axis is the last column
    return observed


def _position_error(_x: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    return 1000.0 * (prediction - target)[:, :3].square().sum(1).sqrt()
