"""Where rows that stand badly find other starts, and what looking for them may cost."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .caught import is_stationary, signs
from .mappings.context import Context
from .mappings.mapping import Mapping
from .memory import NUM_DIVERSE, Candidates, LossOf, Memory, farthest_first
from .objective import Evaluation
from .terms import Terms, given_target

SOLVED = 1e-10
"""Share of L₀ below which no other start is looked for."""
MUCH_BETTER, BETTER = 0.5, 0.7
"""The landscape's own start is given up for a stored point with less than this share of its loss; the second where the
landscape was not fitted to what is minimised."""
MIN_COMPARED = 64
FAR = 10.0
"""A row is caught, rather than slow, at so many times the loss that a quarter of the fit's rows ended below."""
NUM_AVERAGED = 4
"""Stored predictions that tell what was not observed."""
NUM_CLOSEST = 64
"""Points whose losses are compared, where those come from a look at all."""
OPERATIONS = 6
"""Multiply-adds that comparing one element of a prediction costs, in those of F: memory traffic, not arithmetic."""


@dataclass(frozen=True)
class WaysOut:
    """Where rows go that stand at a stationary point.

    Attributes:
        rows: which do, (B,), True and False.
        x: of each of those, in their order, (n, d).
    """

    rows: Tensor
    x: Tensor


class LookUp(ABC):
    """Where a batch of targets finds other starts.

    Attributes:
        promise: a row whose start has been evaluated goes to a stored point that has less than this share of its loss; 0
            leaves all rows where they are.
        solved: rows below this loss are left in peace.
        caught: rows above this loss are soon given up where they gain little; infinity where the fit says nothing of it.
    """

    promise: float
    solved: float
    caught: float

    @abstractmethod
    def candidates(self, rows: Tensor, count: int = NUM_DIVERSE) -> Candidates:
        """At most ``count`` points for these rows of the batch, the best first."""

    def ways_out(self, evaluation: Evaluation, told: Context) -> WaysOut | None:
        """Where rows above the loss of caught ones go, as rows of the fit have learned to; None where they have not.

        Args:
            evaluation: of the rows.
            told: what is known of their targets.
        """
        return None

    def completed(self) -> Any:
        """The targets without gaps, as far as what is stored tells what was not observed; None where it does not."""
        return None


