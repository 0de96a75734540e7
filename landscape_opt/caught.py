"""What tells that a row stands where it gets no further, and the way out of there."""

from __future__ import annotations

import torch
from torch import Tensor

from .mappings.context import Context
from .mappings.mapping import Mapping
from .mappings.seen import unit

MAX_PROMISED = 0.25
"""On phase retrieval most rows in the right basin are promised nearly all of their loss or more after four evaluations, and
most of those in a wrong one less than this share."""


def is_stationary(mapping: Mapping, context: Context) -> Tensor:
    """Rows whose gradient promises less than a quarter of their loss, (B,).

    A step with the learned metric, ``x - η J Jᵀ ∂L/∂x``, promises ``η ‖Jᵀ ∂L/∂x‖²`` to first order: a quarter of L or less
    where the loss is stationary without being small. Where a solution is near, a metric that fits promises about L or more
    (2 L at a quadratic minimum of zero with the inverse Hessian as metric). A row is caught where this holds and its loss is
    far above what rows of the fit ended with; at a solution it holds, too, or nearly.

    Args:
        mapping: that makes a new chart after every evaluation.
        context: with an evaluation, of B rows.
    """
    evaluation = context.evaluation
    assert evaluation is not None
    with torch.no_grad():
        nowhere = torch.zeros_like(evaluation.grad_x)
        promised = mapping.step * mapping.pull_back(nowhere, context, evaluation.grad_x).square().sum(1)
        return promised < MAX_PROMISED * evaluation.loss


def signs(mapping: Mapping, context: Context) -> Tensor:
    """What the way out of a point is a linear function of, (B, 1 + d + m + n).

    1, ``(x - x_init)/r``, ∂L/∂prediction in rows of rms 1, and the standardised features of the target: unchanged when loss
    or x are measured in other units (law 2).

    Args:
        mapping: whose units they are.
        context: with an evaluation, of B rows.
    """
    evaluation = context.evaluation
    assert evaluation is not None
    x = (evaluation.x - mapping.x_init) / mapping.move
    told = mapping.standardised(context, len(x))
    return torch.cat([torch.ones_like(x[:, :1]), x, unit(evaluation.grad_prediction), told], dim=1)
