"""How stretched the loss is around the points of a descent, in X and as the learned metric sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..descent import Visit
from ..inverter import LandscapeInverter
from ..mappings.context import Context
from ..objective import Evaluation, Objective
from .curvature import EXACT_UP_TO, Product, hessian, spectra
from .paths import descent_of, stands_at

STEPS = (0, 1, 2, 5, 10)
"""Evaluations of a descent after which the loss around its point is looked at."""
NUM_TARGETS = 8
ROUNDING = 1e-3
"""Share of the loss by which a step in float32 may seem to do better than to solve the target."""


@dataclass(frozen=True)
class NotAvailable:
    """A figure that could not be computed.

    Attributes:
        reason: why, in the words of whoever refused.
        num_evaluations: of F that were spent nevertheless.
    """

    reason: str
    num_evaluations: int = 0


@dataclass(frozen=True)
class Conditioning:
    """How stretched the loss is along the descents of a few targets: H = ∂²L/∂x² in X, and JᵀH J in the learned chart.

    The condition number is ``max |λ| / min |λ|`` over the eigenvalues that are not zero; those of JᵀH J are those of JJᵀH.
    Gradient descent takes about as many steps as it says, if it has to go far in the flattest direction; 1 is a sphere.
    Where F is nearly blind to some direction, as to the one in which a redundant arm moves without its tip, the number is
    huge, and nobody has to go there. So the second figure asks what the gradient has to do with it: the share of the loss
    that the best step along −M g leaves in the quadratic model around the point,

        1 − (gᵀMg)² / (2 L · gᵀM H M g),

    with M = 1 in X and M = JJᵀ as learned. At 0 a single step solves the target. It is an overestimate where the lowest loss
    is not zero.

    Attributes:
        steps: evaluations of the descent before the point, one for every line of the tables.
        in_x: condition numbers of H, (S, N); NaN where the descent of a target had ended.
        learned: of JJᵀ H, (S, N); NaN also where a target was handed over and its mapping keeps one chart.
        left_in_x: share of the loss that the best gradient step leaves in X, (S, N); NaN also where the model has no
            lowest point along it, or promises a loss below zero: it does not hold that far.
        left_learned: likewise along −JJᵀ g, (S, N).
        num_flat: eigenvalues of H that are not told from zero, (S, N); −1 where in_x is NaN.
        is_convex: whether H has no negative eigenvalue, (S, N); False where in_x is NaN.
        rows: the targets, (N,).
        is_exact: whether all eigenvalues were computed; otherwise the numbers are bounds from below.
        num_evaluations: of F, the descents and one for every product with a Hessian.
    """

    steps: tuple[int, ...]
    in_x: Tensor
    learned: Tensor
    left_in_x: Tensor
    left_learned: Tensor
    num_flat: Tensor = field(repr=False)
    is_convex: Tensor = field(repr=False)
    rows: Tensor = field(repr=False)
    is_exact: bool
    num_evaluations: int


def conditioning(
    inverter: LandscapeInverter, target: Batch, max_evaluations: int, num_targets: int = NUM_TARGETS
) -> Conditioning | NotAvailable:
    """Look at the loss along the descents of some targets, spread evenly over the batch.

    Args:
        inverter: fitted.
        target: a batch of B targets.
        max_evaluations: of a descent.
        num_targets: at most.

    Returns:
        NotAvailable where F or the loss cannot be differentiated twice.
    """
    size = batches.size(target)
    rows = torch.linspace(0, size - 1, min(num_targets, size), dtype=torch.float64).round().long()
    some: Batch = batches.rows(target, rows)
    with inverter.opened(inverter.seed) as objective:
        visits = descent_of(inverter, objective, some, min(max_evaluations, max(STEPS) + 1))[1]
        looked_at = [visit for visit in visits if visit.step in STEPS]
        try:
            lines = [_looked_at(inverter, objective, visit, some) for visit in looked_at]
        except RuntimeError as error:  # of torch's autograd, whose words are kept
            reason = f"F or the loss cannot be differentiated twice: {str(error).splitlines()[0]}"
            return NotAvailable(reason, objective.num_evaluations)
    columns = {name: torch.stack([line[name] for line in lines]) for name in lines[0]}
    return Conditioning(
        steps=tuple(visit.step for visit in looked_at),
        **columns,
        rows=rows,
        is_exact=inverter.landscape.layout.dim <= EXACT_UP_TO,
        num_evaluations=objective.num_evaluations,
    )


def _looked_at(inverter: LandscapeInverter, objective: Objective, visit: Visit, some: Batch) -> dict[str, Tensor]:
    """One line of every table, (N,) each."""
    target: Batch = batches.rows(some, visit.rows)
    landscape, evaluation = inverter.landscape, visit.evaluation
    mapping, context = landscape.in_use(), Context(landscape.features(target), None, evaluation)
    z = evaluation.x.new_zeros(len(evaluation.x), mapping.dim_z)
    in_chart = torch.ones_like(evaluation.loss, dtype=torch.bool)
    if not mapping.reanchors and visit.z is not None:
        z = visit.z
        in_chart = stands_at(mapping, z, evaluation.x, context)
    metric, product = mapping.metric(z, context), hessian(objective, evaluation.x, target)
    in_x, learned = spectra(product, metric, evaluation.x)
    seen = {
        "in_x": in_x.condition,
        "learned": torch.where(in_chart, learned.condition, torch.nan),
        "left_in_x": left_by_best_step(product, evaluation, evaluation.grad_x),
        "left_learned": torch.where(in_chart, left_by_best_step(product, evaluation, metric(evaluation.grad_x)), torch.nan),
        "num_flat": in_x.num_flat,
        "is_convex": in_x.is_convex,
    }
    missing = {"num_flat": torch.tensor(-1), "is_convex": torch.tensor(False)}
    nan, at = torch.tensor(torch.nan, dtype=torch.float64), (visit.rows.cpu(),)
    size = batches.size(some)
    return {name: missing.get(name, nan).expand(size).index_put(at, part.cpu()) for name, part in seen.items()}


def left_by_best_step(product: Product, evaluation: Evaluation, direction: Tensor) -> Tensor:
    """Share of the loss that the best step against ``direction`` (B, d) leaves in the quadratic model, (B,), float64."""
    direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(torch.finfo(direction.dtype).tiny)
    curvature = (product(direction) * direction).sum(1).double()
    slope = (evaluation.grad_x * direction).sum(1).double()
    left = 1.0 - slope.square() / (2.0 * evaluation.loss.double() * curvature)
    return torch.where((curvature > 0) & (left >= -ROUNDING), left.clamp_min(0.0), torch.nan)
