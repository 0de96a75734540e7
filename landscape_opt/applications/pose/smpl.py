"""SMPL and SMPL-X of the user's own, through the package smplx: licensed models, which are not part of this one."""

from __future__ import annotations

import os
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ...problems.skeleton import JOINTS
from .body import PosedBody

_RANGE = 2.6  # rad, of every angle either way, where the user gives no limits
_OURS = ("betas", "body_pose", "global_orient", "transl")
_SMPL_ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
_X_ARRAYS = ("lmk_faces_idx", "lmk_bary_coords")


class SMPLBody(nn.Module):
    """A :class:`BodyModel` around a model of the package ``smplx``: SMPL, SMPL-H or SMPL-X.

    The first 22 joints, which these models share, are the keypoints. What else the model has (hands, jaw, eyes,
    expression) stays as its own parameters say. Their frame has its second axis upwards; ``to_camera`` turns it round.

    Args:
        model: what ``smplx.create`` gives, or a module that is called like it.
        num_shapes: how many of the betas are free; None takes all.
        limits: least and greatest angles of the body's joints, each (N, 3) in rad; None takes 2.6 rad either way.

    Raises:
        TypeError: for a model that is not like those of smplx.
        ValueError: for more shapes than the model has, or limits of another shape.

    Example:
        ::

            body = SMPLBody.from_file("models/SMPLX_NEUTRAL.npz")  # or SMPLBody(smplx.create("models", "smplx"))
            model = KeypointModel(body)
    """

    lower: Tensor
    upper: Tensor
    to_camera: Tensor
    joint_names = JOINTS

    def __init__(self, model: nn.Module, num_shapes: int | None = None, limits: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        if missing := [name for name in ("NUM_BODY_JOINTS", "num_betas") if not hasattr(model, name)]:
            raise TypeError(
                f"expected a body model of the package smplx, got {type(model).__name__} without {', '.join(missing)}"
            )
        known: Any = model
        self.model = known
        num_turning, num_betas = int(known.NUM_BODY_JOINTS), int(known.num_betas)
        self.num_shapes = num_betas if num_shapes is None else num_shapes
        if not 0 < self.num_shapes <= num_betas:
            raise ValueError(f"num_shapes must be between 1 and the model's {num_betas}, got {num_shapes}")
        like = next(iter([*model.buffers(), *model.parameters()]), torch.zeros(1))
        like = like if like.is_floating_point() else torch.zeros(1)
        wide = like.new_full((num_turning, 3), _RANGE)
        lower, upper = (-wide, wide) if limits is None else limits
        if lower.shape != wide.shape or upper.shape != wide.shape:
            raise ValueError(f"limits must be two Tensors of shape {tuple(wide.shape)}")
        self.register_buffer("lower", lower.clone())
        self.register_buffer("upper", upper.clone())
        self.register_buffer("to_camera", torch.diag(like.new_tensor([1.0, -1.0, -1.0])))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], num_shapes: int | None = None) -> Self:
        """The model of an ``.npz`` file, of SMPL-X if it has landmarks of a face, otherwise of SMPL.

        For a ``.pkl`` file, which runs code when it is read, use ``SMPLBody(smplx.create(…))``.

        Args:
            path: of the file.
            num_shapes: see :class:`SMPLBody`.

        Raises:
            ImportError: if the package smplx is not installed.
            ValueError: if the file lacks an array that these models have.
        """
        try:
            smplx = import_module("smplx")
        except ImportError as error:
            raise ImportError(
                "SMPL and SMPL-X are read by the package smplx, which is not installed: pip install smplx. The models "
                "themselves are licensed, and come from smpl.is.tue.mpg.de and smpl-x.is.tue.mpg.de"
            ) from error
        if os.fspath(path).endswith(".pkl"):
            raise ValueError("a .pkl file runs code when it is read: use SMPLBody(smplx.create(path, …)) if you trust it")
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files if stored[name].dtype != object}
        if missing := [name for name in _SMPL_ARRAYS if name not in arrays]:
            raise ValueError(f"{os.fspath(path)} is no SMPL or SMPL-X model: it lacks {', '.join(missing)}")
        if all(name in arrays for name in _X_ARRAYS):
            # Without components hands are turned joint by joint, and a model of another number of them fits.
            return cls(smplx.SMPLX(os.fspath(path), use_pca=False, flat_hand_mean=True), num_shapes)
        return cls(smplx.SMPL(os.fspath(path), data_struct=SimpleNamespace(**arrays)), num_shapes)

    def forward(self, pose: Tensor, shape: Tensor, orientation: Tensor, translation: Tensor) -> PosedBody:
        """Skin and joints; arguments as in :class:`BodyModel`."""
        posed = self._posed(pose, shape, with_skin=True)
        root = posed.joints[:, :1]
        vertices, joints = (
            (points - root) @ orientation.mT + translation[:, None] for points in (posed.vertices, posed.joints)
        )
        return PosedBody(vertices, joints[:, : len(JOINTS)])

    def joints(self, pose: Tensor, shape: Tensor, orientation: Tensor, translation: Tensor) -> Tensor:
        """The first 22 joints, (B, 22, 3)."""
        joints = self._posed(pose, shape, with_skin=False).joints[:, : len(JOINTS)]
        placed: Tensor = (joints - joints[:, :1]) @ orientation.mT + translation[:, None]
        return placed

    def _posed(self, pose: Tensor, shape: Tensor, with_skin: bool) -> Any:
        size = len(pose)
        model: Any = self.model
        betas = torch.nn.functional.pad(shape, (0, int(model.num_betas) - self.num_shapes))
        # Parameters of the model's own have the batch size that it was made with, usually one.
        kept = {
            name: part[:1].expand(size, *part.shape[1:])
            for name, part in model.named_parameters(recurse=False)
            if name not in _OURS
        }
        still = pose.new_zeros(size, 3)
        return model(
            betas=betas, body_pose=pose.flatten(1), global_orient=still, transl=still, return_verts=with_skin, **kept
        )
