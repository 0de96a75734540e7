"""How x, a Tensor or a dict of Tensors, lies in one flat row of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

X: TypeAlias = Tensor | dict[str, Tensor]


class Layout:
    """The way between the user's x and flat rows (B, d).

    Flat rows are float32 or better, whatever the dtype of x: half-precision steps of a descent round to nothing.

    Args:
        x_init: Tensor, or dict of Tensors, *without* batch dimension.
    """

    def __init__(self, x_init: X) -> None:
        self.parts = self._checked(x_init)
        self.is_dict = isinstance(x_init, Mapping)
        first = next(iter(self.parts.values()))
        self.device = first.device
        wide = any(part.dtype == torch.float64 for part in self.parts.values())
        self.dtype = torch.float64 if wide else torch.float32
        self.dim = sum(part.numel() for part in self.parts.values())
        self.row = torch.cat([part.detach().reshape(-1).to(self.dtype) for part in self.parts.values()]).clone()

    def to(self, device: torch.device) -> None:
        """Move the plain start; what is made from it follows."""
        self.parts = {name: part.to(device) for name, part in self.parts.items()}
        self.row, self.device = self.row.to(device), device

    @property
    def x_init(self) -> X:
        """The plain start as it was given."""
        return self.parts if self.is_dict else self.parts["x"]

    @staticmethod
    def _checked(x_init: X) -> dict[str, Tensor]:
        parts = dict(x_init) if isinstance(x_init, Mapping) else {"x": x_init}
        if not parts:
            raise ValueError("x_init is an empty dict; it must hold at least one Tensor")
        for name, part in parts.items():
            if not isinstance(part, Tensor):
                raise TypeError(f"x_init[{name!r}] must be a Tensor, got {type(part).__name__}")
            if not part.is_floating_point():
                raise TypeError(f"x_init[{name!r}] must be floating-point to be descended in, got {part.dtype}")
            if part.numel() == 0:
                raise ValueError(f"x_init[{name!r}] is empty")
            if not bool(part.isfinite().all()):
                raise ValueError(f"x_init[{name!r}] holds NaN or infinity; give a finite start")
        if len({part.device for part in parts.values()}) > 1:
            raise ValueError(f"the parts of x_init lie on several devices: {[str(p.device) for p in parts.values()]}")
        return parts

    def structured(self, flat: Tensor) -> X:
        """The user's x, (B, …) in its own dtype, of flat rows (B, d). Differentiable."""
        sizes = [part.numel() for part in self.parts.values()]
        pieces = {
            name: piece.reshape(-1, *part.shape).to(part.dtype)
            for (name, part), piece in zip(self.parts.items(), flat.split(sizes, dim=1), strict=True)
        }
        return pieces if self.is_dict else pieces["x"]

    def flat(self, x: X, what: str = "x") -> Tensor:
        """Flat rows (B, d) of the user's x (B, …); refuses what does not fit."""
        given = dict(x) if isinstance(x, Mapping) else {"x": x}
        if set(given) != set(self.parts) or isinstance(x, Mapping) != self.is_dict:
            wanted = f"a dict with {sorted(self.parts)}" if self.is_dict else "a Tensor"
            raise ValueError(f"{what} must be {wanted}, like x_init")
        for name, part in self.parts.items():
            if given[name].shape[1:] != part.shape:
                raise ValueError(f"{what} has rows of shape {tuple(given[name].shape[1:])}, x_init has {tuple(part.shape)}")
        return torch.cat([given[name].reshape(len(given[name]), -1).to(self.row) for name in self.parts], dim=1)

    def flat_like(self, value: X | float) -> Tensor:
        """One flat row (d,) of a number, a Tensor, or a dict of them, spread over the shape of x_init."""
        given = value if isinstance(value, Mapping) else dict.fromkeys(self.parts, value)
        if set(given) != set(self.parts):
            raise ValueError(f"expected the parts {sorted(self.parts)}, got {sorted(given)}")
        dtype, device = self.row.dtype, self.row.device  # a number is not to pass through another precision
        rows = [
            torch.as_tensor(given[name], dtype=dtype, device=device).expand(part.shape) for name, part in self.parts.items()
        ]
        return torch.cat([row.reshape(-1) for row in rows])

    def start(self, batch_size: int) -> Tensor:
        """x_init in every row, (B, d)."""
        return self.row.expand(batch_size, -1).clone()
