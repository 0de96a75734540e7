"""A problem that is the same in any dimension: inversion of a random network of two layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..least_squares import LeastSquares
from ..problems.problem import Problem

_TRAIN, _VALIDATION, _TEST = 4096, 512, 512
_FLATTEST = 0.1


class RandomDecoder(nn.Module):
    """``F(x) = tanh(x S A) B`` with Gaussian A (d, 2d) and B (2d, d), and S diagonal, from 1 down to 0.1.

    Scaled so that ``x ~ N(0, I)`` gives hidden units of variance 1 before the tanh, and outputs of like size, in every d.

    Args:
        dim: d.
        generator: draws A and B.

    Example:
        >>> RandomDecoder(6, torch.Generator().manual_seed(0))(torch.zeros(5, 6)).shape
        torch.Size([5, 6])
    """

    inner: Tensor
    outer: Tensor

    def __init__(self, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        scales = torch.logspace(0.0, 1.0, dim, base=_FLATTEST)
        inner = scales[:, None] * torch.randn(dim, 2 * dim, generator=generator)
        self.register_buffer("inner", inner / scales.norm())
        self.register_buffer("outer", torch.randn(2 * dim, dim, generator=generator) / (2 * dim) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(B, d)`` to ``(B, d)``."""
        return torch.tanh(x @ self.inner) @ self.outer


def decoder(dim: int, seed: int = 0) -> Problem:
    """Find the input of a :class:`RandomDecoder` of d numbers from its output; the plain start is zero.

    Args:
        dim: d.
        seed: of the weights and the targets. The global random state is not touched.

    Example:
        >>> decoder(8).test.shape
        torch.Size([512, 8])
    """
    generator = torch.Generator().manual_seed(seed)
    forward_model = RandomDecoder(dim, generator)
    targets = forward_model(torch.randn(_TRAIN + _VALIDATION + _TEST, dim, generator=generator))
    train, validation, test = (part.clone() for part in targets.split([_TRAIN, _VALIDATION, _TEST]))
    return Problem(
        name=f"decoder of {dim}",
        forward_model=forward_model,
        loss_fn=LeastSquares(torch.sub),
        x_init=torch.zeros(dim),
        train=train,
        validation=validation,
        test=test,
        hard_because="Half of the hidden units are saturated, and the flattest direction is a hundred times as flat as the "
        "steepest.",
    )
