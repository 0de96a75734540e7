"""Adam as StyleGAN projectors run it: a learning rate that rises and falls, and noise on w that dies away."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...landscape import LearnedLandscape
from ...objective import Evaluation
from ...solvers import Run, Solver, Start, TorchOptim

RISE, FALL, NOISY = 0.05, 0.25, 0.75
"""Shares of all steps: in which the rate rises, in which it falls, and in which there is noise."""


class RampedAdam(torch.optim.Adam):
    """Adam whose rate rises over the first twentieth of ``num_steps`` and falls along a cosine over the last quarter.

    Args:
        params: As of ``torch.optim.Adam``.
        lr: The rate in between.
        num_steps: In all.

    Example:
        >>> x = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = RampedAdam([x], lr=0.1, num_steps=100)
        >>> x.grad = torch.ones(2)
        >>> optimizer.step()
        >>> round(optimizer.param_groups[0]["lr"], 4)
        0.02
    """

    def __init__(self, params: Iterable[Tensor], lr: float, num_steps: int) -> None:
        super().__init__(params, lr=lr)
        self.rate, self.num_steps, self.count = lr, num_steps, 0

    def step(self, closure: Any = None) -> Any:
        """One step at the rate of today."""
        spent = self.count / self.num_steps
        self.count += 1
        falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, max(0.0, 1.0 - spent) / FALL))
        rising = min(1.0, (spent + 1.0 / self.num_steps) / RISE)
        for group in self.param_groups:
            group["lr"] = self.rate * falling * rising
        return super().step(closure)


class Projector(Solver):
    r"""Adam in X with noise on the points it evaluates, after the projector of Karras et al. (2020) and its public code.

    In step k of K, with t = k/K, F is evaluated at ``x + noise · max(0, 1 − t/0.75)² · ε`` with ε standard normal, and the
    gradient found there moves x. The best point evaluated is kept, as of every method.

    Args:
        landscape: Whose X it moves in; nothing of it has to be fitted.
        num_steps: K: the schedule is of a length known beforehand.
        lr: The rate between rise and fall.
        noise: Spread of the noise on an element of x at the first step.
        seed: Of the noise. Row i gets the same noise whatever stands beside it.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> landscape = LearnedLandscape(torch.sinh, torch.zeros(2))
        >>> inverter = LandscapeInverter(landscape, lambda prediction, y: (prediction - y).square().sum(1))
        >>> solver = Projector(landscape, num_steps=40, lr=0.2, noise=0.1)
        >>> result = inverter.invert(torch.tensor([[1.0, -1.0]]), 40, solver=solver, allow_unfitted=True)
        >>> bool(result.loss < result.history.loss[0])
        True
    """

    def __init__(self, landscape: LearnedLandscape, num_steps: int, lr: float, noise: float, seed: int = 0) -> None:
        self.adam = TorchOptim(landscape.plain(), partial(RampedAdam, lr=lr, num_steps=num_steps))
        self.num_steps, self.noise, self.seed = num_steps, noise, seed

    def start(self, start: Start) -> ProjectorRun:
        """Begin with a fresh Adam."""
        return ProjectorRun(self, start)


class ProjectorRun(Run):
    """The state of a projection: that of Adam, and the points without their noise."""

    def __init__(self, settings: Projector, start: Start) -> None:
        self.settings, self.adam = settings, settings.adam.start(start)
        self.clean, self.count = start.x, 0
        # One for each row: what torch draws at a place depends on how much it draws in all.
        first = settings.seed * 1_000_003
        self.generators = [torch.Generator().manual_seed(first + int(row)) for row in start.ids]

    def observe(self, evaluation: Evaluation) -> None:
        """Take the gradient at the noisy point for that at the clean one."""
        self.adam.observe(replace(evaluation, x=self.clean))

    def propose(self) -> Tensor:
        """A step of Adam, and noise on top."""
        self.clean, self.count = self.adam.propose(), self.count + 1
        left = max(0.0, 1.0 - self.count / self.settings.num_steps / NOISY) ** 2
        if left == 0.0 or self.settings.noise == 0.0:
            return self.clean
        drawn = torch.stack([torch.randn(self.clean.shape[1], generator=each) for each in self.generators])
        return self.clean + self.settings.noise * left * drawn.to(self.clean)

    def verdict(self) -> Tensor | None:
        """Adam's."""
        return self.adam.verdict()

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.adam.keep(index)
        self.clean, self.generators = self.clean[index], [self.generators[int(row)] for row in index]
