"""What a benchmark needs to know of an inverse problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """A differentiable forward model together with the targets to invert.

    Shapes: ``B`` is the batch, ``X`` the shape of one ``x``, ``Y`` the shape of one target.

    Attributes:
        name: A short name, used in tables.
        forward_model: ``F``, maps ``x`` of shape ``(B, *X)`` to a prediction of shape ``(B, *Y)``.
        loss_fn: Maps (prediction, target), both ``(B, *Y)``, to one loss per sample, ``(B,)``.
        x_init: The plain start that every method shares, shape ``X`` (no batch dimension).
        train: Targets that landscapes and encoders are fitted on, shape ``(N, *Y)``.
        validation: Targets that methods are tuned on, shape ``(N, *Y)``.
        test: Targets for the reported figures only, shape ``(N, *Y)``.
        hard_because: One sentence on what makes the inversion difficult.

    Example:
        >>> import torch
        >>> targets = torch.linspace(-1.0, 1.0, 30)[:, None]
        >>> problem = Problem(
        ...     name="sine",
        ...     forward_model=torch.sin,
        ...     loss_fn=lambda prediction, target: (prediction - target).square().sum(1),
        ...     x_init=torch.zeros(1),
        ...     train=targets[:10],
        ...     validation=targets[10:20],
        ...     test=targets[20:],
        ...     hard_because="A sine is flat at its extremes.",
        ... )
        >>> x = problem.x_init.expand(10, 1)
        >>> problem.loss_fn(problem.forward_model(x), problem.test).shape
        torch.Size([10])
    """

    name: str
    forward_model: nn.Module | Callable[[Tensor], Tensor] = field(repr=False)
    loss_fn: Callable[[Tensor, Tensor], Tensor] = field(repr=False)
    x_init: Tensor = field(repr=False)
    train: Tensor = field(repr=False)
    validation: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    hard_because: str
