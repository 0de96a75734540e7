"""Figures that people of the field know, per sample."""

from __future__ import annotations

import torch
from torch import Tensor


def mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """Mean distance of the joints in mm, with the roots laid upon one another; (B, J, 3) twice to (B,).

    Args:
        joints: as found, (B, J, 3) in m, the root first.
        truth: the same of the real body, (B, J, 3).

    Example:
        >>> mpjpe(torch.ones(1, 22, 3), torch.zeros(1, 22, 3))
        tensor([0.])
    """
    away = (joints - joints[:, :1]) - (truth - truth[:, :1])
    error: Tensor = 1000.0 * away.norm(dim=2).mean(1)
    return error


def pa_mpjpe(joints: Tensor, truth: Tensor) -> Tensor:
    """The same after the similarity that lays one body best upon the other (Procrustes; Umeyama 1991), in mm; (B,).

    Args:
        joints: as found, (B, J, 3) in m.
        truth: the same of the real body, (B, J, 3).

    Example:
        >>> truth = torch.randn(1, 22, 3, generator=torch.Generator().manual_seed(0))
        >>> bool(pa_mpjpe(2.0 * truth + 1.0, truth) < 0.01)
        True
    """
    centre, wanted = joints.mean(1, keepdim=True), truth.mean(1, keepdim=True)
    a, b = (joints - centre).double(), (truth - wanted).double()
    left, values, right = torch.linalg.svd(a.mT @ b)
    sign = torch.ones_like(values)
    sign[:, 2] = torch.linalg.det(left @ right).sign()  # a rotation, never a reflection
    turn = left * sign[:, None] @ right
    size = (values * sign).sum(1) / a.square().sum((1, 2)).clamp_min(1e-12)
    error: Tensor = 1000.0 * (size[:, None, None] * a @ turn - b).norm(dim=2).mean(1)
    return error.to(joints)


def reprojection(keypoints: Tensor, target: Tensor, confidence: Tensor | None = None) -> Tensor:
    """Mean distance in pixels of the keypoints that were seen; (B, …, J, 2) twice to (B,).

    Args:
        keypoints: as predicted, (B, …, J, 2) in pixels.
        target: as given, (B, …, J, 2).
        confidence: (B, …, J); those of 0 are left out.

    Example:
        >>> reprojection(torch.full((1, 2, 2), 3.0), torch.zeros(1, 2, 2), confidence=torch.tensor([[1.0, 0.0]]))
        tensor([4.2426])
    """
    distance = (keypoints - target).norm(dim=-1).flatten(1)
    if confidence is None:
        whole: Tensor = distance.mean(1)
        return whole
    seen = (confidence > 0).flatten(1)
    mean: Tensor = torch.where(seen, distance, 0.0).sum(1) / seen.sum(1).clamp_min(1)
    return mean
