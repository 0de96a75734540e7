"""Through the answer: the implicit function theorem at a stationary point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import batches
from ..batches import Batch
from ..objective import Objective
from ..terms import Terms
from .graph import GraphObjective

DENSE_UP_TO = 512
"""Up to this d every row's Hessian is formed and factored; beyond it, conjugate residuals."""
MAX_CONJUGATE_STEPS = 1000


@dataclass(frozen=True)
class Answer:
    """What carries a gradient: x, flat, (B, d), the prediction there, and its loss, (B,)."""

    x: Tensor
    prediction: Any
    loss: Tensor

    @classmethod
    def joined(cls, parts: list[Answer]) -> Answer:
        """The answers of several batches below one another."""
        prediction = batches.joined([part.prediction for part in parts])
        return cls(torch.cat([part.x for part in parts]), prediction, torch.cat([part.loss for part in parts]))


@dataclass(frozen=True)
class Curvature:
    """H = ∂²L/∂x² of every row on its free coordinates, known by its products with vectors.

    Losses are summed over rows, so H is block diagonal: one product serves all rows.

    Attributes:
        x: where, (B, d); a leaf.
        gradient: ∂L/∂x there, (B, d), with its graph.
        free: coordinates that no bound holds, (B, d).
        rounding: relative size of what is noise.
    """

    x: Tensor
    gradient: Tensor
    free: Tensor
    rounding: float

    def times(self, v: Tensor) -> Tensor:
        """H v, (B, d)."""
        masked = torch.where(self.free, v, 0.0)
        product = torch.autograd.grad(self.gradient, self.x, masked, retain_graph=True, materialize_grads=True)[0]
        return torch.where(self.free, product, 0.0)

    def solve(self, b: Tensor) -> Tensor:
        """H⁺ b, (B, d): the pseudo-inverse where H is singular."""
        b = torch.where(self.free, b, 0.0)
        return self._dense(b) if b.shape[1] <= DENSE_UP_TO else self._conjugate(b)

    def _dense(self, b: Tensor) -> Tensor:
        """By the eigenvalues of H; those that cannot be told from zero are left out."""
        columns = []
        for column in range(b.shape[1]):
            unit = torch.zeros_like(b)
            unit[:, column] = 1.0
            columns.append(self.times(unit).double())
        hessian = torch.stack(columns, dim=2)
        hessian = torch.where(hessian.isfinite().all(2).all(1)[:, None, None], hessian, 0.0)
        values, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.mT))
        noise = (10 + b.shape[1]) * self.rounding * values.abs().amax(1, keepdim=True)
        inverse = torch.where(values.abs() > noise, 1.0 / values, 0.0)
        along = (b.double()[:, None] @ vectors)[:, 0]
        solution: Tensor = (vectors @ (inverse * along)[..., None])[..., 0].to(b)
        return solution

    def _conjugate(self, b: Tensor) -> Tensor:
        """By conjugate residuals (Stiefel 1955), a row by itself; where H is singular they end in least squares.

        A row ends early where H shows no positive curvature.
        """
        v, residual, direction = torch.zeros_like(b), b, b
        product = pushed = self.times(b)  # H residual, H direction
        tolerance = self.rounding**1.5  # of squares: a residual of rounding to the power of 3/4
        steepness = (residual * product).sum(1)
        goal, slack = b.square().sum(1) * tolerance, torch.zeros_like(steepness)
        going = torch.ones_like(steepness, dtype=torch.bool)
        for _ in range(min(2 * b.shape[1], MAX_CONJUGATE_STEPS)):
            size, of_product = residual.square().sum(1), product.square().sum(1)
            slack = torch.maximum(slack, of_product / size * tolerance)
            going = going & (size > goal) & (of_product > slack * size) & (steepness > 0)
            if not bool(going.any()):
                break
            step = torch.where(going, steepness / pushed.square().sum(1), 0.0)[:, None]
            v, residual = v + step * direction, residual - step * pushed
            product = torch.where(going[:, None], self.times(residual), product)
            before, steepness = steepness, torch.where(going, (residual * product).sum(1), steepness)
            share = (steepness / before)[:, None]
            direction = torch.where(going[:, None], residual + share * direction, direction)
            pushed = torch.where(going[:, None], product + share * pushed, pushed)
        # A residual that H does not see is the part of b, and so of v, along which the loss is flat: the lifting of
        # Liu, Milzarek and Roosta (2023), which makes of v the pseudo-inverse solution.
        size = residual.square().sum(1)
        flat = (size > goal) & (product.square().sum(1) <= slack * size)
        lift = torch.where(flat, (v * residual).sum(1) / size, 0.0)[:, None]
        return v - lift * residual


class _Stationary(torch.autograd.Function):
    """x* as a function of g(φ) = ∂L/∂x at x*: dx* = − H⁻¹ dg."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, curvature: Curvature) -> Tensor:  # noqa: ARG004 (backward's is meant for it)
        ctx.curvature = curvature
        return curvature.x.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.curvature.solve(grad), None


def implicit(objective: Objective, x: Tensor, target: Batch) -> Answer:
    """The answer x (B, d) of an inversion, with the gradient of the implicit function theorem.

    Costs one evaluation with its graph and one forward; the gradient then costs d products with H, or the steps of
    conjugate residuals, each about as much as two evaluations.

    Args:
        objective: that was minimised.
        x: where it is stationary, flat.
        target: of the inversion, with its graph.
    """
    with torch.enable_grad():
        attached, at = GraphObjective.like(objective), x.detach().requires_grad_(True)
        gradient = attached.evaluate(at, target).grad_x
        answer = x.detach()
        if gradient.requires_grad:
            rounding = max(torch.finfo(part.dtype).eps for part in objective.layout.parts.values())
            free = _free(objective.terms, at.detach(), gradient.detach())
            answer = _Stationary.apply(gradient, Curvature(at, gradient, free, rounding))  # type: ignore[no-untyped-call]
        reading = attached.read(answer, target)
    return Answer(answer, reading.prediction, reading.loss)


def _free(terms: Terms, x: Tensor, gradient: Tensor) -> Tensor:
    """Coordinates that may move, (B, d); the gradient is already zero on those that a bound holds."""
    if terms.lower is None or terms.upper is None:
        return torch.ones_like(x, dtype=torch.bool)
    return (gradient != 0) | ((x > terms.lower) & (x < terms.upper))
