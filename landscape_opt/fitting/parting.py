"""Last words: who is still there when something went wrong, and why another rank has left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup, Work

LENGTH = 256
"""Bytes of a message; what is longer is cut."""
LEAST = 0.05
"""Seconds that every rank is given, also when the time is over: its message may lie ready."""
Heard: TypeAlias = "dict[int, str | None]"


class Parting:
    """Sends a text to every other rank, and reads theirs.

    A message from one rank to another each, and no collective: one rank that is lost does not keep the others from being
    heard. Where a message does not come in time gloo closes the group's connections.

    Args:
        text: to send.
        group: whose ranks part.
    """

    def __init__(self, text: str, group: ProcessGroup) -> None:
        mine = distributed.get_rank(group)
        self.others = [rank for rank in range(distributed.get_world_size(group)) if rank != mine]
        self.message = _bytes(text)
        self.read = {rank: torch.zeros(LENGTH, dtype=torch.uint8) for rank in self.others}
        self.sent = {
            rank: _begun(partial(distributed.isend, self.message, group=group, group_dst=rank)) for rank in self.others
        }
        self.coming = {
            rank: _begun(partial(distributed.irecv, self.read[rank], group=group, group_src=rank)) for rank in self.others
        }

    def wait(self, seconds: float) -> Heard:
        """What the others have said; None for those that have not within this time."""
        deadline = time.monotonic() + seconds
        heard: Heard = {
            rank: _text(self.read[rank]) if _is_done(self.coming[rank], deadline) else None for rank in self.others
        }
        for rank, text in heard.items():  # whom I have heard shall hear me, too
            if text is not None:
                _is_done(self.sent[rank], deadline)
        return heard


def described(heard: Mapping[int, str | None]) -> str:
    """What became of the others, in words."""
    silent = [rank for rank, text in heard.items() if text is None]
    said = [f"rank {rank} {text}" for rank, text in heard.items() if text]
    if len(silent) == 1:
        said.insert(0, f"rank {silent[0]} does not answer (it has ended, hangs, or is too slow)")
    elif silent:
        said.insert(0, f"ranks {', '.join(map(str, silent))} do not answer (they have ended, hang, or are too slow)")
    return "; ".join(said) or "all others answer now, but one of them came too late"


def _begun(begin: Callable[[], Work | None]) -> Work | None:
    try:
        return begin()
    except RuntimeError:  # the connection is closed
        return None


def _is_done(work: Work | None, deadline: float) -> bool:
    if work is None:
        return False
    try:
        work.wait(timedelta(seconds=max(LEAST, deadline - time.monotonic())))
    except RuntimeError:  # closed, or the time is over
        return False
    return True


def _bytes(text: str) -> Tensor:
    raw = text.encode()[:LENGTH].ljust(LENGTH, b"\0")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def _text(message: Tensor) -> str:
    return bytes(message.tolist()).rstrip(b"\0").decode(errors="replace")
