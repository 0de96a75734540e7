"""A loss that is a sum of squares, and says so: solvers that need residuals can then be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


class LeastSquares:
    """L = ½ ‖r(prediction, target)‖², one number per sample: a ``loss_fn`` that Levenberg–Marquardt can look into.

    Args:
        residual_fn: (prediction, target) → r, (B, …).

    Raises:
        TypeError: if ``residual_fn`` is not callable.

    Example:
        >>> import torch
        >>> loss_fn = LeastSquares(lambda prediction, target: prediction - target)
        >>> loss_fn(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))
        tensor([12.5000])
    """

    def __init__(self, residual_fn: Callable[[Any, Any], Tensor]) -> None:
        if not callable(residual_fn):
            raise TypeError(
                f"residual_fn must be a function (prediction, target) → (B, …), got {type(residual_fn).__name__}"
            )
        self.residual_fn = residual_fn

    def residuals(self, prediction: Any, target: Any) -> Tensor:
        """r, a row per sample, (B, m)."""
        residual: Any = self.residual_fn(prediction, target)
        if not isinstance(residual, Tensor) or residual.ndim == 0:
            raise TypeError(f"residual_fn must return a Tensor of shape (B, …), got {residual!r}")
        return residual.reshape(residual.shape[0], -1)

    def __call__(self, prediction: Any, target: Any) -> Tensor:
        """½ ‖r‖², (B,)."""
        return 0.5 * self.residuals(prediction, target).square().sum(1)
