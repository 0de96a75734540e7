"""A device that is not there: Tensors that say they lie on "meta", hold numbers, and refuse to meet those of the CPU.

What mixes devices fails on a GPU alone, and the machines that run this suite have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map_only

THERE = torch.device("meta")
_INDEXED = {torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_, torch.ops.aten._index_put_impl_}
_CROSSES = {torch.ops.aten._to_copy, torch.ops.aten.copy_, torch.ops.aten.copy}


class Distant(Tensor):
    """A Tensor of that device; ``held`` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Distant:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=THERE
        )

    def __init__(self, held: Tensor) -> None:
        assert held.device == torch.device("cpu"), held
        self.held = held

    def __repr__(self, **_: Any) -> str:
        return f"Distant({self.held})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Made(TorchDispatchMode):
    """Tensors that are made on that device hold numbers, too."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _MadeOfNumbers(TorchFunctionMode):
    """What takes numbers of Python to a device does so behind the back of what is above."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = kwargs or {}
        if function is Tensor.new_tensor and isinstance(args[0], Distant):
            return Distant(args[0].held.new_tensor(*args[1:], **asked))
        if function in (torch.tensor, torch.as_tensor) and asked.get("device") == THERE and not isinstance(args[0], Tensor):
            return Distant(function(*args, **{**asked, "device": torch.device("cpu")}))
        return function(*args, **asked)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """The device, within which Tensors can be made on it."""
    with _Made(), _MadeOfNumbers():
        yield THERE


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in tree_iter((args, kwargs)) if isinstance(one, Tensor)]
    asked = kwargs.get("device")
    if any(isinstance(one, Distant) for one in tensors):
        _refuse_mixed(function, args, tensors)
    is_there = any(isinstance(one, Distant) for one in tensors) if asked is None else torch.device(asked) == THERE
    here = {**kwargs, "device": torch.device("cpu")} if asked is not None else kwargs
    bare_args, bare = tree_map_only(Distant, lambda one: one.held, (args, here))
    out = function(*bare_args, **bare)
    if not is_there:
        return out
    wrapped = tree_map_only(Tensor, lambda one: one if isinstance(one, Distant) else Distant(one), out)
    return return_and_correct_aliasing(function, args, kwargs, wrapped)


def _refuse_mixed(function: Any, args: Any, tensors: list[Tensor]) -> None:
    packet = function.overloadpacket
    if packet in _CROSSES:
        return
    if packet in _INDEXED and isinstance(args[0], Distant):
        tensors = [args[0], *(one for one in args[2:] if isinstance(one, Tensor))]  # indices may lie on the CPU
    strangers = [one for one in tensors if not isinstance(one, Distant) and one.ndim > 0]
    if strangers or (packet in _INDEXED and not isinstance(args[0], Distant)):
        shapes = [tuple(one.shape) for one in strangers]
        raise RuntimeError(f"{function} was given Tensors of two devices, those of shape {shapes} on the CPU")
