"""Gradient descent in Z for those who know gradients alone: the step length of a row follows from how they change."""

from __future__ import annotations

import torch
from torch import Tensor

from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..objective import Evaluation
from ..results import Status
from .backtracking import MAX_NONFINITE, NONFINITE_SHRINK
from .solver import Run, Solver, Start


class AdaptiveStep(Solver):
    """z ← z − λ ∂L/∂z with a λ for every row: it grows slowly, and never oversteps the curvature last seen.

    λ_k = min(√(1 + λ_{k−1}/λ_{k−2}) λ_{k−1}, ‖Δz‖ / 2‖Δ∂L/∂z‖) (Malitsky & Mishchenko, *Adaptive gradient descent
    without descent*, ICML 2020). No loss is looked at, so there is no safeguard by it; a row whose gradient is not finite
    goes back and takes a tenth of the step.

    Args:
        mapping: θ. It is told of evaluations where and with what gradient, so it must not read their loss.
        first_length: of the first step in Z; None begins with λ = the mapping's own step.
    """

    def __init__(self, mapping: Mapping, first_length: float | None = None) -> None:
        self.mapping, self.first_length = mapping, first_length

    def start(self, start: Start) -> AdaptiveRun:
        """Begin at z = 0."""
        return AdaptiveRun(self, start)


class AdaptiveRun(Run):
    """The state of an adaptive descent.

    Attributes:
        factor: on every step, for schedulers.
        at: where every row stands, its last evaluation with a finite gradient.
        step: λ, (B,).
        growth: λ_{k−1}/λ_{k−2}, (B,).
    """

    in_x = False
    z: Tensor

    def __init__(self, settings: AdaptiveStep, start: Start) -> None:
        self.settings, self.mapping, self.told = settings, settings.mapping, start.context
        self.factor = 1.0
        self.z = start.x.new_zeros(len(start.x), self.mapping.dim_z)
        self.at: Evaluation | None = None
        self.at_z = self.at_grad_z = self.z
        self.step = self.mapping.z_step.detach().expand(len(start.x)).clone()
        self.growth = torch.full_like(self.step, torch.inf)
        self.nonfinite = torch.zeros_like(self.step, dtype=torch.long)

    def observe(self, evaluation: Evaluation) -> None:
        """Choose λ from what the last step did to the gradient."""
        evaluation, finite = evaluation.without_prediction(), evaluation.finite
        z = torch.zeros_like(self.z) if self.mapping.reanchors else self.z
        grad_z = self.mapping.local(self._context(evaluation)).pull_back(z, evaluation.grad_x).detach()
        self.nonfinite = torch.where(finite, 0, self.nonfinite + 1)
        if self.at is None:
            self.at, self.at_grad_z = evaluation, grad_z
            self.nonfinite = torch.where(finite, 0, MAX_NONFINITE + 1)
            if self.settings.first_length is not None:
                self.step = self.settings.first_length / grad_z.norm(dim=1).clamp_min(torch.finfo(grad_z.dtype).tiny)
            return
        moved = evaluation.x - self.at.x if self.mapping.reanchors else z - self.at_z
        curvature = (grad_z - self.at_grad_z).norm(dim=1) / moved.norm(dim=1)
        step = torch.fmin((1.0 + self.growth).sqrt() * self.step, 0.5 / curvature)
        step = torch.where(finite, torch.where(step.isfinite(), step, self.step), NONFINITE_SHRINK * self.step)
        self.growth, self.step = step / self.step, step
        self.at = evaluation.where(finite, self.at)
        self.at_z = torch.where(finite[:, None], z, self.at_z)
        self.at_grad_z = torch.where(finite[:, None], grad_z, self.at_grad_z)

    def propose(self) -> Tensor:
        """One step of gradient descent in Z."""
        assert self.at is not None
        self.z = self.at_z - self.factor * self.step[:, None] * self.at_grad_z  # the line that moves z
        return self.mapping.local(self._context(self.at))(self.z).detach()

    def verdict(self) -> Tensor:
        """NONFINITE where the gradient was, at the start or after several shorter steps."""
        return torch.where(self.nonfinite > MAX_NONFINITE, Status.NONFINITE, Status.MAX_EVALUATIONS)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        for name in ("z", "at_z", "at_grad_z", "step", "growth", "nonfinite"):
            setattr(self, name, getattr(self, name)[index])
        self.told = self.told.rows(index)
        self.at = None if self.at is None else self.at.rows(index)

    def _context(self, evaluation: Evaluation) -> Context:
        return Context(self.told.target, self.told.known, evaluation)
