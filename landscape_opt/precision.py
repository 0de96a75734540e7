"""F in half precision: autocast around F alone, while x, z, θ, losses and optimizers stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from . import batches
from .layout import Layout

HALVES = (torch.bfloat16, torch.float16)
MAX_EXPONENT = 100
"""Of a scale: 2¹⁰⁰ and its inverse are numbers of float32."""


@dataclass(frozen=True)
class Autocast:
    r"""Runs F, and nothing else, under ``torch.autocast``.

    What F returns in half precision is cast to the dtype of x before ``loss_fn`` sees it, so that the loss, ∂L/∂prediction,
    ∂L/∂x, θ and all optimizer states are float32 or better. F's weights stay as they are: autocast casts copies.

    float16 has few exponents. Per row, ∂L/∂prediction is therefore multiplied by the power of two that brings its largest
    element to [½, 1) before it enters the backward of F, and ∂L/∂x is divided by it: loss scaling (Micikevicius et al.,
    *Mixed Precision Training*, ICLR 2018), with a scale for every row, so that rows do not meet, and the size of the loss
    does not matter. A row that overflows even so is not finite, and is treated as such a row is everywhere. Second
    derivatives (:class:`~landscape_opt.Differentiable`) are not scaled.

    Args:
        dtype: ``torch.bfloat16`` or ``torch.float16``.

    Raises:
        ValueError: for another dtype.

    Example:
        >>> import torch
        >>> from landscape_opt.layout import Layout
        >>> F = torch.nn.Linear(3, 5)
        >>> in_half = Autocast(torch.bfloat16).around(lambda x: F(x), Layout(torch.zeros(3)))
        >>> in_half(torch.zeros(2, 3)).dtype  # computed in bfloat16, handed on in float32
        torch.float32
    """

    dtype: torch.dtype = torch.bfloat16

    def __post_init__(self) -> None:
        if self.dtype not in HALVES:
            raise ValueError(f"autocast runs F in torch.bfloat16 or torch.float16, got {self.dtype}")

    def around(self, forward_model: Callable[..., Any], layout: Layout) -> Callable[..., Any]:
        """F as it is called: x (B, …) in, the prediction in the dtype of x out.

        Raises:
            ValueError: where x is float64, which autocast leaves alone.
        """
        if all(part.dtype == torch.float64 for part in layout.parts.values()):
            raise ValueError(
                "autocast has no effect on float64: give x_init, and F, in float32 to run F in half precision, "
                "or leave precision out"
            )
        scaling = self.dtype == torch.float16

        def in_half(x: Any, *given: Any) -> Any:
            scales = _Scales() if scaling and torch.is_grad_enabled() else None
            with torch.autocast(layout.device.type, self.dtype):
                prediction = forward_model(x if scales is None else _through(_Entry, scales, x), *given)
            full = batches.map_leaves(lambda leaf: leaf.to(layout.dtype) if leaf.dtype in HALVES else leaf, prediction)
            return full if scales is None else _through(_Exit, scales, full)

        return in_half


@dataclass
class _Scales:
    """What gradients are multiplied by inside of F, in one call of it: set where they enter, read where they leave."""

    of_rows: Tensor | None = None
    exact: bool = field(default=False)

    def enter(self, gradients: tuple[Tensor, ...]) -> Tensor | None:
        """The scale of every row, (B,); None for 1."""
        # A graph of this backward would be gone through from its middle, by gradients that no scale has met.
        self.exact = self.exact or torch.is_grad_enabled()
        self.of_rows = None if self.exact else _power_of_two(gradients)
        return self.of_rows


class _End(torch.autograd.Function):
    """The identity on what enters F or leaves it."""

    @staticmethod
    def forward(ctx: Any, scales: _Scales, *leaves: Tensor) -> tuple[Tensor, ...]:
        ctx.scales = scales
        return tuple(leaf.view_as(leaf) for leaf in leaves)


class _Exit(_End):
    """The identity on what F returns; its backward multiplies."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = ctx.scales.enter(gradients)
        return None, *(gradient if scale is None else _times(gradient, scale) for gradient in gradients)


class _Entry(_End):
    """The identity on x; its backward divides."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = ctx.scales.of_rows
        return None, *(gradient if scale is None else _times(gradient, 1.0 / scale) for gradient in gradients)


def _through(end: type[torch.autograd.Function], scales: _Scales, batch: Any) -> Any:
    """A batch whose floating-point parts have passed one end of F."""
    passed = iter(end.apply(scales, *batches.float_leaves(batch)))
    return batches.map_leaves(lambda leaf: next(passed) if leaf.is_floating_point() else leaf, batch)


def _power_of_two(gradients: tuple[Tensor, ...]) -> Tensor:
    """2^−e of every row, where its largest element is m · 2^e, ½ ≤ m < 1; 1 for rows that are zero or not finite."""
    largest = torch.stack([gradient.detach().abs().flatten(1).amax(1) for gradient in gradients]).amax(0)
    exponent = torch.frexp(largest).exponent.clamp(-MAX_EXPONENT, MAX_EXPONENT)
    usable = largest.isfinite() & (largest > 0)
    return torch.where(usable, torch.ldexp(torch.ones_like(largest), -exponent), 1.0)


def _times(gradient: Tensor, scale: Tensor) -> Tensor:
    return gradient * scale.to(gradient.dtype).reshape(-1, *[1] * (gradient.ndim - 1))
