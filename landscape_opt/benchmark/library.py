"""The nearest stored solution: training targets are solved once, and a new target begins where the most alike ended."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from .. import batches
from ..inverter import LandscapeInverter
from ..layout import X
from ..memory import Memory
from ..problems.problem import Problem, TargetSet
from ..solvers import LBFGS
from .ways import opened

EVALUATIONS = 200
SOLVED = 1e-8
"""Share of the loss at the start at which a training target counts as solved."""


class Library:
    """Solutions of training targets by per-sample L-BFGS from the plain start.

    A target takes the stored x whose prediction has the lowest loss for it, which costs no evaluation of F. Where F is
    ``given`` more than x, stored predictions say nothing of another target, and the target with the nearest features is
    taken instead.

    Args:
        problem: F, loss and training targets.
        seed: of the order in which they are solved.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.problem, self.seed, self.num_evaluations = problem, seed, 0
        self.landscape = problem.landscape()
        self.memory = Memory(capacity=1 << 20)
        self.x: list[Tensor] = []
        self.features: list[Tensor] = []

    def fit(self, seconds: float, first_step: float | None = None, batch_size: int = 256) -> Library:
        """Solve training targets until the seconds are spent.

        Args:
            seconds: of wall time.
            first_step: of L-BFGS.
            batch_size: targets solved together.
        """
        began, size = time.monotonic(), batches.size(self.problem.train)
        inverter = LandscapeInverter(self.landscape, self.problem.loss_fn)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(self.seed))
        for index in order.split(batch_size):
            left = seconds - (time.monotonic() - began)
            if left <= 0:
                break
            target = batches.rows(self.problem.train, index)
            found = inverter.invert(
                target, EVALUATIONS, solver=LBFGS(first_step=first_step), rtol=SOLVED, max_seconds=left, allow_unfitted=True
            )
            self.num_evaluations += int(found.num_evaluations.sum())
            x = self.landscape.layout.flat(found.x)
            self.memory.add(x, found.prediction)
            self.x.append(x)
            if (features := self.landscape.features(target)) is not None:
                self.features.append(features)
        return self

    def __call__(self, some: TargetSet) -> X:
        """Where the targets begin."""
        x = self._nearest_by_features(some) if self.problem.given is not None else self._nearest_by_loss(some)
        return self.landscape.layout.structured(x)

    def _nearest_by_loss(self, some: TargetSet) -> Tensor:
        with opened(self.problem, some) as (objective, target):
            return self.memory.nearest(target, objective.loss_of, count=1).x[:, 0]

    def _nearest_by_features(self, some: TargetSet) -> Tensor:
        features = self.landscape.features(some.targets)
        if features is None or not self.features:
            return self.landscape.layout.start(batches.size(some.targets))
        stored = torch.cat(self.features)
        scale = stored.std(0).clamp_min(1e-6)
        known = torch.ones_like(features)
        if some.observed is not None:
            seen = self.landscape.known_features(some.targets, some.observed)
            known = known if seen is None else seen
        pairs = zip(features, known, strict=True)
        nearest = [(weights * ((stored - one) / scale).square()).sum(1).argmin() for one, weights in pairs]
        return torch.cat(self.x)[torch.stack(nearest)]
