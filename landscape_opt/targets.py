"""Targets for fitting: a batch, a Dataset, a DataLoader, or any re-iterable of batches, as an endless stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from . import batches
from .batches import Batch
from .guest import private_randomness


class TargetFeed:
    """Batches of targets, forever, from a given place on.

    The order of a batch or Dataset in epoch e is a permutation computed from (seed, e), so that a resumed fit sees what
    an uninterrupted one would have seen. A DataLoader or other iterable keeps its own order, and is iterated again when
    it ends.

    Args:
        targets: a Tensor, a tuple or dict of Tensors, a ``Dataset``, a ``DataLoader``, or a re-iterable of batches.
        batch_size: rows of a batch, where the targets are not batched already.
        seed: of the order.
        position: batches already taken.

    Raises:
        ValueError: if there are no targets, or a generator can be read only once.
    """

    def __init__(self, targets: Any, batch_size: int, seed: int, position: int = 0) -> None:
        self.targets, self.batch_size, self.seed, self.position = targets, batch_size, seed, position
        self.is_batch = isinstance(targets, Tensor | tuple | Mapping)
        self.is_indexed = not self.is_batch and _is_indexed(targets)
        if self.is_batch or self.is_indexed:
            self.length = batches.size(targets) if self.is_batch else len(targets)
            if self.length == 0:
                raise ValueError("there are no targets: the dataset is empty")
            self.iterator: Iterator[Any] | None = None
        else:
            if not isinstance(targets, Iterable):
                raise TypeError(
                    "targets must be a Tensor, a tuple or dict of Tensors, a Dataset, a DataLoader or an iterable of "
                    f"batches, got {type(targets).__name__}"
                )
            if isinstance(targets, Iterator):
                raise ValueError("targets is a generator, which can be read only once; give a list or a DataLoader")
            self.iterator = self._begun()
            for _ in range(position):
                self._next_given()

    def next(self) -> Batch:
        """The next batch. Raises ValueError where it holds NaN or infinity, naming the rows."""
        batch = self._drawn() if self.iterator is None else self._next_given()
        self.position += 1
        return refuse_nonfinite(batch)

    def _drawn(self) -> Batch:
        size = min(self.batch_size, self.length)
        per_epoch = self.length // size
        epoch, place = divmod(self.position, per_epoch)
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + epoch))
        index = order[place * size : (place + 1) * size]
        drawn: Batch = (
            batches.rows(self.targets, index)
            if self.is_batch
            else default_collate([self.targets[int(row)] for row in index])
        )
        return drawn

    def _begun(self) -> Iterator[Any]:
        # A DataLoader draws its seed from the global generator when it is iterated (law 5).
        with private_randomness(self.seed, torch.device("cpu")):
            return iter(self.targets)

    def _next_given(self) -> Batch:
        assert self.iterator is not None
        try:
            with private_randomness(self.seed + self.position, torch.device("cpu")):
                batch: Batch = next(self.iterator)
        except StopIteration:
            self.iterator = self._begun()
            try:
                batch = next(self.iterator)
            except StopIteration:
                raise ValueError("there are no targets: the iterable gives no batch") from None
        if batches.size(batch) == 0:
            raise ValueError("a batch of targets has no rows")
        return batch


def _is_indexed(targets: Any) -> bool:
    if isinstance(targets, DataLoader | IterableDataset):
        return False
    return isinstance(targets, Dataset) and hasattr(targets, "__len__")


def refuse_empty(target: Batch) -> Batch:
    """The batch itself; raises ValueError where it has no rows."""
    if batches.size(target) == 0:
        raise ValueError("there are no targets: the batch has no rows")
    return target


def refuse_nonfinite(target: Batch) -> Batch:
    """The batch itself; raises ValueError that names the rows with NaN or infinity."""
    if bad := batches.nonfinite_rows(target):
        shown = ", ".join(map(str, bad[:10])) + (", …" if len(bad) > 10 else "")
        raise ValueError(f"targets hold NaN or infinity in {len(bad)} of {batches.size(target)} rows: {shown}")
    return target
