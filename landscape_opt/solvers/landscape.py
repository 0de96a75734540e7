"""The landscape step: gradient descent in the learned space, with a per-row safeguard."""

from __future__ import annotations

import torch
from torch import Tensor

from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..objective import Evaluation
from .solver import Run, Solver, Start

SHRINK = 0.3


class LandscapeStep(Solver):
    """z ← z − step · ∂L/∂z, x = θ(z; what the last evaluation showed).

    A row whose loss rose goes back to where it was and tries 0.3 times the step; an accepted step restores it. The
    step length belongs to the mapping, so there is nothing to tune.

    Args:
        mapping: θ.

    Example:
        >>> import torch
        >>> from landscape_opt import LearnedLandscape
        >>> from landscape_opt.descent import Limits, descend
        >>> from landscape_opt.layout import Layout
        >>> from landscape_opt.objective import Objective
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> objective = Objective(torch.sinh, squares, Layout(torch.zeros(2)))
        >>> start, target = Start(torch.zeros(1, 2)), torch.tensor([[3.0, -4.0]])
        >>> solver = LandscapeStep(LearnedLandscape(torch.sinh, torch.zeros(2)).plain())
        >>> descent = descend(objective, solver, start, target, Limits(20))
        >>> bool(descent.loss < descent.history.loss[0])  # never worse than the start
        True
    """

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping

    def start(self, start: Start) -> LandscapeRun:
        """Begin at z = 0."""
        return LandscapeRun(self.mapping, start)


class LandscapeRun(Run):
    """The state of a landscape descent.

    Attributes:
        anchor: the last accepted evaluation of every row.
        told: what θ is told beside the last evaluation.
    """

    in_x = False
    z: Tensor

    def __init__(self, mapping: Mapping, start: Start) -> None:
        self.mapping, self.told = mapping, start.context
        self.z = start.x.new_zeros(start.x.shape[0], mapping.dim_z)
        self.accepted_z = self.z
        self.trust = start.x.new_ones(start.x.shape[0])
        self.anchor: Evaluation | None = None

    @property
    def context(self) -> Context:
        """What θ is told now."""
        return Context(self.told.target, self.told.known, self.anchor, self.trust)

    def observe(self, evaluation: Evaluation) -> None:
        """Accept the rows that got no worse; the others go back and shrink their step."""
        if self.anchor is None:
            self.anchor, self.accepted_z = evaluation.without_prediction(), self.z
            return
        better = evaluation.finite & (evaluation.loss <= self.anchor.loss)
        self.anchor = evaluation.without_prediction().where(better, self.anchor)
        self.accepted_z = torch.where(better[:, None], self.z, self.accepted_z)
        self.trust = torch.where(better, torch.ones_like(self.trust), SHRINK * self.trust)

    def propose(self) -> Tensor:
        """One step of gradient descent in Z."""
        assert self.anchor is not None
        z = torch.zeros_like(self.z) if self.mapping.reanchors else self.accepted_z
        local = self.mapping.local(self.context)
        grad_z = local.pull_back(z, self.anchor.grad_x)
        self.z = (z - self.mapping.z_step * self.trust[:, None] * grad_z).detach()  # the line that moves z
        return local(self.z).detach()

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.z, self.accepted_z, self.trust = self.z[index], self.accepted_z[index], self.trust[index]
        self.told = self.told.rows(index)
        self.anchor = None if self.anchor is None else self.anchor.rows(index)
