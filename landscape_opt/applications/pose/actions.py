"""People who stand, walk, sit, reach, crouch: plausible poses of our own making, with joints that move together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from ...problems.camera import rotation_matrix
from ...problems.skeleton import CARRIERS, JOINTS
from .skinned import SHAPES, SkinnedBody

_AXES = ("bend", "twist", "side")
_NOISE = 0.08  # of half a range: what no action explains
_INSIDE = 0.95  # share of half a range that no angle goes beyond
_LEAN = 0.12  # rad, of the whole body about the two level axes
_DISTANCE = (3.0, 6.0)  # m
_ASIDE = (0.18, 0.08)  # of the pelvis, in shares of its depth, to either side and up or down


@dataclass(frozen=True)
class Action:
    """Angles that are linear in a few hidden numbers.

    A joint is written as "left knee bend"; without a side it is both, and positive is the same movement on either side.

    Attributes:
        usual: angles in rad.
        varies: what one standard normal number adds to them, for every such number.
        sways: what the cosine and the sine of a phase add to them; empty for actions that do not repeat.
    """

    usual: dict[str, float]
    varies: tuple[dict[str, float], ...] = ()
    sways: tuple[dict[str, float], ...] = ()


# Bending is about the axis to the left of the body: hips, shoulders and elbows bend forwards below zero, the spine above.
_STRIDE = {"left hip bend": -0.45, "right hip bend": 0.45, "left shoulder bend": 0.45, "right shoulder bend": -0.45,
           "upper spine twist": 0.12, "lower spine twist": -0.12}  # fmt: skip
_LIFT = {"left knee bend": 0.45, "right knee bend": -0.45, "left ankle bend": 0.15, "right ankle bend": -0.15}
_GAZE = ({"neck twist": 0.35}, {"neck bend": 0.2})
ACTIONS: dict[str, Action] = {
    "stand": Action(
        {"knee bend": 0.08, "elbow bend": -0.25, "shoulder side": -0.1},
        ({"left hip bend": -0.15, "left knee bend": 0.3}, {"shoulder bend": -0.2, "elbow bend": -0.3}, {"hip side": -0.08},
         {"lower spine side": 0.08, "middle spine side": 0.06}, *_GAZE),
    ),
    "walk": Action(
        {"knee bend": 0.45, "hip bend": -0.1, "elbow bend": -0.4, "lower spine bend": 0.05},
        ({"elbow bend": -0.15, "lower spine bend": 0.05}, *_GAZE),
        (_LIFT, _STRIDE),
    ),
    "run": Action(
        {"knee bend": 0.9, "hip bend": -0.3, "elbow bend": -1.4, "lower spine bend": 0.15, "middle spine bend": 0.1},
        ({"knee bend": 0.15, "hip bend": -0.1}, *_GAZE),
        ({name: 1.4 * value for name, value in _LIFT.items()}, {name: 1.6 * value for name, value in _STRIDE.items()}),
    ),
    "sit": Action(
        {"hip bend": -1.4, "knee bend": 1.4, "hip side": -0.12, "shoulder bend": -0.4, "elbow bend": -0.9},
        ({"hip bend": -0.15, "lower spine bend": 0.15, "middle spine bend": 0.1}, {"knee bend": 0.25, "ankle bend": 0.1},
         {"hip side": -0.15}, {"left shoulder bend": -0.3, "left elbow bend": -0.4}, *_GAZE),
    ),
    "crouch": Action(
        {"hip bend": -1.5, "knee bend": 1.9, "ankle bend": -0.4, "lower spine bend": 0.3, "middle spine bend": 0.2,
         "shoulder bend": -0.6, "elbow bend": -0.6, "neck bend": -0.2},
        ({"hip bend": 0.25, "knee bend": -0.35, "ankle bend": 0.08}, {"hip side": -0.15},
         {"left shoulder bend": -0.4, "left elbow bend": 0.2}, *_GAZE),
    ),
    "reach up": Action(
        {"left shoulder bend": -2.1, "left elbow bend": -0.35, "right shoulder bend": -0.2, "right elbow bend": -0.4,
         "knee bend": 0.1, "neck bend": -0.25},
        ({"left shoulder bend": 0.3, "left elbow bend": -0.3}, {"left shoulder side": -0.3}, {"lower spine side": 0.1,
         "middle spine side": 0.1}, {"right shoulder bend": -0.5, "right elbow bend": -0.2}, *_GAZE),
    ),
    "reach forward": Action(
        {"shoulder bend": -1.3, "elbow bend": -0.35, "lower spine bend": 0.25, "middle spine bend": 0.15, "hip bend": -0.4,
         "knee bend": 0.25},
        ({"lower spine bend": 0.12, "hip bend": -0.25}, {"shoulder bend": 0.3, "elbow bend": -0.3}, {"shoulder side": 0.2},
         {"upper spine twist": 0.15, "left shoulder bend": -0.2}, *_GAZE),
    ),
    "arms apart": Action(
        {"shoulder side": -1.3, "elbow bend": -0.3, "knee bend": 0.1},
        ({"shoulder side": 0.3}, {"elbow bend": -0.4, "shoulder twist": 0.3}, {"hip side": -0.15}, *_GAZE),
    ),
    "wave": Action(
        {"left shoulder side": -1.2, "left shoulder twist": -0.3, "left elbow bend": -1.6, "right elbow bend": -0.3,
         "knee bend": 0.1},
        ({"left elbow bend": 0.4}, {"left shoulder side": -0.3}, {"right shoulder bend": -0.2}, *_GAZE),
    ),
    "lunge": Action(
        {"left hip bend": -1.1, "left knee bend": 1.2, "right hip bend": 0.3, "right knee bend": 0.6, "ankle bend": -0.2,
         "lower spine bend": 0.15, "elbow bend": -0.8, "left shoulder bend": 0.3, "right shoulder bend": -0.5},
        ({"left hip bend": -0.25, "left knee bend": 0.3}, {"shoulder bend": -0.3}, *_GAZE),
    ),
}  # fmt: skip
"""What people do; one whose sides differ is done the other way round by half of them."""


@dataclass(frozen=True, eq=False)
class People:
    """Bodies before a camera: ground truth.

    Attributes:
        pose: (N, 16, 3) in rad.
        shape: (N, 6).
        orientation: (N, 3, 3).
        translation: of the pelvis, (N, 3) in m.
        action: place in ``ACTIONS``, (N,).
    """

    pose: Tensor = field(repr=False)
    shape: Tensor = field(repr=False)
    orientation: Tensor = field(repr=False)
    translation: Tensor = field(repr=False)
    action: Tensor = field(repr=False)

    def joints(self, body: SkinnedBody) -> Tensor:
        """Where their joints are, (N, 22, 3)."""
        return body.joints(self.pose, self.shape, self.orientation, self.translation)

    def moved(self, shift: Tensor) -> Self:
        """The same people elsewhere, each by its own shift, (N, 3) in m."""
        return replace(self, translation=self.translation + shift)


def sample_people(body: SkinnedBody, number: int, generator: torch.Generator) -> People:
    """Draw people: an action each, any turn about the vertical, a slight lean, 3 m to 6 m away, shapes standard normal.

    Args:
        body: whose ranges of motion are kept.
        number: N.
        generator: of all draws.

    Example:
        >>> sample_people(SkinnedBody(), 5, torch.Generator().manual_seed(0)).pose.shape
        torch.Size([5, 16, 3])
    """
    action = torch.randint(len(ACTIONS), (number,), generator=generator)
    every = torch.stack([_angles(one, number, generator) for one in ACTIONS.values()])
    pose = every[action, torch.arange(number)]
    mirrored = torch.rand(number, generator=generator) < 0.5
    pose = _kept(torch.where(mirrored[:, None, None], _mirrored(pose), pose), body, generator)
    turn = 2 * math.pi * torch.rand(number, generator=generator)
    depth = _DISTANCE[0] + (_DISTANCE[1] - _DISTANCE[0]) * torch.rand(number, 1, generator=generator)
    aside = torch.tensor(_ASIDE) * (2 * torch.rand(number, 2, generator=generator) - 1)
    return People(
        pose=pose,
        shape=torch.randn(number, len(SHAPES), generator=generator).clamp(-2.5, 2.5),
        orientation=_orientation(turn, _LEAN * torch.randn(number, 2, generator=generator)),
        translation=torch.cat([aside * depth, depth], dim=1),
        action=action,
    )


def walking(body: SkinnedBody, num_frames: int, generator: torch.Generator, frames_per_second: float = 30.0) -> People:
    """One person who walks in a circle before the camera, a step every half second.

    Args:
        body: whose ranges of motion are kept.
        num_frames: of the sequence.
        generator: of the person's shape and habits.
        frames_per_second: of the camera.

    Example:
        >>> walking(SkinnedBody(), 4, torch.Generator().manual_seed(0)).pose.shape
        torch.Size([4, 16, 3])
    """
    time = torch.arange(num_frames) / frames_per_second
    phase = 2 * math.pi * time
    action = ACTIONS["walk"]
    pose = _of(action.usual).expand(num_frames, -1, -1).clone()
    for habit in action.varies:
        pose += torch.randn(1, generator=generator) * _of(habit)
    for swing, part in zip((phase.cos(), phase.sin()), action.sways, strict=True):
        pose += swing[:, None, None] * _of(part)
    way = 2 * math.pi * time / 8.0 + 2 * math.pi * torch.rand(1, generator=generator)
    place = torch.stack([0.8 * way.cos(), 0.05 * (2 * phase).cos(), 4.5 + 0.8 * way.sin()], dim=1)
    return People(
        pose=_kept(pose, body, None),
        shape=torch.randn(1, len(SHAPES), generator=generator).expand(num_frames, -1),
        orientation=_orientation(-way, torch.zeros(num_frames, 2)),
        translation=place,
        action=torch.full((num_frames,), list(ACTIONS).index("walk")),
    )


def _angles(action: Action, number: int, generator: torch.Generator) -> Tensor:
    """Poses of one action, (number, 16, 3)."""
    pose = _of(action.usual).expand(number, -1, -1).clone()
    for part in action.varies:
        pose += torch.randn(number, 1, 1, generator=generator) * _of(part)
    if action.sways:
        phase = 2 * math.pi * torch.rand(number, 1, 1, generator=generator)
        pose += phase.cos() * _of(action.sways[0]) + phase.sin() * _of(action.sways[1])
    return pose


def _of(angles: dict[str, float]) -> Tensor:
    """A pose of what is named, (16, 3)."""
    pose, turning = torch.zeros(len(CARRIERS) - 1, 3), [JOINTS[joint] for joint in CARRIERS[1:]]
    for name, angle in angles.items():
        joint, axis = name.rsplit(" ", 1)
        for side in ("", "left ", "right "):
            if side + joint in turning:
                mirror = -1.0 if (side + joint).startswith("right") and axis != "bend" else 1.0
                pose[turning.index(side + joint), _AXES.index(axis)] = mirror * angle
    return pose


def _mirrored(pose: Tensor) -> Tensor:
    """The other way round: sides change places, twists and sideways swings their signs."""
    turning = [JOINTS[joint] for joint in CARRIERS[1:]]
    swap = {"left": "right", "right": "left"}
    other = [" ".join(swap.get(word, word) for word in name.split(" ")) for name in turning]
    return pose[:, [turning.index(name) for name in other]] * torch.tensor([1.0, -1.0, -1.0])


def _kept(pose: Tensor, body: SkinnedBody, generator: torch.Generator | None) -> Tensor:
    """Within the ranges of motion, after some noise."""
    middle, half = (body.lower + body.upper) / 2, (body.upper - body.lower) / 2
    if generator is not None:
        pose = pose + _NOISE * half * torch.randn(pose.shape, generator=generator)
    return middle + half * ((pose - middle) / half).clamp(-_INSIDE, _INSIDE)


def _orientation(turn: Tensor, lean: Tensor) -> Tensor:
    """A lean about the level axes after a turn about the vertical, (N, 3, 3)."""
    zero = torch.zeros_like(turn)
    turned = rotation_matrix(torch.stack([zero, turn, zero], dim=1))
    return rotation_matrix(torch.stack([lean[:, 0], zero, lean[:, 1]], dim=1)) @ turned
