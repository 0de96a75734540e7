"""What the user's own evaluation of F shows: by a closure, or by the gradients that a backward has left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import batches
from .objective import Evaluation

Closure: TypeAlias = Callable[[], Any]
MEND = "return the losses per sample, without .sum(), .mean() or backward(): the optimizer takes the gradients itself"


def seen(parts: Sequence[Tensor], x: Tensor) -> Evaluation:
    """What is known after a plain backward: x and ∂L/∂x. The loss and ∂L/∂prediction are not, and are given as zeros.

    Raises:
        RuntimeError: if there is no gradient.
    """
    if all(part.grad is None for part in parts):
        raise RuntimeError(
            "x.grad is None: call backward() before step(), or pass step(closure) a function that returns losses per sample"
        )
    gradients = [torch.zeros_like(part) if part.grad is None else part.grad for part in parts]
    return Evaluation(x, x.new_zeros(len(x)), _flat(gradients, x), x.new_zeros(len(x), 0))


def evaluated(closure: Closure, parts: Sequence[Tensor], x: Tensor, num_residuals: int) -> tuple[Evaluation, Any]:
    """One evaluation of F by the user's closure, at x (B, d), and what the closure returned.

    Args:
        closure: returns the losses (B,), or a pair of the losses and the prediction that they were computed from.
        parts: the user's x, in the order of the layout.
        x: the same, flat.
        num_residuals: numbers of ∂L/∂prediction that θ reads, 0 if it reads none.

    Raises:
        TypeError: if the closure returns something else.
        ValueError: for losses that are not per sample, or that do not depend on x.
    """
    with torch.enable_grad():
        answer = closure()
        losses, prediction = checked_answer(answer, len(x))
        if num_residuals and prediction is None:
            raise ValueError(
                "this landscape reads ∂loss/∂prediction: return a pair (losses, prediction) from the closure, not the "
                "losses alone, or call backward() and step() without a closure"
            )
        if not losses.requires_grad:
            raise ValueError("the losses do not depend on x by differentiable operations: look for .detach() or no_grad()")
        residuals = [] if prediction is None else [one for one in batches.float_leaves(prediction) if one.requires_grad]
        grad_x, grad_prediction = _gradients(losses, parts, residuals)
    residual = batches.pooled(_flat(grad_prediction, x)) if grad_prediction else x.new_zeros(len(x), 0)
    if num_residuals and residual.shape[1] != num_residuals:
        raise ValueError(
            f"the prediction has {residual.shape[1]} numbers per row, the landscape was built for {num_residuals}"
        )
    return Evaluation(x, losses.detach().to(x), _flat(grad_x, x), residual), answer


def checked_answer(answer: Any, batch_size: int) -> tuple[Tensor, Any]:
    """Losses and prediction, or None in its place, of what a closure returned."""
    losses, prediction = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
    if not isinstance(losses, Tensor):
        raise TypeError(
            f"the closure must return a Tensor or a pair (losses, prediction), got {type(losses).__name__}; {MEND}"
        )
    if losses.shape != (batch_size,):
        raise ValueError(
            f"the closure must return one loss per sample, shape ({batch_size},), got shape {tuple(losses.shape)}; {MEND}"
        )
    if prediction is not None and (found := batches.size(prediction)) != batch_size:
        raise ValueError(f"the prediction has {found} rows for {batch_size} rows of x")
    return losses, prediction


def _gradients(losses: Tensor, parts: Sequence[Tensor], residuals: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    leaves = [*parts, *residuals]
    try:
        found: list[Tensor | None] = list(torch.autograd.grad(losses.sum(), leaves, allow_unused=True))
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        raise RuntimeError(f"the closure has called backward(), which frees the graph; {MEND}") from error
    if all(gradient is None for gradient in found[: len(parts)]):
        raise ValueError("∂losses/∂x is None: the closure computes its losses from something other than the x given here")
    if residuals and all(gradient is None for gradient in found[len(parts) :]):
        raise ValueError("the closure's losses were not computed from the prediction that it returns")
    filled = [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, found, strict=True)]
    return filled[: len(parts)], filled[len(parts) :]


def _flat(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([part.detach().reshape(len(like), -1).to(like) for part in parts], dim=1)