class StoredPoints(LookUp):
    """Looks up a memory for one batch of targets.

    The loss is compared at so many points as cost about one evaluation of F. Where that is not all of them, at those few
    whose predictions are the closest to the target by a squared error.

    Args:
        memory: not empty.
        target: the whole batch.
        loss_of: (x, prediction, target) → (rows,): what is minimised.
        x_init: the plain start, (d,): a candidate like any other, after the best stored one.
        level: L₀, the mean loss at the plain start.
        evaluation_cost: multiply-adds of one evaluation of F for one sample.
        terms: what is minimised beside the loss; the batch comes as they want it.
        attained: the loss that a quarter of the fit's rows ended below; infinity where it is not known.
        mapping: θ, which tells a caught row from others; None where nobody asks for the ways out.
    """

    def __init__(
        self,
        memory: Memory,
        target: Any,
        loss_of: LossOf,
        x_init: Tensor,
        level: float,
        evaluation_cost: float,
        terms: Terms | None = None,
        attained: float = math.inf,
        mapping: Mapping | None = None,
    ) -> None:
        self.mapping = mapping
        self.memory, self.target, self.loss_of, self.x_init = memory, target, loss_of, x_init
        self.terms = Terms() if terms is None else terms
        asks_more = self.terms.masked or bool(self.terms.extra)  # what the fit saw of losses says less
        self.promise = BETTER if asks_more else MUCH_BETTER
        self.solved, self.caught = SOLVED * level, math.inf if asks_more else FAR * attained
        self.closest: Tensor | None = None  # of all rows, where all had to be looked up
        self.num_compared = max(MIN_COMPARED, int(0.5 * evaluation_cost / (OPERATIONS * memory.num_elements)))

    def candidates(self, rows: Tensor, count: int = NUM_DIVERSE) -> Candidates:
        """The best of the points compared, the plain start, and then what is most different."""
        target: Batch = batches.rows(self.target, rows)
        among = self._among(target) if self.closest is None else self.closest[rows]
        found = self.memory.nearest(target, self.loss_of, among, count)
        assert found.loss is not None
        plain = self.x_init.expand(len(rows), 1, -1)
        unknown = found.loss.new_full((len(rows), 1), torch.inf)
        x = torch.cat([found.x[:, :1], plain, found.x[:, 1:]], dim=1)
        return Candidates(x, torch.cat([found.loss[:, :1], unknown, found.loss[:, 1:]], dim=1))

    def ways_out(self, evaluation: Evaluation, told: Context) -> WaysOut | None:
        """To where the regression leads that the memory has of the fit's own."""
        if self.mapping is None or (regression := self.memory.escapes.regression()) is None:
            return None
        context = replace(told, evaluation=evaluation)
        caught = is_stationary(self.mapping, context)
        if not bool(caught.any()):
            return None
        seen = signs(self.mapping, context.rows(caught))
        return WaysOut(caught, evaluation.x[caught] + self.mapping.move * regression(seen))

    def completed(self) -> Any:
        """The targets, with what was not observed as it is in the predictions of the best stored points.

        ``Σ_k w_k p_k`` with ``w_k ∝ exp(-L_k / L_1)`` over the four lowest losses ``L_1 ≤ L_2 …``; k-nearest-neighbour
        imputation (Troyanskaya et al. 2001) by the loss that is minimised. No evaluation of F.

        Returns:
            None where nothing is masked, or predictions are not of the targets' shapes.
        """
        if not self.terms.masked or not self.memory.is_like(self.target["target"]):
            return None
        self.closest = self._among(self.target)
        losses = self.memory.losses(self.target, self.loss_of, self.closest)
        best = losses.topk(min(NUM_AVERAGED, losses.shape[1]), dim=1, largest=False)
        places = best.indices if self.closest is None else self.closest.gather(1, best.indices)
        ratio = best.values / best.values[:, :1].clamp_min(torch.finfo(losses.dtype).tiny)
        weights = (-ratio.nan_to_num(1.0, posinf=torch.inf)).softmax(1)  # they count alike where no loss is finite
        told = iter(zip(batches.leaves(self.target["target"]), batches.leaves(self.target["observed"]), strict=True))

        def fill(stored: Tensor) -> Tensor:
            y, seen = next(told)
            if not y.is_floating_point():
                return y
            mean = (weights.reshape(*weights.shape, *[1] * (y.ndim - 1)) * stored).sum(1)
            return torch.where(seen > 0, y, mean.to(y.dtype))

        return batches.map_leaves(fill, self.memory.predictions(places))

    def _among(self, target: Any) -> Tensor | None:
        """Which of the stored points are compared by their losses; None is all."""
        if self.num_compared >= len(self.memory):
            return None
        observed = target["observed"] if self.terms.masked else None
        closest = self.memory.closest(given_target(target, self.terms), NUM_CLOSEST, observed)
        return torch.arange(self.num_compared, device=self.x_init.device) if closest is None else closest


class UnrankedPoints(LookUp):
    """The same points for every row, far from one another.

    For an F that is ``given`` more than x: a prediction that was stored for one target says nothing of another.

    Args:
        memory: not empty.
        level: L₀, the mean loss at the plain start.
        attained: the loss that a quarter of the fit's rows ended below; infinity where it is not known.
    """

    promise = 0.0

    def __init__(self, memory: Memory, level: float, attained: float = math.inf) -> None:
        self.memory, self.solved, self.caught = memory, SOLVED * level, FAR * attained

    def candidates(self, rows: Tensor, count: int = NUM_DIVERSE) -> Candidates:
        """The newest point, and the farthest from it and from one another among some of all ages."""
        x = self.memory.newest_first()
        some = x[:: max(1, len(x) // MIN_COMPARED)]
        picked = some[farthest_first(some[None], min(count, len(some)))[0]]
        return Candidates(picked.expand(len(rows), -1, -1), None)
