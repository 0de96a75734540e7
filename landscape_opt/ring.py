"""A ring of rows, written in place: what a fit keeps of its trajectories, bounded in number and in bytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .targets import sent


class Ring:
    """Rows of a batch; once it is full, the oldest are written over.

    Room is made once, when the first rows show how large they are: on a CPU the pages of it that are not written to yet take
    no memory.

    Args:
        capacity: rows at most.
        max_bytes: of all rows together.
        device: where they lie; None is where they come from.

    Example:
        >>> import torch
        >>> ring = Ring(capacity=3, max_bytes=1000)
        >>> ring.add(torch.tensor([[1.0], [2.0]]))
        >>> ring.add(torch.tensor([[3.0], [4.0]]))
        >>> ring.rows(torch.tensor([0, 2]))  # the oldest that is left, and the newest
        tensor([[2.],
                [4.]])
    """

    def __init__(self, capacity: int, max_bytes: int, device: torch.device | str | None = None) -> None:
        self.capacity, self.max_bytes = capacity, max_bytes
        self.device = None if device is None else torch.device(device)
        self.storage: Batch | None = None
        self.homes: list[torch.device] = []
        self.room = self.held = self.first = 0

    def __len__(self) -> int:
        return self.held

    def add(self, rows: Batch) -> None:
        """Keep rows, the oldest go first; of more than there is room for, the last ones.

        Raises:
            ValueError: if a single row is larger than ``max_bytes``.
        """
        if self.storage is None:
            self._make_room(rows)
        self.homes = [leaf.device for leaf in batches.leaves(rows)]
        if self.device is None:
            self.to(self.homes)
        size = batches.size(rows)
        count = min(size, self.room)
        place = (self.first + self.held + torch.arange(count)) % self.room
        assert self.storage is not None
        for kept, leaf in zip(batches.leaves(self.storage), batches.leaves(rows), strict=True):
            kept[place.to(kept.device)] = leaf[size - count :].detach().to(kept)  # in place: the storage is the ring's own
        over = max(0, self.held + count - self.room)
        self.held, self.first = self.held + count - over, (self.first + over) % self.room

    def rows(self, index: Tensor) -> Any:
        """The rows at ``index``, counted from the oldest, on the devices that they came from."""
        if self.storage is None:
            raise ValueError("the ring is empty")
        picked: Batch = batches.rows(self.storage, (self.first + index) % self.room)
        homes = iter(self.homes or [leaf.device for leaf in batches.leaves(picked)])
        return batches.map_leaves(lambda leaf: sent(leaf, next(homes)), picked)

    def to(self, devices: list[torch.device]) -> None:
        """Move the rows, each part to its device."""
        if self.storage is not None:
            places = iter(devices)
            self.storage = batches.map_leaves(lambda leaf: leaf.to(next(places)), self.storage)

    def state_dict(self) -> dict[str, Any]:
        """The rows as they lie, which the next :meth:`add` changes, and the place of the oldest."""
        rows = None if self.storage is None else batches.map_leaves(lambda leaf: leaf[: self.held], self.storage)
        return {"buffer": rows, "first": self.first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; where this ring is smaller, the newest rows of it."""
        self.storage, self.homes = None, []
        self.room = self.held = self.first = 0
        if state["buffer"] is None:
            return
        held, first = batches.size(state["buffer"]), int(state.get("first", 0))
        if held == min(self.capacity, self.max_bytes // row_bytes(state["buffer"])):
            self.add(state["buffer"])  # each row where it lay: a resumed fit is to hold the same bits (law 6)
            self.first = first
        else:
            self.add(batches.rows(state["buffer"], (first + torch.arange(held)) % held))

    def _make_room(self, rows: Batch) -> None:
        one_row = row_bytes(rows)
        self.room = min(self.capacity, self.max_bytes // one_row)
        if self.room == 0:
            raise ValueError(
                f"one row of the replay buffer takes {one_row} bytes, and max_bytes is {self.max_bytes}: not a single row "
                f"fits. Give at least max_bytes={one_row}, many times that to be of use, or smaller targets"
            )
        device = self.device
        self.storage = batches.map_leaves(lambda leaf: leaf.new_empty(self.room, *leaf.shape[1:], device=device), rows)


def row_bytes(rows: Batch) -> int:
    """Bytes of one row in all parts of a batch."""
    return sum(leaf[:1].numel() * leaf.element_size() for leaf in batches.leaves(rows))
