"""Gradients of an answer x*(φ) in the target and in what the loss holds, φ: through the answer, or through the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import batches
from .batches import Batch
from .compiled import as_written
from .descent import Descent, Limits, descend
from .guest import frozen
from .landscape import LearnedLandscape
from .mappings.context import Context
from .mappings.mapping import Mapping
from .objective import Evaluation, Objective, Reading
from .results import InversionHistory
from .solvers import LandscapeStep, Start
from .solvers.backtracking import Backtracking
from .solvers.landscape import LandscapeRun
from .terms import Terms, given_target

Record = TypeVar("Record", Evaluation, Reading)

DENSE_UP_TO = 512
"""Up to this d every row's Hessian is formed and factored; beyond it, conjugate residuals."""
MAX_CONJUGATE_STEPS = 1000


class Differentiable(Enum):
    r"""How an answer x* = argmin L(F(x), y; φ) gets its gradient in φ: the target, and tensors that the loss holds.

    Attributes:
        IMPLICIT: from the stationary point. However x* was found, ∂L/∂x (x*(φ), φ) = 0 there, so that

                dx*/dφ = − H⁻¹ ∂²L/∂x∂φ,        H = ∂²L/∂x² at x*, (d, d) for every row.

            Memory does not grow with the evaluations. Right only at a stationary point: the error is of the size of the
            distance to it, so look at ``result.status`` and give budget enough. Where H is singular, directions in
            which the loss is flat get no gradient; a coordinate that a bound holds gets none either.
        UNROLLED: from the steps. The descent itself is differentiated, in the learned space with its safeguard, but
            without hand-over and restarts, as with ``refine=False, restarts=False``; before any fit, gradient descent
            in X with backtracking. The gradient is that of the point returned, converged or not, with the path that
            every row took (which points were accepted, which one was best) as it was. Memory grows with the evaluations.
    """

    IMPLICIT = "implicit"
    UNROLLED = "unrolled"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"differentiable must be 'implicit', 'unrolled' or None, got {value!r}")


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


# --------------------------------------------------------------------------------------------------- through the answer


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


# ---------------------------------------------------------------------------------------------------- through the steps


class UnrolledStep(LandscapeStep):
    """The landscape step with its graph kept."""

    def start(self, start: Start) -> LandscapeRun:
        """Begin at z = 0."""
        return _UnrolledRun(self.mapping, start)


class _UnrolledRun(LandscapeRun):
    def propose(self) -> Tensor:
        """z − step · Jᵀ ∂L/∂x, and x there: differentiable through J, through what θ is told, and through ∂L/∂x."""
        assert self.anchor is not None
        z = torch.zeros_like(self.z) if self.mapping.reanchors else self.accepted_z
        z = z if z.requires_grad else z.detach().requires_grad_(True)
        local = self.mapping.local(self.context)
        grad_z = torch.autograd.grad(local(z), z, self.anchor.grad_x, create_graph=True)[0]
        self.z = z - self.mapping.z_step * self.trust[:, None] * grad_z
        return local(self.z)


def unrolled(
    landscape: LearnedLandscape, objective: Objective, target: Any, warm_x: Tensor | None, limits: Limits
) -> Descent:
    """A descent that is differentiable from its first point to its last.

    Once the landscape is fitted: x_{k+1} = θ(z_{k+1}; y, evaluation k) with z_{k+1} = z_k − step · Jᵀ ∂L/∂x, where θ's
    start, its charts and the evaluations are all functions of φ. Before that: x_{k+1} = x_k − t_k ∂L/∂x with
    t₀ = 1/‖∂L/∂x‖, doubled after a step that was accepted and halved after one that was not. θ's weights are constants,
    and so is ``warm_x``.

    Args:
        landscape: θ and F.
        objective: what is minimised.
        target: with its graph.
        warm_x: where to begin, flat, (B, d); None begins where θ says.
        limits: when rows end.
    """
    with torch.enable_grad(), frozen(landscape.in_use()) as theta:
        assert isinstance(theta, Mapping)
        if warm_x is not None and not theta.reanchors:
            raise ValueError(f"{type(theta).__name__} begins at θ(0): a warm_start needs an anchored mapping")
        given = given_target(target, objective.terms)
        known = landscape.known_features(given, target["observed"]) if objective.terms.masked else None
        context = Context(_features(landscape, given), known)
        z = landscape.layout.row.new_zeros(batches.size(given), theta.dim_z)
        start = Start(theta(z, context) if warm_x is None else warm_x, context.target, context.known)
        solver = UnrolledStep(theta) if landscape.is_fitted else Backtracking()
        found = descend(GraphObjective.like(objective), solver, start, target, limits)
    history = InversionHistory(found.history.loss.detach(), found.history.best.detach(), found.history.in_x)
    found = replace(found, z=found.z.detach(), history=history)
    if torch.is_grad_enabled():
        return found
    return replace(found, x=found.x.detach(), prediction=batches.detached(found.prediction), loss=found.loss.detach())


def _features(landscape: LearnedLandscape, target: Batch) -> Tensor | None:
    """As :meth:`LearnedLandscape.features`, with the graph of the target, (B, m)."""
    parts = [leaf.reshape(len(leaf), -1).to(landscape.layout.row) for leaf in batches.float_leaves(target)]
    return batches.pooled(torch.cat(parts, dim=1)) if parts else None
