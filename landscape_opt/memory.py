"""Solutions met in fitting, with what F said there: other starts for targets that the landscape does not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .escapes import CAPACITY, Escapes

State: TypeAlias = dict[str, Any]
LossOf: TypeAlias = Callable[[Tensor, Any, Any], Tensor]

NUM_DIVERSE = 8
MAX_AT_ONCE = 2**18
"""Elements of predictions that are compared at a time: more would leave the cache."""


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

    def beside(self, other: Candidates) -> Candidates:
        """These and, below them, those of other targets."""
        loss = None if self.loss is None or other.loss is None else torch.cat([self.loss, other.loss])
        return Candidates(torch.cat([self.x, other.x]), loss)


class Memory:
    """A ring of points x with their predictions F(x), bounded in number and in bytes.

    For a target, ``loss_fn(stored prediction, target)`` ranks them without an evaluation of F, whatever the loss is at
    inversion time. ``fit`` fills it with the points at which its trajectories ended, and ``escapes`` with the ways that led
    out of where some of them were caught.

    Args:
        capacity: points; 0 switches the memory off, and with it the ways out.
        max_bytes: of points and predictions together; ways out take a quarter of it beside them.

    Raises:
        ValueError: if one of them is negative.

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
        self.escapes = self._no_escapes()

    def _no_escapes(self) -> Escapes:
        return Escapes(min(self.capacity, CAPACITY), self.max_bytes // 4)

    def __len__(self) -> int:
        return min(self.count, self.room)

    @property
    def x(self) -> Tensor:
        """The points, (N, d)."""
        if self.storage is None:
            raise ValueError("the memory is empty")
        return self.storage[0][: len(self)]

    def predictions(self, places: Tensor) -> Any:
        """What F said at some points, a batch with the shape of ``places`` in front."""
        if self.storage is None:
            raise ValueError("the memory is empty")
        return batches.map_leaves(lambda leaf: leaf[places], self.storage[1])

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

    def nearest(self, target: Batch, loss_of: LossOf, among: Tensor | None = None, count: int = NUM_DIVERSE) -> Candidates:
        """The best stored point of every target, and others that differ from it and from one another.

        The points with the lowest losses are kept, eight times as many as asked for, and those picked farthest first.

        Args:
            target: a batch of B targets.
            loss_of: (x, prediction, target) → (rows,).
            among: places of the points to compare, as :meth:`closest` gives them, (B, n), or the same for all, (n,);
                None compares all.
            count: K at most.
        """
        losses = self.losses(target, loss_of, among)
        near = losses.topk(min(8 * count, losses.shape[1]), dim=1, largest=False)
        x = self.x[near.indices if among is None else among.expand(len(losses), -1).gather(1, near.indices)]
        picked = farthest_first(x, min(count, x.shape[1]))
        return Candidates(x.gather(1, picked[:, :, None].expand(-1, -1, x.shape[2])), near.values.gather(1, picked))

    def is_like(self, target: Batch) -> bool:
        """Whether stored predictions have the shapes of a batch of targets."""
        if self.storage is None:
            return False
        stored, wanted = batches.leaves(self.storage[1]), batches.leaves(target)
        return [leaf.shape[1:] for leaf in stored] == [leaf.shape[1:] for leaf in wanted]

    def closest(self, target: Batch, count: int, observed: Batch | None = None) -> Tensor | None:
        """Places of the points whose predictions differ least from each target, by Σ w (p - y)², (B, count).

        By ``Σ w p² - 2 Σ w y p``, products of matrices: far cheaper than the loss at all points, and almost in its order.

        Args:
            target: a batch of B targets.
            count: at most.
            observed: w, weights or True and False for every element; None is 1.

        Returns:
            None where predictions and targets are not alike in their shapes, or hold no floating-point part.
        """
        assert self.storage is not None
        if not self.is_like(target):
            return None
        stored, wanted = batches.leaves(self.storage[1]), batches.leaves(target)
        weights = [None] * len(wanted) if observed is None else batches.leaves(observed)
        distances: Tensor | None = None
        for p, y, w in zip(stored, wanted, weights, strict=True):
            if not (p.is_floating_point() and y.is_floating_point()):
                continue
            part = _distances(_flat(p[: len(self)]), _flat(y), None if w is None else _flat(w))
            distances = part if distances is None else distances + part
        return None if distances is None else distances.topk(min(count, len(self)), dim=1, largest=False).indices

    def losses(self, target: Batch, loss_of: LossOf, places: Tensor | None) -> Tensor:
        """Of every target at the points in ``places``, as :meth:`nearest` has them, (B, n); infinite where not finite.

        Some targets at a time: what is compared stays in the cache.
        """
        assert self.storage is not None
        x, stored = batches.map_leaves(lambda leaf: leaf[: len(self)], self.storage)
        size, everywhere = batches.size(target), torch.arange(len(self), device=x.device)
        num_compared = len(self) if places is None else places.shape[-1]
        at_once = max(1, MAX_AT_ONCE // max(1, num_compared * self.num_elements))

        def against(rows: Tensor) -> Tensor:
            if len(rows) == 1 and places is None:  # nothing is copied
                one = batches.map_leaves(lambda leaf: leaf[rows].expand(num_compared, *leaf.shape[1:]), target)
                return loss_of(x, stored, one)[None]
            same: Batch = batches.rows(target, rows.repeat_interleave(num_compared))
            among = everywhere.expand(len(rows), -1) if places is None else places.expand(size, -1)[rows]
            compared, predicted = batches.rows((x, stored), among.flatten())
            return loss_of(compared, predicted, same).reshape(len(rows), num_compared)

        with torch.no_grad():
            losses = torch.cat([against(rows) for rows in torch.arange(size, device=x.device).split(at_once)])
        return torch.where(losses.isfinite(), losses, torch.inf)

    def to(self, device: torch.device) -> None:
        """Move what is remembered."""
        if self.storage is not None:
            self.storage = batches.map_leaves(lambda leaf: leaf.to(device), self.storage)
        self.escapes.to(device)

    def state_dict(self) -> State:
        """Everything that is remembered."""
        return {"storage": self.storage, "room": self.room, "count": self.count, "escapes": self.escapes.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.storage = None if state["storage"] is None else batches.map_leaves(Tensor.clone, tuple(state["storage"]))
        self.room, self.count = state["room"], state["count"]
        self.escapes = self._no_escapes()  # a new one: a copy of this memory may hold the old
        if "escapes" in state:  # files from before know of none
            self.escapes.load_state_dict(state["escapes"])


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


def _distances(p: Tensor, y: Tensor, w: Tensor | None) -> Tensor:
    """Σ w p² - 2 Σ w y p of points (N, m) and targets (B, m), (B, N): the squared distance but for what p has no part in."""
    if w is None:
        return torch.addmm(p.square().sum(1), y.to(p.dtype), p.T, alpha=-2.0)
    seen = w.to(p.dtype)
    wanted = torch.where(seen > 0, y, 0).to(p.dtype)  # where nothing was observed may stand NaN
    return torch.addmm(seen @ p.square().T, seen * wanted, p.T, alpha=-2.0)


def _flat(rows: Tensor) -> Tensor:
    """(B, m), also of rows that are single numbers."""
    return rows.reshape(len(rows), -1)
