"""The user's own tensors as one flat x, (B, d), and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import batches
from .layout import Layout


class Parameters:
    """The tensors that a loop of the user's own moves, and x as it was last written into them.

    Args:
        params: tensors (B, …) in the order of the layout, or a dict of its parts.
        layout: of x.

    Attributes:
        parts: the tensors.
        x: flat, (B, d), float32 or better: finer than what half-precision tensors can hold.

    Raises:
        TypeError: for something that is not a list or dict of tensors.
        ValueError: for tensors that do not fit, or that no gradient can reach.
    """

    def __init__(self, params: Any, layout: Layout) -> None:
        self.layout = layout
        self.parts = checked_parts(params, layout)
        self.x = self._flat(self.parts)
        if not bool(self.x.isfinite().all()):
            raise ValueError("x holds NaN or infinity; begin at a finite point")

    def write(self, x: Tensor) -> None:
        """Put x into the tensors, in place."""
        self.x = x
        with torch.no_grad():
            for part, piece in zip(self.parts, self._pieces(), strict=True):
                part.copy_(piece)

    def changes(self) -> Tensor:
        """What the user has added to x since it was written, (B, d); from now on x is what they have made of it."""
        now = self._flat(self.parts)
        written = self._flat([piece.to(part) for piece, part in zip(self._pieces(), self.parts, strict=True)])
        change = torch.where(now == written, 0.0, now - self.x)
        self.x = torch.where(now == written, self.x, now)
        return change

    def _pieces(self) -> list[Tensor]:
        return batches.leaves(self.layout.structured(self.x))

    def _flat(self, parts: list[Tensor]) -> Tensor:
        return torch.cat([part.detach().reshape(len(part), -1).to(self.layout.row) for part in parts], dim=1)


def checked_parts(params: Any, layout: Layout) -> list[Tensor]:
    """The user's tensors in the order of the layout."""
    names = list(layout.parts)
    wanted = f"one for each part of x_init, {names}" if layout.is_dict else "one, the x of its landscape"
    if isinstance(params, Tensor):
        raise TypeError("params must be a list, as for torch.optim: LandscapeOptimizer([x], landscape, target)")
    if isinstance(params, Mapping):
        if set(params) != set(names) or not layout.is_dict:
            raise ValueError(f"params is a dict of {sorted(params)}; a LandscapeOptimizer moves {wanted}")
        params = [params[name] for name in names]
    parts = list(params)
    if not all(isinstance(part, Tensor) for part in parts):
        raise TypeError("params must be tensors: a landscape has one x, so there are no parameter groups and no names")
    if len(parts) != len(names):
        raise ValueError(f"params holds {len(parts)} tensors; a LandscapeOptimizer moves {wanted}")
    for name, part in zip(names, parts, strict=True):
        _check_part(name, part, (len(parts[0]) if parts[0].ndim else 0, *layout.parts[name].shape))
    return parts


def _check_part(name: str, part: Tensor, wanted: tuple[int, ...]) -> None:
    if part.ndim == 0 or part.shape[1:] != wanted[1:]:
        shape = ", ".join(["B", *map(str, wanted[1:])])
        raise ValueError(f"{name} has shape {tuple(part.shape)}, expected ({shape}): a batch of rows of the shape of x_init")
    if len(part) != wanted[0]:
        raise ValueError(f"{name} has {len(part)} rows, the part before it {wanted[0]}")
    if not part.is_leaf or not part.requires_grad:
        raise ValueError(f"{name} must be a leaf that requires a gradient: write {name} = {name}.detach().requires_grad_()")
