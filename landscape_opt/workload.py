"""What an evaluation of F costs, counted rather than timed: the same on every run (law 6)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from .compiled import as_written

CALL_COST = 20_000
"""Multiply-adds that one small tensor operation takes the time of, on a CPU core."""


class _CountOperations(TorchDispatchMode):
    calls: int
    elements: int

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = 0
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        self.elements += out.numel() if isinstance(out, Tensor) else 0
        return out


@dataclass(frozen=True)
class Workload:
    """One counted forward of F.

    Attributes:
        prediction: what it returned.
        evaluation_cost: multiply-adds of a forward and backward for one sample of a batch of 256.
        call_cost: what of that is the price of calls, which a batch pays once, however many rows it has.
    """

    prediction: Any
    evaluation_cost: float
    call_cost: float


def counted(forward: Callable[[], Any], batch_size: int) -> Workload:
    """Run ``forward`` once, on ``batch_size`` samples, and count its work.

    Matrix products and convolutions are counted by ``torch.utils.flop_counter``; every other operation by the elements
    that it writes and the price of the call. The backward is taken as twice the forward.
    """
    with as_written(), warnings.catch_warnings():
        # The flop counter sets hooks on all modules, and torch warns that on a compiled one they fire twice.
        warnings.filterwarnings("ignore", message="Using `torch.compile", category=UserWarning)
        with FlopCounterMode(display=False) as flops, _CountOperations() as operations:
            prediction = forward()
    work: float = float(flops.get_total_flops()) / 2 + operations.elements
    calls: float = operations.calls * CALL_COST / 256
    return Workload(prediction, 3.0 * (work / batch_size + calls), 3.0 * calls)
