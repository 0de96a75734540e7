"""Processes that fit one landscape together: what a rank takes of a batch, and how the ranks come to one answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

TIMEOUT = 60.0
"""Seconds that a rank is waited for."""
Facts: TypeAlias = Callable[[], Mapping[str, str]]


class RankError(RuntimeError):
    """A rank did not answer, or left: it has died, hangs, is too slow, or was interrupted."""


class Ranks(ABC):
    """The processes of a fit, and this one's place among them.

    All hold the same bookkeeping and the same generators; F and θ are asked for a rank's own rows. Every method but
    :meth:`rows` is a collective: all ranks have to call it, in the same order.

    Attributes:
        rank: this process's number, from 0.
        size: how many there are.
        timeout: seconds that a rank is waited for.
    """

    rank: int
    size: int
    timeout: float

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone writes files and shows progress."""
        return self.rank == 0

    def rows(self, num_rows: int) -> Tensor:
        """This rank's rows of a batch, (b,): contiguous, none shorter than another by more than one, never empty.

        Where there are fewer rows than ranks, some ranks take a row that is another's (:meth:`is_spare`), so that an F which
        is itself spread over the ranks is called equally often by all.
        """
        first, end = self._bounds(num_rows, self.rank)
        first = min(first, num_rows - 1)
        return torch.arange(first, max(end, first + 1))

    def is_spare(self, num_rows: int) -> bool:
        """Whether the row that this rank takes of so many is another rank's, and its result is to be dropped."""
        first, end = self._bounds(num_rows, self.rank)
        return first == end

    def _bounds(self, num_rows: int, rank: int) -> tuple[int, int]:
        return rank * num_rows // self.size, (rank + 1) * num_rows // self.size

    def share(self, batch: Batch) -> Any:
        """This rank's rows of a batch."""
        return batches.rows(batch, self.rows(batches.size(batch)))

    @abstractmethod
    def gathered(self, part: Batch, num_rows: int) -> Any:
        """The batch of which every rank holds its :meth:`share`; bit for bit the same on all ranks, without a graph."""

    @abstractmethod
    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sums over all ranks; bit for bit the same on all ranks."""

    @abstractmethod
    def any(self, flag: bool) -> bool:
        """Whether it is True on some rank."""

    @abstractmethod
    def from_first(self, value: float) -> float:
        """The value of rank 0: clocks differ."""

    @abstractmethod
    def largest(self, number: int) -> int:
        """The largest of the ranks' numbers."""

    @abstractmethod
    def same(self, facts: Facts) -> None:
        """See to it that all ranks are about to do the same.

        Args:
            facts: gives what has to be the same, by name; not called where there is one rank.

        Raises:
            ValueError: on all ranks, where something differs; everything that does is named.
        """

    @abstractmethod
    def together(self, doing: str) -> Any:
        """A context for work that all ranks do: who leaves it with an error tells the others, and they end, too.

        Args:
            doing: what, for messages.

        Raises:
            RankError: where another rank has left, or is lost.
        """


class Alone(Ranks):
    """One process: nothing is shared, and nothing is copied.

    Example:
        >>> alone, batch = Alone(), torch.arange(6.0).reshape(3, 2)
        >>> alone.share(batch) is batch, alone.gathered(batch, 3) is batch
        (True, True)
    """

    rank, size, timeout = 0, 1, float("inf")

    def share(self, batch: Batch) -> Any:
        """The batch itself."""
        return batch

    def gathered(self, part: Batch, num_rows: int) -> Any:
        """The batch itself."""
        return part

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors themselves."""
        return list(tensors)

    def any(self, flag: bool) -> bool:
        """The flag itself."""
        return flag

    def from_first(self, value: float) -> float:
        """The value itself."""
        return value

    def largest(self, number: int) -> int:
        """The number itself."""
        return number

    def same(self, facts: Facts) -> None:
        """Nothing to compare with."""

    @contextmanager
    def together(self, doing: str) -> Iterator[None]:
        """Nothing to tell."""
        yield


def ranks_of(process_group: ProcessGroup | None = None, timeout: float = TIMEOUT) -> Ranks:
    """The ranks of a process group, or :class:`Alone` where there is none, or one rank in it.

    Args:
        process_group: None takes the default group, once ``torch.distributed`` is initialised.
        timeout: seconds that a rank is waited for.

    Example:
        >>> ranks = ranks_of()  # no process group was initialised here
        >>> ranks.size, ranks.is_first
        (1, True)
    """
    if not torch.distributed.is_available():
        return Alone()
    if process_group is None:
        if not torch.distributed.is_initialized():
            return Alone()
        process_group = torch.distributed.group.WORLD
    from .process_group import OfGroup  # here: what one process fits alone needs none of it

    assert process_group is not None
    return OfGroup.of(process_group, timeout) if process_group.size() > 1 else Alone()
