"""One request of inversion among the ranks: each descends its own rows, and all get all answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeAlias

from torch import Tensor

from .. import batches
from ..batches import Batch
from ..hypotheses import Given, Hypotheses
from ..inversion import Request
from ..objective import Evaluation, Jacobian, Objective, Reading
from ..results import InversionHistory, InversionResult, to_budget
from ..terms import PerTarget
from .ranks import Alone, Ranks
from .shared_objective import is_sharded, shared

Run: TypeAlias = "Callable[[Objective, Batch, Request], InversionResult]"


def inverted(run: Run, objective: Objective, target: Batch, request: Request, ranks: Ranks) -> InversionResult:
    """The answers to all rows, on every rank.

    Each rank descends its own rows. Where F itself is spread over the ranks, which then have to call it equally often, all
    descend all rows alike, and share out each evaluation. Answers that carry a gradient are found by every rank for itself.

    Args:
        run: answers a batch of targets by an objective.
        objective: of this rank.
        target: all targets.
        request: with masks, starts and terms of all rows.
        ranks: that share the request.

    Raises:
        ValueError: for what is wrong with the whole request, on all ranks.
    """
    if is_sharded(objective.forward_model):
        return run(shared(objective, ranks), target, request)
    if isinstance(ranks, Alone) or request.differentiable is not None:
        return run(objective, target, request)
    size = batches.size(target)
    request.bundled(target)  # its errors name rows, which have to be those of the whole
    alive = WithSignsOfLife.of(objective, ranks, 0.25 * ranks.timeout)
    found = run(alive, ranks.share(target), part_of(request, size, ranks))
    while ranks.any(False):  # those who are done wait here for the others, who look in from time to time
        pass
    return whole(found, size, ranks)


def part_of(request: Request, num_rows: int, ranks: Ranks) -> Request:
    """The request for this rank's rows."""

    def share(batch: Any, what: str) -> Any:
        if batches.size(batch) != num_rows:
            raise ValueError(f"{what} has {batches.size(batch)} rows for {num_rows} targets")
        return ranks.share(batch)

    warm, starts = request.warm_start, request.starts
    if isinstance(warm, InversionResult):
        warm = warm.x
    return replace(
        request,
        warm_start=warm if warm is None or callable(warm) else share(warm, "warm_start"),
        observed=None if request.observed is None else share(request.observed, "observed"),
        starts=Given(share(starts.x, "the starts")) if isinstance(starts, Given) else starts,
        extra_terms=tuple(
            PerTarget(term.term, share(term.told, "a PerTarget term")) if isinstance(term, PerTarget) else term
            for term in request.extra_terms
        ),
    )


def whole(found: InversionResult, num_rows: int, ranks: Ranks) -> InversionResult:
    """The result of all rows; histories are as long as the longest, and shorter ones keep their last values."""
    length = ranks.largest(len(found.history.loss))
    names = ("x", "z", "prediction", "loss", "status", "num_evaluations")
    parts: dict[str, Any] = {name: getattr(found, name) for name in names}
    parts["history"] = [to_budget(getattr(found.history, field.name), length - 1).T for field in fields(InversionHistory)]
    if found.hypotheses is not None:
        parts["hypotheses"] = {field.name: getattr(found.hypotheses, field.name) for field in fields(Hypotheses)}
    gathered = ranks.gathered(parts, num_rows)
    history = InversionHistory(*(table.T.contiguous() for table in gathered.pop("history")))
    hypotheses = None if found.hypotheses is None else Hypotheses(**gathered.pop("hypotheses"))
    return InversionResult(**gathered, history=history, hypotheses=hypotheses)


class WithSignsOfLife(Objective):
    """An objective that meets the other ranks from time to time, so that a long descent is told from a lost rank.

    Descents of different rows take different times. A rank that is done waits in ``ranks.any(False)``, one that is not says
    ``ranks.any(True)`` every quarter of the time-out, before its next evaluation.
    """

    ranks: Ranks
    due: float
    every: float

    @classmethod
    def of(cls, objective: Objective, ranks: Ranks, every: float) -> WithSignsOfLife:
        """With the parts of another objective.

        Args:
            objective: of this rank's rows.
            ranks: to meet.
            every: seconds.
        """
        alive = cls.like(objective)
        alive.ranks, alive.every, alive.due = ranks, every, time.monotonic() + every
        return alive

    def evaluate(self, x: Tensor, target: Batch) -> Evaluation:
        """As it is, after a sign of life where one is due."""
        self._meet()
        return super().evaluate(x, target)

    def read(self, x: Tensor, target: Batch) -> Reading:
        """Likewise."""
        self._meet()
        return super().read(x, target)

    def jacobian(self, x: Tensor, target: Batch) -> Jacobian:
        """Likewise."""
        self._meet()
        return super().jacobian(x, target)

    def _meet(self) -> None:
        if time.monotonic() >= self.due:
            self.ranks.any(True)
            self.due = time.monotonic() + self.every
