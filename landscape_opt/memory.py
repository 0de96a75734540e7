"""Solutions met in fitting, with what F said there: other starts for targets that the landscape does not know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import batches
from .batches import Batch

State: TypeAlias = dict[str, Any]
LossOf: TypeAlias = Callable[[Tensor, Any, Any], Tensor]

NUM_DIVERSE = 8
SOLVED = 1e-10
"""Share of L₀ below which no other start is looked for."""
MUCH_BETTER, BETTER = 0.5, 0.7
"""The landscape's own start is given up for a stored point with less than this share of its loss; the second where the
landscape was not fitted to what is minimised."""
MIN_COMPARED = 64
MAX_AT_ONCE = 2**18
"""Elements of predictions that are compared at a time: more would leave the cache."""
OPERATIONS = 6
"""Multiply-adds that comparing one element of a prediction costs, in those of F: memory traffic, not arithmetic."""


@dataclass(frozen=True)
class Candidates:
    """Stored points for a batch of targets: the best first, then those farthest from the ones before.

    Attributes:
        x: (B, K, d).
        loss: L(stored prediction, target), (B, K); None where it takes an evaluation to know, so that the points stand in
            no order.
    """

    x: Tensor
    loss: Tensor | None


class LookUp(ABC):
    """Where a batch of targets finds other starts.

    Attributes:
        promise: a row whose start has been evaluated goes to a stored point that has less than this share of its loss; 0
            leaves all rows where they are.
        solved: rows below this loss are left in peace.
    """

    promise: float
    solved: float

    @abstractmethod
    def candidates(self, rows: Tensor, count: int = NUM_DIVERSE) -> Candidates:
        """At most ``count`` points for these rows of the batch, the best first."""


class Memory:
    """A ring of points x with their predictions F(x), bounded in number and in bytes.

    For a target, ``loss_fn(stored prediction, target)`` ranks them without an evaluation of F, whatever the loss is at
    inversion time. ``fit`` fills it with the points at which its trajectories ended.

    Args:
        capacity: points; 0 switches the memory off.
        max_bytes: of points and predictions together.

    Example:
        >>> memory = Memory(capacity=100)
        >>> memory.add(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [4.0]]))
        >>> found = memory.nearest(torch.tensor([[3.5]]), lambda x, p, y: (p - y).square().sum(1))
        >>> found.x[0, 0], found.loss[0, 0]
        (tensor([2.]), tensor(0.2500))
    """

    def __init__(self, capacity: int = 4096, max_bytes: int = 2**26) -> None:
        if capacity < 0 or max_bytes < 0:
            raise ValueError(f"capacity and max_bytes must not be negative, got {capacity} and {max_bytes}")
        self.capacity, self.max_bytes = capacity, max_bytes
        self.storage: tuple[Tensor, Batch] | None = None
        self.room, self.count = 0, 0

    def __len__(self) -> int:
        return min(self.count, self.room)

    @property
    def x(self) -> Tensor:
        """The points, (N, d)."""
        if self.storage is None:
            raise ValueError("the memory is empty")
        return self.storage[0][: len(self)]

    def newest_first(self) -> Tensor:
        """The points, (N, d), those added last before the others."""
        return self.x[(self.count - 1 - torch.arange(len(self), device=self.x.device)) % self.room]

    def add(self, x: Tensor, prediction: Batch) -> None:
        """Remember points, the oldest go first.

        Args:
            x: flat, (N, d).
            prediction: F(x), N rows.
        """
        if len(x) != batches.size(prediction):
            raise ValueError(f"{len(x)} points came with {batches.size(prediction)} predictions")
        finite = x.isfinite().all(1)
        for leaf in batches.float_leaves(prediction):
            finite = finite & leaf.reshape(len(leaf), -1).isfinite().all(1)
        if self.capacity == 0 or not bool(finite.any()):
            return
        x, prediction = x.detach()[finite], batches.detached(batches.rows(prediction, finite))
        if self.storage is None:
            self.room = self._room(x, prediction)
            empty = batches.map_leaves(lambda leaf: leaf.new_zeros(self.room, *leaf.shape[1:]), (x, prediction))
            self.storage = empty
        fitting = min(len(x), self.room)
        index = ((self.count + torch.arange(fitting)) % max(1, self.room)).to(x.device)
        newest: Batch = batches.map_leaves(lambda leaf: leaf[len(x) - fitting :], (x, prediction))
        for held, leaf in zip(batches.leaves(self.storage), batches.leaves(newest), strict=True):
            held[index] = leaf  # in place: the storage is the memory's own
        self.count += fitting

    def _room(self, x: Tensor, prediction: Batch) -> int:
        row_bytes = sum(leaf[0].numel() * leaf.element_size() for leaf in [x, *batches.leaves(prediction)])
        return min(self.capacity, self.max_bytes // row_bytes)

    @property
    def num_elements(self) -> int:
        """Elements of one stored prediction."""
        return 0 if self.storage is None else sum(leaf[0].numel() for leaf in batches.leaves(self.storage[1]))

    def nearest(
        self, target: Batch, loss_of: LossOf, num_compared: int | None = None, count: int = NUM_DIVERSE
    ) -> Candidates:
        """The best stored point of every target, and others that differ from it and from one another.

        The points with the lowest losses are kept, eight times as many as asked for, and those picked farthest first.

        Args:
            target: a batch of B targets.
            loss_of: (x, prediction, target) → (rows,).
            num_compared: compare so many points alone; None compares all.
            count: K at most.
        """
        x = self.x[:num_compared]
        losses = self._losses(target, loss_of, len(x))
        near = losses.topk(min(8 * count, len(x)), dim=1, largest=False)
        picked = farthest_first(x[near.indices], min(count, len(x)))
        return Candidates(x[near.indices.gather(1, picked)], near.values.gather(1, picked))

    def _losses(self, target: Batch, loss_of: LossOf, num_compared: int) -> Tensor:
        """(B, N), some targets at a time: what is compared stays in the cache."""
        assert self.storage is not None
        x, stored = batches.map_leaves(lambda leaf: leaf[:num_compared], self.storage)
        size = batches.size(target)
        at_once = max(1, MAX_AT_ONCE // max(1, num_compared * self.num_elements))

        def against(rows: Tensor) -> Tensor:
            if len(rows) == 1:  # nothing is copied
                one = batches.map_leaves(lambda leaf: leaf[rows].expand(num_compared, *leaf.shape[1:]), target)
                return loss_of(x, stored, one)[None]
            same: Batch = batches.rows(target, rows.repeat_interleave(num_compared))
            again = torch.arange(num_compared, device=x.device).repeat(len(rows))
            return loss_of(x[again], batches.rows(stored, again), same).reshape(len(rows), num_compared)

        with torch.no_grad():
            losses = torch.cat([against(rows) for rows in torch.arange(size, device=x.device).split(at_once)])
        return torch.where(losses.isfinite(), losses, torch.inf)

    def state_dict(self) -> State:
        """Everything that is remembered."""
        return {name: getattr(self, name) for name in ("storage", "room", "count")}

    def load_state_dict(self, state: State) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.storage = None if state["storage"] is None else batches.map_leaves(Tensor.clone, tuple(state["storage"]))
        self.room, self.count = state["room"], state["count"]


class StoredPoints(LookUp):
    """Looks up a memory for one batch of targets; so many points that a look costs about one evaluation of F at most.

    Args:
        memory: not empty.
        target: the whole batch.
        loss_of: (x, prediction, target) → (rows,): what is minimised.
        x_init: the plain start, (d,): a candidate like any other, after the best stored one.
        level: L₀, the mean loss at the plain start.
        evaluation_cost: multiply-adds of one evaluation of F for one sample.
        is_familiar: whether the landscape was fitted to what is minimised; if not (a mask, a further term), its start
            is worth less.
    """

    def __init__(
        self,
        memory: Memory,
        target: Batch,
        loss_of: LossOf,
        x_init: Tensor,
        level: float,
        evaluation_cost: float,
        is_familiar: bool = True,
    ) -> None:
        self.memory, self.target, self.loss_of, self.x_init = memory, target, loss_of, x_init
        self.promise = MUCH_BETTER if is_familiar else BETTER
        self.solved = SOLVED * level
        self.num_compared = max(MIN_COMPARED, int(0.5 * evaluation_cost / (OPERATIONS * memory.num_elements)))

    def candidates(self, rows: Tensor, count: int = NUM_DIVERSE) -> Candidates:
        """The best of the points compared, the plain start, and then what is most different."""
        found = self.memory.nearest(batches.rows(self.target, rows), self.loss_of, self.num_compared, count)
        assert found.loss is not None
        plain = self.x_init.expand(len(rows), 1, -1)
        unknown = found.loss.new_full((len(rows), 1), torch.inf)
        x = torch.cat([found.x[:, :1], plain, found.x[:, 1:]], dim=1)
        return Candidates(x, torch.cat([found.loss[:, :1], unknown, found.loss[:, 1:]], dim=1))


class UnrankedPoints(LookUp):
    """The same points for every row, far from one another.

    For an F that is ``given`` more than x: a prediction that was stored for one target says nothing of another.

    Args:
        memory: not empty.
        level: L₀, the mean loss at the plain start.
    """

    promise = 0.0

    def __init__(self, memory: Memory, level: float) -> None:
        self.memory, self.solved = memory, SOLVED * level

    def candidates(self, rows: Tensor, count: int = NUM_DIVERSE) -> Candidates:
        """The newest point, and the farthest from it and from one another among some of all ages."""
        x = self.memory.newest_first()
        some = x[:: max(1, len(x) // MIN_COMPARED)]
        picked = some[farthest_first(some[None], min(count, len(some)))[0]]
        return Candidates(picked.expand(len(rows), -1, -1), None)


def farthest_first(points: Tensor, count: int) -> Tensor:
    """The first of some points, then each time the one farthest from those picked (Gonzalez 1985).

    Args:
        points: (B, N, d).
        count: at most N.

    Returns:
        Indices, (B, count).
    """
    picked = [points.new_zeros(len(points), dtype=torch.long)]
    distance = points.new_full(points.shape[:2], torch.inf)
    for _ in range(count - 1):
        newest = points.gather(1, picked[-1][:, None, None].expand(-1, 1, points.shape[2]))
        distance = torch.minimum(distance, (points - newest).square().sum(2))
        picked.append(distance.argmax(1))
    return torch.stack(picked, dim=1)
