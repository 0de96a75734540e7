"""Targets for fitting: a batch, a Dataset, a DataLoader, or any re-iterable of batches, as an endless stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    it ends; what it draws at random follows from the seed and the number of the batch.

    For a CUDA device one batch is drawn ahead, and its copy from pinned memory is under way while the round before it is
    computed; a DataLoader with ``pin_memory=True`` has it pinned already. No thread is started: the workers of a DataLoader
    are its own. On a CPU batches are handed on as they come.

    Args:
        targets: a Tensor, a tuple or dict of Tensors, a ``Dataset``, a ``DataLoader``, or a re-iterable of batches.
        batch_size: rows of a batch, where the targets are not batched already.
        seed: of the order.
        position: batches already taken.
        device: where the landscape lies; None, and any but CUDA, leaves batches where they are.

    Raises:
        ValueError: if there are no targets, or a generator can be read only once.
    """

    def __init__(
        self, targets: Any, batch_size: int, seed: int, position: int = 0, device: torch.device | None = None
    ) -> None:
        self.targets, self.batch_size, self.seed, self.position = targets, batch_size, seed, position
        self.device = device if device is not None and device.type == "cuda" else None
        self.num_drawn = position
        self.ahead: _Ahead | None = None
        self.epoch = 0
        self.order: Tensor | None = None  # of this epoch: for many targets it takes a while to make
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
            self.iterator, self.num_drawn = self._begun(), 0
            for _ in range(position):
                self._drawn()

    def next(self) -> Batch:
        """The next batch. Raises ValueError where it holds NaN or infinity, naming the rows."""
        if self.device is None:
            batch = self._drawn()
            self.position += 1
            return refuse_nonfinite(batch)
        ahead = self._sent() if self.ahead is None else self.ahead
        self.ahead = None
        self.position += 1
        batch = ahead.taken()
        self.ahead = self._sent()
        return batch

    def _sent(self) -> _Ahead:
        """The batch after those drawn, its copy begun; what goes wrong is raised when its turn comes."""
        assert self.device is not None
        device = self.device
        try:
            batch = refuse_nonfinite(self._drawn())  # here, on the host: to ask the device would wait for it
            return _Ahead(batches.map_leaves(lambda leaf: sent(leaf, device), batch))
        except Exception as error:
            return _Ahead(error=error)

    def _drawn(self) -> Batch:
        batch = self._next_indexed() if self.iterator is None else self._next_given()
        self.num_drawn += 1
        return batch

    def _next_indexed(self) -> Batch:
        size = min(self.batch_size, self.length)
        per_epoch = self.length // size
        epoch, place = divmod(self.num_drawn, per_epoch)
        if self.order is None or self.epoch != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self.epoch, self.order = epoch, torch.randperm(self.length, generator=generator)
        index = self.order[place * size : (place + 1) * size]
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
        # And its order when the first batch is asked for, the batches of a resumed fit that are passed over included.
        with private_randomness(self.seed + self.num_drawn, torch.device("cpu")):
            try:
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


@dataclass(frozen=True)
class _Ahead:
    """A batch on its way to the device, or what went wrong in drawing it."""

    batch: Batch | None = None
    error: Exception | None = None

    def taken(self) -> Batch:
        if self.error is not None:
            raise self.error
        assert self.batch is not None
        return self.batch


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


def sent(leaf: Tensor, device: torch.device) -> Tensor:
    """The Tensor on a device; to a CUDA device by a copy from pinned memory that nobody waits for."""
    if leaf.device == device:
        return leaf
    if device.type == "cuda" and leaf.device.type == "cpu":
        return leaf.pin_memory().to(device, non_blocking=True)  # a batch that is pinned already is not copied again
    return leaf.to(device)
