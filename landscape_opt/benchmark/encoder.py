"""What one would build instead of a landscape: a network from target to x, trained on the same loss, then refined."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from ..guest import frozen, private_randomness
from ..landscape import LearnedLandscape
from ..mappings.layers import mlp
from ..problems.problem import Problem


class Encoder:
    """y → x for targets that can be read as floats; features standardised and clamped as the landscape's are.

    Args:
        problem: F, loss, start and training targets.
        width: of the three hidden layers.
    """

    def __init__(self, problem: Problem, width: int = 256) -> None:
        self.landscape = LearnedLandscape(problem.forward_model, problem.x_init)
        features = self._features(problem.train)
        self.mean, self.std = features.mean(0), features.std(0).clamp_min(1e-6)
        with private_randomness(0, features.device):
            self.network = mlp(features.shape[1], [width] * 3, problem.x_init.numel())
            self.skip = nn.Linear(features.shape[1], problem.x_init.numel(), bias=False)
        for last in (self.network[-1], self.skip):
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)

    def __call__(self, target: Tensor) -> Tensor:
        """x, in the format of ``x_init``; what is NaN in a target is taken for its mean."""
        standard = ((self._features(target) - self.mean) / self.std).nan_to_num(0.0).clamp(-6, 6)
        layout = self.landscape.layout
        x: Tensor = layout.structured(layout.row + self.network(standard) + self.skip(standard))  # type: ignore[assignment]
        return x

    def fit(self, problem: Problem, seconds: float, batch_size: int = 256) -> Encoder:
        """AdamW with warm-up and a cosine over the seconds, on the mean loss over L₀."""
        weights = [*self.network.parameters(), *self.skip.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=2e-3)
        generator, began, steps = torch.Generator().manual_seed(0), time.monotonic(), 0
        with frozen(problem.forward_model) as forward_model:
            level = problem.loss_fn(forward_model(problem.x_init[None].expand(64, -1)), problem.train[:64]).mean().item()
            while (spent := (time.monotonic() - began) / seconds) < 1.0:
                target = problem.train[torch.randint(len(problem.train), (batch_size,), generator=generator)]
                loss = problem.loss_fn(forward_model(self(target)), target).mean() / level
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(weights, 1.0)
                steps += 1
                rate = 2e-3 * min(1.0, steps / 50) * 0.5 * (1.0 + math.cos(math.pi * spent))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
        return self

    def _features(self, target: Tensor) -> Tensor:
        features = self.landscape.features(target)
        assert features is not None
        return features
