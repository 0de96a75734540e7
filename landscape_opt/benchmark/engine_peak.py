"""The most bytes that Tensors held at one time, counted as they are made and freed."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Counts the storages that are made while it is on, those of gradients and of saved activations included.

    What was there before is not counted, nor what an operation needs inside of itself. It is the same on every run, which
    the memory of a process is not: allocators keep what was freed.

    Attributes:
        live: bytes now.
        peak: the most so far.

    Example:
        >>> import torch
        >>> with PeakBytes() as counted:
        ...     half = torch.zeros(1000)
        ...     for _ in range(3):
        ...         other = half + 1.0
        >>> counted.peak  # a new one is made before the old one goes
        12000
    """

    live: int
    peak: int

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for part in tree_leaves((args, kwargs)):
            self._meet(part, counted=False)  # met as an input first: it was made outside
        out = func(*args, **(kwargs or {}))
        for part in tree_leaves(out):
            self._meet(part, counted=True)
        return out

    def _meet(self, part: Any, counted: bool) -> None:
        if not isinstance(part, Tensor):
            return
        storage = part.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes() if counted else 0

        def freed(_: Any) -> None:
            self.live -= size
            self.known.pop(key, None)

        self.known[key] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)
