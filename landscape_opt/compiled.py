"""F as ``torch.compile`` gives it, and when it has to run as it was written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import torch
from torch import Tensor


class _Stance:
    """The compiler's stance, which is one for all threads: the first to come in sets it, the last to go restores it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.inside = 0
        self.restore = ExitStack()

    def enter(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.restore.enter_context(torch.compiler.set_stance("force_eager"))
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.restore.close()


_STANCE = _Stance()


@contextmanager
def as_written() -> Iterator[None]:
    """What was compiled runs as it was written; it stays compiled, and goes on so afterwards.

    Two uses of F need that. Under a dispatch mode Dynamo gives a compiled F up for the life of the process. And compiled
    code frees what its backward needs when it is first gone through, and cannot be differentiated twice.
    """
    if "torch._dynamo" not in sys.modules:  # nothing was ever compiled here, and it takes a second to import
        yield
        return
    _STANCE.enter()
    try:
        yield
    finally:
        _STANCE.leave()


def lasting(output: Tensor) -> Tensor:
    """What compiled code has put out, to be kept beyond its next run.

    With ``mode="reduce-overhead"`` outputs lie in the memory of a CUDA graph, which writes over them when it runs again.
    Elsewhere it is the Tensor itself.
    """
    return output.clone() if output.is_cuda and "torch._dynamo" in sys.modules else output
