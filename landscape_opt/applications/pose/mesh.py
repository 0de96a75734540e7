"""A skin made of capsules around bones, with weights that go over smoothly from one joint to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...problems.skeleton import CARRIERS, JOINTS, PARENTS

_AROUND = 7  # vertices of a ring
_BLEND = 0.3  # share of a bone at either end over which its neighbour has a say
# Radii in m of the capsule from the parent to a joint: at the parent, at the joint, and how much wider than deep it is.
_RADII: dict[str, tuple[float, float, float]] = {
    "hip": (0.105, 0.095, 1.1),
    "lower spine": (0.115, 0.110, 1.35),
    "knee": (0.085, 0.055, 1.0),
    "middle spine": (0.110, 0.115, 1.35),
    "ankle": (0.055, 0.038, 1.0),
    "upper spine": (0.115, 0.120, 1.35),
    "toes": (0.038, 0.030, 1.2),
    "neck": (0.085, 0.055, 1.3),
    "collar": (0.070, 0.065, 1.0),
    "head": (0.060, 0.095, 0.9),
    "shoulder": (0.065, 0.058, 1.0),
    "elbow": (0.052, 0.040, 1.0),
    "wrist": (0.040, 0.028, 1.0),
}
# Rings of a capsule: share of the way along the bone, then, in radii, the way beyond its end and the size of the ring.
_RINGS = ((0.0, -0.7, 0.7), (0.0, 0.0, 1.0), (0.5, 0.0, 1.0), (1.0, 0.0, 1.0), (1.0, 0.7, 0.7))


@dataclass(frozen=True, eq=False)
class BodyMesh:
    """The skin at rest, relative to the joints, so that it follows when the bones change.

    Attributes:
        along: weights of the 22 joints at rest, whose sum is the foot of a vertex on its bone, (V, 22).
        offsets: from there to the vertex, in m, (V, 3).
        weights: of the 17 joints that turn, rows sum to 1, (V, 17).
        faces: corners of the triangles, (F, 3).
    """

    along: Tensor = field(repr=False)
    offsets: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    faces: Tensor = field(repr=False)


def capsule_mesh(bones: Tensor) -> BodyMesh:
    """A capsule around every bone, each of 37 vertices; they overlap at the joints and do not share vertices.

    Args:
        bones: from the parent of each joint but the root to the joint, at rest, (21, 3).

    Example:
        >>> from landscape_opt.problems.skeleton import Skeleton
        >>> capsule_mesh(Skeleton().bones[:, :, 0]).weights.shape
        torch.Size([777, 17])
    """
    capsules = [_capsule(joint, bones[joint - 1]) for joint in range(1, len(JOINTS))]
    starts = torch.arange(len(capsules)) * (_AROUND * len(_RINGS) + 2)
    return BodyMesh(
        along=torch.cat([one.along for one in capsules]),
        offsets=torch.cat([one.offsets for one in capsules]),
        weights=torch.cat([one.weights for one in capsules]),
        faces=torch.cat([one.faces + start for one, start in zip(capsules, starts, strict=True)]),
    )


def _capsule(joint: int, bone: Tensor) -> BodyMesh:
    first, last, wide = _RADII[JOINTS[joint].removeprefix("left ").removeprefix("right ")]
    direction = normalize(bone, dim=0)
    # One side lies across the body, so that a torso is wider than deep.
    across = torch.tensor([1.0, 0.0, 0.0]) if direction[0].abs() < 0.9 else torch.tensor([0.0, 1.0, 0.0])
    across = normalize(across - (across @ direction) * direction, dim=0)
    deep = torch.linalg.cross(direction, across)
    angle = torch.arange(_AROUND) * (2 * math.pi / _AROUND)
    circle = wide * angle.cos()[:, None] * across + angle.sin()[:, None] * deep
    shares, offsets = [torch.zeros(1)], [-first * direction[None]]
    for way, beyond, size in _RINGS:
        radius = first + way * (last - first)
        shares.append(torch.full((_AROUND,), way))
        offsets.append(radius * (beyond * direction + size * circle))
    share = torch.cat([*shares, torch.ones(1)])
    along = torch.zeros(len(share), len(JOINTS))
    along[:, PARENTS[joint]], along[:, joint] = 1.0 - share, share
    return BodyMesh(along, torch.cat([*offsets, last * direction[None]]), _weights(joint, share), _faces())


def _weights(joint: int, share: Tensor) -> Tensor:
    """The bone moves with its parent; near its ends its neighbours have up to half a say."""
    parent = PARENTS[joint]
    before = 0.5 * (1.0 - _smooth(share / _BLEND)) if PARENTS[parent] >= 0 else torch.zeros_like(share)
    after = 0.5 * (1.0 - _smooth((1.0 - share) / _BLEND)) if joint in CARRIERS else torch.zeros_like(share)
    weights = torch.zeros(len(share), len(CARRIERS))
    weights[:, CARRIERS.index(parent)] = 1.0 - before - after
    if PARENTS[parent] >= 0:
        weights[:, CARRIERS.index(PARENTS[parent])] = before
    if joint in CARRIERS:
        weights[:, CARRIERS.index(joint)] = after
    return weights


def _smooth(share: Tensor) -> Tensor:
    share = share.clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _faces() -> Tensor:
    """A tip, rings, a tip."""
    here = torch.arange(_AROUND)
    following = (here + 1) % _AROUND
    last = 1 + _AROUND * len(_RINGS)
    faces = [torch.stack([torch.zeros_like(here), 1 + following, 1 + here], dim=1)]
    for ring in range(len(_RINGS) - 1):
        low, high = 1 + ring * _AROUND, 1 + (ring + 1) * _AROUND
        faces.append(torch.stack([low + here, low + following, high + here], dim=1))
        faces.append(torch.stack([low + following, high + following, high + here], dim=1))
    top = last - _AROUND
    faces.append(torch.stack([torch.full_like(here, last), top + here, top + following], dim=1))
    return torch.cat(faces)
