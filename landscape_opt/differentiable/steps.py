"""Through the steps: a descent whose points keep their graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..descent import Descent, Limits, descend
from ..guest import frozen
from ..landscape import LearnedLandscape
from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..objective import Objective
from ..results import InversionHistory
from ..solvers import LandscapeStep, Start
from ..solvers.backtracking import Backtracking
from ..solvers.landscape import LandscapeRun
from ..terms import given_target
from .graph import GraphObjective


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
