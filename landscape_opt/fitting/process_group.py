"""The ranks of a torch process group: their collectives, each of which ends within a time."""

from __future__ import annotations

import hashlib
import json
import re
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Self

import torch
import torch.distributed as dist
from torch import Tensor

from .. import batches
from ..batches import Batch
from .agreement import differences
from .packed_rows import packed, unpacked
from .parting import Parting, described
from .ranks import TIMEOUT, Facts, RankError, Ranks

LOST = ("connection closed", "connection reset", "broken pipe", "timed out", "timeout", "read error", "write error")
"""What the messages of a backend say when a rank is lost; it has no type of its own for that."""
AT_ONCE = 0.5
"""Seconds between the errors of ranks that leave alike."""
AFTER = "Start all processes again; a fit with checkpoint=... resumes by itself."


class OfGroup(Ranks):
    """The processes of a group, as ``torchrun`` starts them.

    What lies on the CPU travels through a gloo group of this object's own, so that a time-out leaves yours alone; what lies
    on an accelerator travels through yours. A rank that is lost is found by whoever waits for it: at once where its process
    has ended, after the time-out where it hangs. Then, or where a rank has left with an error, the connections are closed,
    which ends the others as well, and all say who did not answer. These ranks cannot be used any more afterwards.

    Args:
        process_group: None takes the default one, which has to be initialised.
        timeout: seconds that a rank is waited for.

    Raises:
        ValueError: if ``timeout`` is not positive, or there is no process group.

    Example:
        >>> import torch.distributed as dist
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> ranks = OfGroup(timeout=30)
        >>> ranks.is_first, ranks.gathered(torch.ones(2, 3), 2).shape
        (True, torch.Size([2, 3]))
        >>> dist.destroy_process_group()
    """

    _known: ClassVar[weakref.WeakKeyDictionary[Any, dict[float, Any]]] = weakref.WeakKeyDictionary()

    def __init__(self, process_group: dist.ProcessGroup | None = None, timeout: float = TIMEOUT) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be positive, got {timeout}")
        if not dist.is_initialized():
            raise ValueError("there is no process group: call torch.distributed.init_process_group() first")
        group = dist.group.WORLD if process_group is None else process_group
        assert group is not None
        self.rank, self.size, self.timeout = dist.get_rank(group), dist.get_world_size(group), timeout
        # The last part of the time is kept to find out who is lost.
        self.parting = min(5.0, 0.25 * timeout)
        self.patience = timedelta(seconds=timeout - self.parting)
        self.depth, self.end = 0, ""
        self._theirs = weakref.ref(group)
        with _translated(self):
            self._control, self._words = (self._new_group(group) for _ in range(2))

    @classmethod
    def of(cls, process_group: dist.ProcessGroup, timeout: float) -> Self:
        """The ranks of this group that were made before, or new ones."""
        known = cls._known.setdefault(process_group, {})
        if timeout not in known:
            known[timeout] = cls(process_group, timeout)
        found: Self = known[timeout]
        return found

    def _new_group(self, group: dist.ProcessGroup) -> Any:
        # The ranks of a part of all cannot wait for the others to make their groups; names by count are for the whole alone.
        local, members = group is not dist.group.WORLD, dist.get_process_group_ranks(group)
        return dist.new_group(members, self.patience, backend="gloo", use_local_synchronization=local)

    # ------------------------------------------------------------------------------------------------- collectives

    def gathered(self, part: Batch, num_rows: int) -> Any:
        """One message for each device, whatever the dtypes."""
        held = batches.leaves(part)
        whole: dict[int, Tensor] = {}
        for device in dict.fromkeys(leaf.device for leaf in held):
            there = [place for place, leaf in enumerate(held) if leaf.device == device]
            found = self._gathered_rows([held[place] for place in there], num_rows)
            whole.update(zip(there, found, strict=True))
        places = iter(range(len(held)))
        return batches.map_leaves(lambda _: whole[next(places)], part)

    def _gathered_rows(self, part: list[Tensor], num_rows: int) -> list[Tensor]:
        most = max(1, -(-num_rows // self.size))
        message = packed(part, most)
        if message.shape[1] == 0:
            return [leaf.new_zeros(num_rows, *leaf.shape[1:]) for leaf in part]
        arrived = message.new_empty(self.size, most, message.shape[1])
        group = self._group_for(message.device)
        self._run(lambda: dist.all_gather_single(arrived.flatten(0, 1), message, group=group, async_op=True))
        counts = [end - first for first, end in (self._bounds(num_rows, rank) for rank in range(self.size))]
        rows = torch.cat([block[:count] for block, count in zip(arrived, counts, strict=True)])
        found: list[Tensor] = unpacked(rows, part)
        return found

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """One message for each dtype and device."""
        sums: dict[int, Tensor] = {}
        for kind in dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors):
            there = [place for place, tensor in enumerate(tensors) if (tensor.dtype, tensor.device) == kind]
            flat = torch.cat([tensors[place].detach().reshape(-1) for place in there])
            self._run(partial(dist.all_reduce, flat, group=self._group_for(flat.device), async_op=True))
            parts = flat.split([tensors[place].numel() for place in there])
            sums.update({place: part.reshape(tensors[place].shape) for place, part in zip(there, parts, strict=True)})
        return [sums[place] for place in range(len(tensors))]

    def any(self, flag: bool) -> bool:
        """By the largest of 0 and 1."""
        return bool(self.largest(int(flag)))

    def largest(self, number: int) -> int:
        """By one message."""
        found = torch.tensor([number])
        self._run(lambda: dist.all_reduce(found, dist.ReduceOp.MAX, group=self._control, async_op=True))
        return int(found)

    def from_first(self, value: float) -> float:
        """By one message."""
        found = torch.tensor([value], dtype=torch.float64)
        self._run(lambda: dist.broadcast(found, group=self._control, async_op=True, group_src=0))
        return float(found)

    def same(self, facts: Facts) -> None:
        """A hash of all facts first; the facts themselves only where it differs."""
        told = json.dumps(dict(facts()))
        digest = torch.frombuffer(bytearray(hashlib.sha256(told.encode()).digest()), dtype=torch.uint8)
        digests = self.gathered(digest[None], self.size)
        if bool((digests == digests[0]).all()):
            return
        raw = torch.frombuffer(bytearray(told.encode()), dtype=torch.uint8)
        longest = self.largest(len(raw))
        texts = self.gathered(torch.nn.functional.pad(raw, (0, longest - len(raw)))[None], self.size)
        raise ValueError(differences([json.loads(bytes(text.tolist()).rstrip(b"\0")) for text in texts]))

    def _group_for(self, device: torch.device) -> Any:
        return self._control if device.type == "cpu" else self._theirs()

    def _run(self, begin: Callable[[], Any]) -> None:
        """A collective, waited for no longer than the time-out."""
        if self.end:
            raise RankError(self.end)
        began = time.monotonic()
        try:
            begin().wait(self.patience)
        except RuntimeError as error:
            raise self._lost(error, began) from error

    # ----------------------------------------------------------------------------------------------- how they part

    @contextmanager
    def together(self, doing: str) -> Iterator[None]:
        """Only the outermost of these parts from the others."""
        if self.end:
            raise RankError(self.end)
        began = time.monotonic()
        self.depth += 1
        try:
            yield
        except RankError:
            raise
        except BaseException as error:
            if self.depth == 1:
                if isinstance(error, RuntimeError) and _says_lost(error):  # in a collective of F's own
                    raise self._lost(error, began) from error
                self._leave(f"left {doing} with {type(error).__name__} {error!s}".rstrip())
            raise
        finally:
            self.depth -= 1

    def _lost(self, error: RuntimeError, began: float) -> RankError:
        """What to raise where a collective has failed; closes the connections, so that all others end as well."""
        waited = time.monotonic() - began
        self.close()
        became = described(Parting("", self._words).wait(self.parting))
        self.end = f"{became}. Rank {self.rank} waited {waited:.1f} s, with a time-out of {self.timeout:g} s. {AFTER}"
        return RankError(f"{self.end} ({_first_sentence(error)})")

    def _leave(self, text: str) -> None:
        """Tell the others why. Where all leave alike, as with targets that nobody can use, they stay together."""
        if not all(Parting(text, self._control).wait(min(AT_ONCE, self.parting)).values()):
            self.end = f"rank {self.rank} {text}. {AFTER}"
            self.close()
            Parting(text, self._words).wait(self.parting)  # those who wait for this rank are told why they need not

    def close(self) -> None:
        """Close the connections: whoever waits for this rank ends now."""
        control, self._control = self._control, None
        if control is not None:
            dist.destroy_process_group(control)


@contextmanager
def _translated(ranks: OfGroup) -> Iterator[None]:
    """Where the ranks do not even find one another."""
    began = time.monotonic()
    try:
        yield
    except RuntimeError as error:
        waited = time.monotonic() - began
        raise RankError(
            f"rank {ranks.rank} of {ranks.size} did not find the others within {waited:.1f} s of {ranks.timeout:g} s: all "
            f"ranks have to fit, and to invert, together ({_first_sentence(error)})"
        ) from error


def _first_sentence(error: RuntimeError) -> str:
    """Of a backend's message, without the place in its source."""
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return re.sub(r"^\[[^]]*\] ", "", first).split(". ")[0]


def _says_lost(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in LOST)
