"""The objective whose evaluations are shared out among the ranks, and what tells whether F itself is."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from typing import Any, Self, TypeVar

from torch import Tensor

from ..batches import Batch
from ..guest import modules_behind
from ..objective import Evaluation, Jacobian, Objective, Reading
from .ranks import Alone, Ranks

Record = TypeVar("Record", Evaluation, Reading, Jacobian)


class SharedObjective(Objective):
    """Evaluates a rank's own rows and gathers those of all, so that every rank sees all rows and decides alike.

    Rows are counted as one process would count them. F is called once on every rank for each call here, also by ranks for
    which there is no row, so that an F which is itself spread over the ranks never waits for one that does not come.

    Attributes:
        local: evaluates this rank's rows.
        ranks: whose rows are gathered.
    """

    may_end_early = False  # an interrupted rank cannot keep its best so far: the others would wait for it
    local: Objective
    ranks: Ranks

    @classmethod
    def of(cls, objective: Objective, ranks: Ranks) -> Self:
        """With the parts of another objective, and a count of its own."""
        shared = cls.like(objective)
        shared.local, shared.ranks = objective, ranks
        return shared

    def clock(self, ahead: float = 0.0) -> float:
        """That of rank 0."""
        return self.ranks.from_first(super().clock(ahead))

    def evaluate(self, x: Tensor, target: Batch) -> Evaluation:
        """One evaluation of F at x (B, d)."""
        self.num_evaluations += len(x)
        return gathered(self.local.evaluate(*self.ranks.share((x, target))), len(x), self.ranks)

    def read(self, x: Tensor, target: Batch) -> Reading:
        """Prediction and loss at x (B, d)."""
        return gathered(self.local.read(*self.ranks.share((x, target))), len(x), self.ranks)

    def prediction(self, x: Tensor, target: Batch | None) -> Any:
        """F at x (B, d), without a graph."""
        part, of = (self.ranks.share(x), None) if target is None else self.ranks.share((x, target))
        return self.ranks.gathered(self.local.prediction(part, of), len(x))

    def losses(self, x: Tensor, target: Batch) -> Tensor:
        """L at x (B, d) with its graph, (B,), for which every rank evaluates all rows."""
        self.num_evaluations += len(x)
        return self.local.losses(x, target)

    @property
    def jacobian_cost(self) -> int:
        """As the local objective has seen it."""
        return self.local.jacobian_cost

    def jacobian(self, x: Tensor, target: Batch) -> Jacobian:
        """∂r/∂x at x (B, d)."""
        found = gathered(self.local.jacobian(*self.ranks.share((x, target))), len(x), self.ranks)
        self.num_evaluations += len(x) * self.jacobian_cost
        return found


def shared(objective: Objective, ranks: Ranks) -> Objective:
    """The objective itself where there is one rank, else one whose evaluations are shared out."""
    return objective if isinstance(ranks, Alone) else SharedObjective.of(objective, ranks)


def gathered(record: Record, num_rows: int, ranks: Ranks) -> Record:
    """The record of all rows, of which each rank holds its own."""
    held = {field.name: value for field in fields(record) if (value := getattr(record, field.name)) is not None}
    return replace(record, **ranks.gathered(held, num_rows))


def is_sharded(forward_model: Any) -> bool:
    """Whether F's weights are spread over ranks (FSDP), so that all have to call it equally often."""
    found = sys.modules.get("torch.distributed.fsdp")  # what has not been imported shards nothing
    if found is None:
        return False
    kinds = (found.FSDPModule, found.FullyShardedDataParallel)
    return any(isinstance(part, kinds) for module in modules_behind(forward_model) for part in module.modules())
