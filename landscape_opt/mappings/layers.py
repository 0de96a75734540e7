"""Layers that the mappings share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

FULL_LINEAR_UP_TO = 512
"""Dense d × d parts are used up to this d; beyond it they would dominate memory and time."""
BLOCK = 16
"""Sizes of matrix products are filled up to a multiple of this: elsewhere BLAS chooses its kernel by the number of rows,
by where they lie in memory and by what is left over at the end, and every kernel rounds in its own way."""


def times(rows: Tensor, matrix: Tensor) -> Tensor:
    """``rows @ matrix``, (B, n), where the bits of a row do not depend on how many stand beside it (law 1)."""
    size, width = len(rows), matrix.shape[1]
    inner = -matrix.shape[0] % BLOCK
    product: Tensor = pad(rows, (0, inner, 0, -size % BLOCK)) @ pad(matrix, (0, -width % BLOCK, 0, inner))
    return product[:size, :width]


class Linear(nn.Linear):
    """A linear layer for rows that do not meet, see :func:`times`; its weights are filled up once, when it is made.

    Args:
        dim_in: numbers in a row.
        dim_out: numbers in a row of the output.
        bias: whether one is added.
    """

    def __init__(self, dim_in: int, dim_out: int, bias: bool = True) -> None:
        super().__init__(dim_in + -dim_in % BLOCK, dim_out + -dim_out % BLOCK, bias)
        self.dim_out = dim_out

    def forward(self, rows: Tensor) -> Tensor:
        """W x + b, (B, n)."""
        filled = pad(rows, (0, self.in_features - rows.shape[1], 0, -len(rows) % BLOCK))
        return super().forward(filled)[: len(rows), : self.dim_out]


def mlp(dim_in: int, widths: list[int], dim_out: int, activation: Callable[[], nn.Module] = nn.SiLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    dims = [dim_in, *widths]
    layers: list[nn.Module] = []
    for before, after in pairwise(dims):
        layers += [Linear(before, after), activation()]
    return nn.Sequential(*layers, Linear(dims[-1], dim_out))


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with its last Linear at zero: it says nothing at birth."""
    last = layer if isinstance(layer, nn.Linear) else [part for part in layer.modules() if isinstance(part, nn.Linear)][-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return layer


class NearIdentity(nn.Module):
    """A learned linear map R^d → R^d, the identity at birth: dense for small d, diagonal for large."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dense = dim <= FULL_LINEAR_UP_TO
        self.weight = nn.Parameter(torch.eye(dim) if self.dense else torch.ones(dim))

    def forward(self, z: Tensor) -> Tensor:
        """W z, (B, d)."""
        return times(z, self.weight.T) if self.dense else z * self.weight


class TargetCode(nn.Module):
    """A short code of standardised target features, (B, m) → (B, size)."""

    def __init__(self, num_features: int, width: int, size: int = 64) -> None:
        super().__init__()
        self.size = size if num_features else 1
        self.layers = mlp(num_features, [width, width], size) if num_features else None

    def forward(self, standardised: Tensor) -> Tensor:
        """The code; a constant, (B, 1), where targets cannot be read."""
        if self.layers is None:
            return standardised.new_ones(standardised.shape[0], 1)
        code: Tensor = self.layers(standardised)
        return code


class LearnedStart(nn.Module):
    """Where to start for a target, in units of the move r: head(code(y)) + linear(y), zero at birth."""

    def __init__(self, code: TargetCode, num_features: int, width: int, dim: int) -> None:
        super().__init__()
        self.code = code
        self.head = zeroed(mlp(code.size, [width], dim))
        affordable = 0 < num_features * dim <= 4 * FULL_LINEAR_UP_TO**2
        self.linear = zeroed(Linear(num_features, dim, bias=False)) if affordable else None

    def forward(self, standardised: Tensor) -> Tensor:
        """Displacement from x_init in units of r, (B, d)."""
        displacement: Tensor = self.head(self.code(standardised))
        return displacement if self.linear is None else displacement + self.linear(standardised)
