"""What is minimised, one loss per sample; the one place that calls F with gradients, and counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .compiled import as_written, lasting
from .layout import Layout
from .least_squares import LeastSquares
from .terms import Terms, given_target, weighed

LossFn: TypeAlias = Callable[[Any, Any], Tensor]
ForwardModel: TypeAlias = Callable[..., Any]
Given: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Evaluation:
    """What one forward and backward of F showed, a row per sample.

    Attributes:
        x: where F was evaluated, flat, (B, d).
        loss: L(F(x), y), (B,).
        grad_x: ∂L/∂x, (B, d).
        grad_prediction: ∂L/∂prediction, flat over the floating-point parts, (B, m): the residual of any loss.
        prediction: F(x), in F's own format; None where it was not kept.
    """

    x: Tensor
    loss: Tensor
    grad_x: Tensor
    grad_prediction: Tensor
    prediction: Batch | None = None

    @property
    def finite(self) -> Tensor:
        """Rows whose loss and gradient are finite, (B,)."""
        return self.loss.isfinite() & self.grad_x.isfinite().all(1)

    def rows(self, index: Tensor) -> Self:
        """The rows that ``index`` picks."""
        return self._map(lambda part: batches.rows(part, index))

    def where(self, mask: Tensor, other: Self) -> Self:
        """These rows where ``mask`` (B,), the other's elsewhere. Never mixes a NaN in: rows are picked whole."""

        def pick(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(mask.reshape(-1, *[1] * (mine.ndim - 1)), mine, theirs)

        picked: dict[str, Any] = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            picked[field.name] = None if mine is None or theirs is None else batches.map_pairs(pick, mine, theirs)
        return replace(self, **picked)

    def without_prediction(self) -> Self:
        """The same record with less to carry."""
        return replace(self, prediction=None)

    def _map(self, function: Callable[[Any], Any]) -> Self:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        mapped: dict[str, Any] = {name: None if part is None else function(part) for name, part in parts.items()}
        return replace(self, **mapped)


@dataclass(frozen=True)
class Jacobian:
    """What products with vectors showed of the residuals r.

    Attributes:
        residual: r, (B, m).
        matrix: ∂r/∂x, (B, m, d).
    """

    residual: Tensor
    matrix: Tensor


@dataclass(frozen=True)
class Reading:
    """What one forward of F showed: loss (B,) and prediction."""

    loss: Tensor
    prediction: Batch


class Objective:
    """L(F(x), y) for flat rows x and a batch of targets.

    Args:
        forward_model: the frozen F; takes the structured x and, if ``given`` is set, what a target gives of itself.
        loss_fn: (prediction, target) → (B,).
        layout: how x lies in a flat row.
        given: picks F's second argument from a batch of targets.
        terms: what is asked for beside the loss.

    Attributes:
        may_end_early: whether a descent that is interrupted may return its best so far.
    """

    may_end_early = True

    def __init__(
        self,
        forward_model: ForwardModel,
        loss_fn: LossFn,
        layout: Layout,
        given: Given | None = None,
        terms: Terms | None = None,
    ) -> None:
        self.forward_model = forward_model
        self.loss_fn = loss_fn
        self.layout = layout
        self.given = given
        self.terms = Terms() if terms is None else terms
        self.num_evaluations = 0
        self.num_residuals = 0  # of one sample, once they have been seen

    @classmethod
    def like(cls, objective: Objective) -> Self:
        """One with the parts of another objective, and a count of its own."""
        return cls(objective.forward_model, objective.loss_fn, objective.layout, objective.given, objective.terms)

    def clock(self, ahead: float = 0.0) -> float:
        """So many seconds from now, by the clock that descents end by."""
        return time.monotonic() + ahead

    def evaluate(self, x: Tensor, target: Batch) -> Evaluation:
        """One evaluation of F: forward and backward at x (B, d). Losses are summed: rows never mix (law 1)."""
        leaf = x.detach().requires_grad_(True)
        with torch.enable_grad():
            prediction, loss = self._forward(leaf, target)
            self.num_evaluations += x.shape[0]
            if not loss.requires_grad:
                raise ValueError(
                    "the loss does not depend on x through differentiable operations. Look in forward_model and "
                    "loss_fn for .detach(), .item(), .numpy(), torch.no_grad() or an output that ignores its input."
                )
            parts = [part for part in batches.float_leaves(prediction) if part.requires_grad]
            grads = torch.autograd.grad(loss.sum(), [leaf, *parts], allow_unused=True)
        if grads[0] is None:
            raise ValueError("∂loss/∂x is None: forward_model ignores x, or loss_fn ignores the prediction")
        return Evaluation(
            x=x.detach(),
            loss=lasting(loss.detach()),
            grad_x=lasting(self.terms.free(x.detach(), grads[0])),
            grad_prediction=self._flat_gradient(parts, grads[1:], x),  # a copy already
            prediction=_lasting(prediction),
        )

    def read(self, x: Tensor, target: Batch) -> Reading:
        """Prediction and loss at x: a forward alone, which no budget is charged for."""
        prediction, loss = self._forward(x.detach(), target)
        return Reading(lasting(loss.detach()), _lasting(prediction))

    def losses(self, x: Tensor, target: Batch) -> Tensor:
        """L at x (B, d) with its graph, (B,): for those who descend in what x was made of. Counted as evaluations."""
        self.num_evaluations += x.shape[0]
        return self._forward(x, target)[1]

    def _forward(self, x: Tensor, target: Batch) -> tuple[Any, Tensor]:
        prediction = self.prediction(x, target)
        return prediction, self.loss_of(x, prediction, target)

    def prediction(self, x: Tensor, target: Batch | None) -> Any:
        """F at x (B, d), with its graph; only an F that is ``given`` something looks at the target."""
        extra = () if self.given is None else (self.given(given_target(target, self.terms)),)
        prediction = self.forward_model(self.layout.structured(x), *extra)
        if (found := batches.size(prediction)) != x.shape[0]:
            raise ValueError(f"forward_model returned {found} rows for {x.shape[0]} rows of x; it must be batched")
        return prediction

    def loss_of(self, x: Tensor, prediction: Batch, target: Batch) -> Tensor:
        """L(prediction, target) and all further terms, (B,), where the prediction at x (B, d) is known."""
        loss = self._checked(self._loss(*self._compared(prediction, target)), x.shape[0]).to(x.dtype)
        for value in self.terms.values(self.layout.structured(x), prediction, target):
            loss = loss + self._checked(value, x.shape[0], "an extra term").to(x.dtype)
        return loss

    def _compared(self, prediction: Any, target: Any) -> tuple[Any, Any]:
        if self.terms.masked:
            return weighed(prediction, target)
        return prediction, given_target(target, self.terms)

    def _loss(self, prediction: Any, target: Any) -> Any:
        if not isinstance(self.loss_fn, LeastSquares):
            return self.loss_fn(prediction, target)
        residual = self.loss_fn.residuals(prediction, target)
        self.num_residuals = residual.shape[1]
        return 0.5 * residual.square().sum(1)

    @property
    def jacobian_cost(self) -> int:
        """Evaluations that the Jacobian of one sample is charged as, one for each product with a vector that it takes."""
        return min(self.num_residuals, self.layout.dim)

    def jacobian(self, x: Tensor, target: Batch) -> Jacobian:
        """∂r/∂x at x (B, d), row by row of r, or column by column where x is smaller. F is never vmapped.

        A column is J v, the derivative of u ↦ uᵀJ along v, so that reverse mode alone is asked of F. A compiled F runs as
        it was written here: its graph is gone through more than once.
        """
        if not isinstance(self.loss_fn, LeastSquares):
            raise TypeError("this solver needs residuals: give loss_fn=LeastSquares(residual_fn)")
        leaf = x.detach().requires_grad_(True)
        with torch.enable_grad(), as_written():
            prediction = self.prediction(leaf, target)
            residual = self.loss_fn.residuals(*self._compared(prediction, target))
            by_rows = residual.shape[1] <= x.shape[1]
            matrix = self._rows_of(residual, leaf) if by_rows else self._columns_of(residual, leaf)
        self.num_evaluations += x.shape[0] * self.jacobian_cost
        return Jacobian(residual.detach(), matrix.detach())

    @staticmethod
    def _rows_of(residual: Tensor, leaf: Tensor) -> Tensor:
        rows = [torch.autograd.grad(part.sum(), leaf, retain_graph=True)[0] for part in residual.unbind(1)]
        return torch.stack(rows, dim=1)

    @staticmethod
    def _columns_of(residual: Tensor, leaf: Tensor) -> Tensor:
        u = torch.zeros_like(residual, requires_grad=True)
        pulled = torch.autograd.grad(residual, leaf, u, create_graph=True)[0]
        columns = [torch.autograd.grad(part.sum(), u, retain_graph=True)[0] for part in pulled.unbind(1)]
        return torch.stack(columns, dim=2)

    def _flat_gradient(self, parts: list[Tensor], grads: tuple[Tensor | None, ...], x: Tensor) -> Tensor:
        filled = [torch.zeros_like(part) if grad is None else grad for part, grad in zip(parts, grads, strict=True)]
        if not filled:
            return x.new_zeros(x.shape[0], 0)
        return batches.pooled(torch.cat([part.reshape(x.shape[0], -1).to(x.dtype) for part in filled], dim=1))

    @staticmethod
    def _checked(loss: Any, batch_size: int, what: str = "loss_fn") -> Tensor:
        if not isinstance(loss, Tensor):
            raise TypeError(f"{what} must return a Tensor of shape ({batch_size},), got {type(loss).__name__}")
        if loss.shape != (batch_size,):
            mend = (
                "For a mean-squared error write: lambda prediction, target: "
                "(prediction - target).square().flatten(1).mean(1)"
            )
            raise ValueError(
                f"{what} must return one loss per sample, shape ({batch_size},), got shape {tuple(loss.shape)}. {mend}"
            )
        return loss


def _lasting(prediction: Batch) -> Batch:
    kept: Batch = batches.map_leaves(lasting, batches.detached(prediction))
    return kept
