"""A skinned, articulated body of our own: 22 joints, six numbers of shape, a skin of capsules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...problems.camera import rotation_matrix
from ...problems.skeleton import CARRIERS, JOINTS, Skeleton, turned_down
from .body import PosedBody
from .mesh import capsule_mesh

SHAPES = ("height", "legs", "arms", "torso", "breadth", "girth")
"""What the six numbers of shape change; each is meant to be standard normal."""
_STRETCH = 0.04  # of a bone per standard deviation
_GIRTH = 0.12  # of the skin's distance from its bone per standard deviation
_STRETCHED = {
    "legs": ("knee", "ankle"),
    "arms": ("elbow", "wrist"),
    "torso": ("spine", "neck"),
    "breadth": ("hip", "collar", "shoulder"),
}


class SkinnedBody(nn.Module):
    r"""Linear blend skinning of a mesh of capsules: ``(pose, shape, orientation, translation)`` to vertices and joints.

    The tree of joints, their ranges of motion and the bones at rest are those of
    :class:`~landscape_opt.problems.skeleton.Skeleton`. Bones are linear in the shape, as in the body model SMPL (Loper et
    al., 2015), and so are the joints at rest :math:`j(\beta)`. A vertex keeps its place relative to its bone. With
    :math:`R_k` and :math:`p_k` the rotation and position of joint k after posing, and skinning weights :math:`w_{vk}`,

    .. math:: v = \sum_k w_{vk}\,\bigl(R_k\,(v_0(\beta) - j_k(\beta)) + p_k\bigr).

    Mesh and numbers are our own; no data of SMPL is used. Satisfies :class:`BodyModel` with J = 22 joints, N = 16 that
    turn beside the root, S = 6, V = 777.

    Example:
        >>> body = SkinnedBody()
        >>> posed = body(torch.zeros(2, 16, 3), torch.zeros(2, 6), torch.eye(3).expand(2, 3, 3), torch.zeros(2, 3))
        >>> posed.vertices.shape, posed.joints.shape
        (torch.Size([2, 777, 3]), torch.Size([2, 22, 3]))
    """

    bones: Tensor
    stretches: Tensor
    paths: Tensor
    lower: Tensor
    upper: Tensor
    to_camera: Tensor
    along: Tensor
    offsets: Tensor
    weights: Tensor
    faces: Tensor
    joint_names = JOINTS
    num_shapes = len(SHAPES)

    def __init__(self) -> None:
        super().__init__()
        skeleton = Skeleton()
        bones = skeleton.bones[:, :, 0]
        self.parents, self.levels = skeleton.parents, skeleton.levels
        self.register_buffer("bones", bones)
        self.register_buffer("stretches", _stretches()[:, :, None] * bones)
        self.register_buffer("paths", skeleton.paths)
        self.register_buffer("lower", skeleton.middle - skeleton.half_range)
        self.register_buffer("upper", skeleton.middle + skeleton.half_range)
        self.register_buffer("to_camera", torch.eye(3))
        mesh = capsule_mesh(bones)
        for name in ("along", "offsets", "weights", "faces"):
            self.register_buffer(name, getattr(mesh, name))

    def forward(self, pose: Tensor, shape: Tensor, orientation: Tensor, translation: Tensor) -> PosedBody:
        """Skin and joints in the frame of the camera, in m.

        Args:
            pose: rotation vectors of the joints in ``CARRIERS`` but the pelvis, (B, 16, 3) in rad.
            shape: (B, 6), in the order of ``SHAPES``.
            orientation: of the whole body about its pelvis, (B, 3, 3).
            translation: where the pelvis is, (B, 3).
        """
        bones = self._bones(shape)
        turns = self._turns(pose, orientation)
        posed = self._places(turns, bones, translation)
        at_rest = self.paths @ bones
        girth = 1.0 + _GIRTH * shape[:, SHAPES.index("girth"), None, None]
        skin = self.along @ at_rest + girth * self.offsets
        shifts = posed[:, CARRIERS] - (turns @ at_rest[:, CARRIERS, :, None])[..., 0]
        blended = torch.einsum("vk,bkij->bvij", self.weights, turns)
        return PosedBody((blended @ skin[..., None])[..., 0] + self.weights @ shifts, posed)

    def joints(self, pose: Tensor, shape: Tensor, orientation: Tensor, translation: Tensor) -> Tensor:
        """The joints alone, (B, 22, 3)."""
        return self._places(self._turns(pose, orientation), self._bones(shape), translation)

    def _bones(self, shape: Tensor) -> Tensor:
        """From the parents at rest, (B, 21, 3)."""
        return self.bones + torch.einsum("bs,sjk->bjk", shape, self.stretches)

    def _turns(self, pose: Tensor, orientation: Tensor) -> Tensor:
        """How the joints in ``CARRIERS`` are turned in the frame of the camera, (B, 17, 3, 3)."""
        own = rotation_matrix(pose.flatten(0, 1)).unflatten(0, pose.shape[:2])
        return turned_down(orientation[:, None], own, self.levels)

    def _places(self, turns: Tensor, bones: Tensor, translation: Tensor) -> Tensor:
        """Positions of all joints, (B, 22, 3)."""
        turned = (turns[:, self.parents] @ bones[..., None])[..., 0]
        return translation[:, None] + self.paths @ turned


def _stretches() -> Tensor:
    """How much longer a bone gets per standard deviation of each shape, (6, 21)."""
    shares = torch.zeros(len(SHAPES), len(JOINTS) - 1)
    shares[SHAPES.index("height")] = _STRETCH
    for shape, bones in _STRETCHED.items():
        for place, joint in enumerate(JOINTS[1:]):
            if joint.endswith(bones):
                shares[SHAPES.index(shape), place] = _STRETCH
    return shares
