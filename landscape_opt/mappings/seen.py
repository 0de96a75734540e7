"""What F showed, in units of the problem: the inputs of every network that chooses a step from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..objective import Evaluation
from .mapping import Mapping


@dataclass(frozen=True)
class Seen:
    """An evaluation in units of the problem: unchanged when loss or x are measured in other units (law 2).

    Attributes:
        x: tanh((x − x_init)/4r), (B, d).
        gradient: ∂L/∂x in rows of rms 1, (B, d).
        residual: ∂L/∂prediction likewise, (B, m).
        levels: log L/L₀ and log ‖η ∂L/∂x‖/(r √d), both /5, (B, 2).
        reach: min(√(L/L₀), 3), (B, 1).
        stride: η ‖∂L/∂x‖/√d, (B, 1).
    """

    x: Tensor
    gradient: Tensor
    residual: Tensor
    levels: Tensor
    reach: Tensor
    stride: Tensor

    @classmethod
    def of(cls, evaluation: Evaluation, mapping: Mapping) -> Seen:
        """What an evaluation is in the units that a mapping was calibrated to."""
        dim = evaluation.x.shape[1]
        tiny = torch.finfo(evaluation.x.dtype).tiny
        relative = (evaluation.loss / mapping.loss).clamp_min(tiny)
        length = mapping.step * evaluation.grad_x.norm(dim=1) / (mapping.move * dim**0.5)
        levels = torch.stack([relative.log(), length.clamp_min(tiny).log()], dim=1) / 5.0
        return cls(
            x=torch.tanh((evaluation.x - mapping.x_init) / (4.0 * mapping.move)),
            gradient=unit(evaluation.grad_x),
            residual=unit(evaluation.grad_prediction),
            levels=levels,
            reach=relative.sqrt().clamp_max(3.0)[:, None],
            stride=(mapping.move * length)[:, None],
        )

    def beside(self, code: Tensor) -> Tensor:
        """All that a network reads, after a code of the target, (B, …)."""
        return torch.cat([code, self.x, self.gradient, self.residual, self.levels], dim=1)


def unit(v: Tensor) -> Tensor:
    """Rows of rms 1; zero rows stay zero."""
    size: Tensor = v.norm(dim=1, keepdim=True)
    return v * (math.sqrt(v.shape[1]) / size.clamp_min(torch.finfo(v.dtype).tiny))
