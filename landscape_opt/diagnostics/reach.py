"""How quickly a descent arrives, and how good its steps are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from ..results import InversionResult, to_budget


@dataclass(frozen=True)
class Reach:
    """How a batch of targets came near its solutions. A target has arrived at its level, a loss of its own.

    Attributes:
        evaluations: after how many a target arrived, (B,); infinite where it did not.
        ratio: median over a target's evaluations of best loss after / best loss before, until it arrived, (B,); NaN where
            it stood at its level from the start.
        rises: share of a target's evaluations, until it arrived, at a point above the best before, (B,); NaN likewise.
        best: lowest loss after k evaluations, (K + 1, B), k = 0 … the budget.
        num_evaluations: of F, over all targets.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: 2.0 * x, torch.zeros(2)), squares)
        >>> result = inverter.invert(torch.ones(3, 2), 10, allow_unfitted=True)
        >>> reach = Reach.of(result, level=0.001 * result.history.loss[0], max_evaluations=10)
        >>> reach.share_arrived, reach.quantile(0.5) <= 10
        (1.0, True)
    """

    evaluations: Tensor
    ratio: Tensor = field(repr=False)
    rises: Tensor = field(repr=False)
    best: Tensor = field(repr=False)
    num_evaluations: int

    @classmethod
    def of(cls, result: InversionResult, level: Tensor, max_evaluations: int) -> Self:
        """Read from the history of an inversion.

        Args:
            result: of B targets.
            level: the loss at which each has arrived, (B,).
            max_evaluations: the budget, to which the history is filled up.
        """
        loss, best = (to_budget(table, max_evaluations) for table in (result.history.loss, result.history.best))
        there = best <= level
        first = there.long().argmax(0)
        arrived = there.any(0)
        evaluations = torch.where(arrived, first.to(best), torch.inf)
        numbers = torch.arange(1, len(best), device=best.device)[:, None]
        counted = numbers <= torch.minimum(evaluations, result.num_evaluations.to(best))
        before, usable = best[:-1], counted & best[:-1].isfinite() & (best[:-1] > 0)
        ratios = torch.where(usable, best[1:] / before, torch.nan)
        raised = torch.where(usable, (~(loss[1:] <= before)).to(best), torch.nan)  # a NaN loss is a rise, too
        return cls(evaluations, ratios.nanmedian(0).values, raised.nanmean(0), best, int(result.num_evaluations.sum()))

    @property
    def share_arrived(self) -> float:
        """Share of the targets that arrived."""
        return float(self.evaluations.isfinite().double().mean())

    def quantile(self, share: float) -> float:
        """Evaluations after which this share of all targets had arrived; infinite where it never had."""
        ordered = self.evaluations.sort().values
        return float(ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)])
