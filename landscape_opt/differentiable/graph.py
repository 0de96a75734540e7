"""What is minimised, with its graph kept: what both ways of differentiating an answer evaluate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..compiled import as_written
from ..objective import Evaluation, Objective, Reading

Record = TypeVar("Record", Evaluation, Reading)


class GraphObjective(Objective):
    """The same objective, whose records keep their graph, that of ∂L/∂x included.

    Rows that are not finite are kept out of it: their NaN would reach the gradient of whatever all rows share.
    """

    def evaluate(self, x: Tensor, target: Batch) -> Evaluation:
        """One evaluation of F at x (B, d), differentiable in x and in everything else."""
        at = x if x.requires_grad else x.detach().requires_grad_(True)
        found = self._evaluated(at, target)
        self.num_evaluations += len(x)
        good = found.finite.nonzero()[:, 0]
        if len(good) == len(x):
            return found
        return _only(good, found, lambda: self._evaluated(at[good], batches.rows(target, good)))

    def read(self, x: Tensor, target: Batch) -> Reading:
        """Prediction and loss at x (B, d), differentiable."""
        prediction, loss = self._forward(x, target)
        good = loss.isfinite().nonzero()[:, 0]
        if len(good) == len(x):
            return Reading(loss, prediction)

        def again() -> Reading:
            prediction, loss = self._forward(x[good], batches.rows(target, good))
            return Reading(loss, prediction)

        return _only(good, Reading(loss, prediction), again)

    def _forward(self, x: Tensor, target: Batch) -> tuple[Any, Tensor]:
        with as_written():  # compiled code cannot be differentiated twice
            return super()._forward(x, target)

    def _evaluated(self, at: Tensor, target: Batch) -> Evaluation:
        prediction, loss = self._forward(at, target)
        parts = [part for part in batches.float_leaves(prediction) if part.requires_grad]
        grads: tuple[Tensor | None, ...] = (None,)
        if loss.requires_grad:
            grads = torch.autograd.grad(loss.sum(), [at, *parts], create_graph=True, allow_unused=True)
        if grads[0] is None:
            return super().evaluate(at, target)  # which says why that cannot be
        grad_prediction = self._flat_gradient(parts, grads[1:], at)
        return Evaluation(at, loss, self.terms.free(at, grads[0]), grad_prediction, prediction)


def _only(good: Tensor, found: Record, again: Callable[[], Record]) -> Record:
    """The record ``found`` without its graph, but for the rows ``good``, which are computed again by themselves."""
    parts = {field.name: batches.detached(getattr(found, field.name)) for field in fields(found)}
    if len(good):
        part = again()
        parts = {name: batches.put_rows(plain, good, getattr(part, name)) for name, plain in parts.items()}
    return replace(found, **parts)
