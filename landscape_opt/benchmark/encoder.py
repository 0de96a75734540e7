"""What one would build instead of a landscape: a network from target to x, trained on the same loss, then refined."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from .. import batches
from ..batches import Batch
from ..guest import frozen, private_randomness
from ..layout import X
from ..mappings.layers import mlp
from ..objective import Objective
from ..problems.problem import Problem


class Encoder:
    """y → x for targets that can be read as floats; features standardised and clamped as the landscape's are.

    Args:
        problem: F, loss, start and training targets.
        width: of the three hidden layers.
        seed: of its weights and of the order of targets.
    """

    def __init__(self, problem: Problem, width: int = 256, seed: int = 0) -> None:
        self.seed, self.num_evaluations = seed, 0
        self.landscape = problem.landscape()
        features = self._features(problem.train)
        self.mean, self.std = features.mean(0), features.std(0).clamp_min(1e-6)
        with private_randomness(seed, features.device):
            self.network = mlp(features.shape[1], [width] * 3, problem.dim)
            self.skip = nn.Linear(features.shape[1], problem.dim, bias=False)
        for last in (self.network[-1], self.skip):
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)

    def __call__(self, target: Batch) -> X:
        """x, in the format of ``x_init``; what is NaN in a target is taken for its mean."""
        return self.landscape.layout.structured(self._flat(target))

    def _flat(self, target: Batch) -> Tensor:
        standard = ((self._features(target) - self.mean) / self.std).nan_to_num(0.0).clamp(-6, 6)
        x: Tensor = self.landscape.layout.row + self.network(standard) + self.skip(standard)
        return x

    def fit(self, problem: Problem, seconds: float, batch_size: int = 256) -> Encoder:
        """AdamW with warm-up and a cosine over the seconds, on the mean loss over L₀."""
        weights = [*self.network.parameters(), *self.skip.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=2e-3)
        began, steps, size = time.monotonic(), 0, batches.size(problem.train)
        generator = torch.Generator().manual_seed(self.seed)
        with frozen(problem.forward_model) as forward_model:
            objective = Objective(forward_model, problem.loss_fn, self.landscape.layout, problem.given)
            some = batches.rows(problem.train, torch.arange(min(64, size)))
            level = objective.read(self.landscape.layout.start(batches.size(some)), some).loss.mean().item()
            while (spent := (time.monotonic() - began) / seconds) < 1.0:
                target = batches.rows(problem.train, torch.randint(size, (batch_size,), generator=generator))
                loss = objective.losses(self._flat(target), target).mean() / level
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(weights, 1.0)
                steps += 1
                rate = 2e-3 * min(1.0, steps / 50) * 0.5 * (1.0 + math.cos(math.pi * spent))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
            self.num_evaluations += objective.num_evaluations
        return self

    def _features(self, target: Batch) -> Tensor:
        features = self.landscape.features(target)
        assert features is not None
        return features
