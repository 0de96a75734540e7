"""Target sets as methods get them: in pieces, and without what was not observed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..problems.problem import Problem, TargetSet


def rows(some: TargetSet, index: Tensor) -> TargetSet:
    """The targets that ``index`` picks, with their masks."""
    observed = None if some.observed is None else batches.rows(some.observed, index)
    return replace(some, targets=batches.rows(some.targets, index), observed=observed)


def first(some: TargetSet, count: int) -> TargetSet:
    """At most so many targets.

    Example:
        >>> batches.size(first(TargetSet(targets=torch.zeros(9, 2)), 4).targets)
        4
    """
    return rows(some, torch.arange(min(count, batches.size(some.targets))))


def pieces(some: TargetSet, size: int) -> list[TargetSet]:
    """The targets in order, at most ``size`` at a time."""
    return [rows(some, index) for index in torch.arange(batches.size(some.targets)).split(size)]


def hidden(some: TargetSet) -> Batch:
    """The targets with NaN where nothing was observed, so that no method can look there.

    Example:
        >>> hidden(TargetSet(targets=torch.ones(1, 2), observed=torch.tensor([[True, False]])))
        tensor([[1., nan]])
    """
    if some.observed is None:
        return some.targets

    def without(leaf: Tensor, mask: Tensor) -> Tensor:
        if not leaf.is_floating_point():
            return leaf
        seen = (mask > 0).reshape(*mask.shape, *[1] * (leaf.ndim - mask.ndim))
        return torch.where(seen, leaf, torch.nan)

    kept: Batch = batches.map_pairs(without, some.targets, some.observed)
    return kept


def reported_sets(problem: Problem, count: int) -> dict[str, TargetSet]:
    """What figures are reported on, by name, at most ``count`` targets of each."""
    return {name: first(some, count) for name, some in problem.test_sets().items()}


def validation_set(problem: Problem, count: int) -> TargetSet:
    """What methods are tuned on."""
    return first(TargetSet(targets=problem.validation), count)


def cycled(batch: Batch, count: int) -> Any:
    """So many rows of a batch, from the first on, and again from the first where it has fewer.

    Args:
        batch: Of targets.
        count: Rows.

    Example:
        >>> cycled(torch.tensor([1, 2, 3]), 5)
        tensor([1, 2, 3, 1, 2])
    """
    return batches.rows(batch, torch.arange(count) % batches.size(batch))
