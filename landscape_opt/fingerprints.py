"""Short hashes of code and data: whether a fit that is resumed is the fit that was begun."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from . import batches
from .checkpoint import bytes_of
from .guest import private_randomness

MAX_BYTES = 2**28
"""Of a Tensor that is hashed whole; of a larger one, rows evenly spaced."""
MAX_DEPTH = 6
NUM_ITEMS = 16


def of_callable(guest: Any) -> str:
    """A hash of a function or module: its code, what it has closed over, and the weights of modules.

    Numbers that an object holds as attributes are left out, since objects count their calls in such. Holds within one
    release of Python, whose byte code it reads.
    """
    digest = hashlib.sha256()
    _take(digest, guest, 0, set())
    return digest.hexdigest()[:16]


def of_targets(targets: Any) -> str:
    """A hash of targets: a batch whole, sixteen items of a Dataset, the first batch of anything else."""
    digest = hashlib.sha256()
    if isinstance(targets, Tensor | tuple | Mapping):
        for leaf in batches.leaves(targets):
            _take_tensor(digest, leaf)
    elif hasattr(targets, "__getitem__") and hasattr(targets, "__len__") and not isinstance(targets, DataLoader):
        digest.update(str(len(targets)).encode())
        with private_randomness(0, torch.device("cpu")):
            for place in np.linspace(0, len(targets) - 1, min(NUM_ITEMS, len(targets))).astype(int).tolist():
                _take(digest, targets[place], MAX_DEPTH - 3, set())
    else:
        digest.update(str(len(targets) if hasattr(targets, "__len__") else "").encode())
        with private_randomness(0, torch.device("cpu")):
            _take(digest, next(iter(targets), None), MAX_DEPTH - 3, set())
    return digest.hexdigest()[:16]


def _take(digest: Any, one: Any, depth: int, seen: set[int]) -> None:
    if depth > MAX_DEPTH or id(one) in seen:
        return
    digest.update(type(one).__qualname__.encode())
    if isinstance(one, torch.device):
        one = one.type  # each rank has a device of its own
    if one is None or isinstance(one, bool | int | float | complex | str | bytes | torch.dtype):
        digest.update(repr(one).encode())
        return
    seen.add(id(one))
    if isinstance(one, Tensor):
        _take_tensor(digest, one)
    elif isinstance(one, np.ndarray):
        digest.update(repr(one.shape).encode() + np.ascontiguousarray(one).tobytes())
    elif isinstance(one, type | types.ModuleType | types.BuiltinFunctionType):
        digest.update(getattr(one, "__qualname__", one.__name__).encode())
    else:
        for part in _parts(one):
            _take(digest, part, depth + 1, seen)


def _parts(one: Any) -> list[Any]:
    """What tells such an object from another."""
    if isinstance(one, types.CodeType):
        return [one.co_code, one.co_names, *one.co_consts]
    if isinstance(one, types.FunctionType):
        cells = [cell.cell_contents for cell in one.__closure__ or () if cell != types.CellType()]
        return [one.__qualname__, one.__code__, *(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values(), *cells]
    if isinstance(one, types.MethodType):
        return [one.__func__, one.__self__]
    if isinstance(one, functools.partial):
        return [one.func, *one.args, *one.keywords.items()]
    if isinstance(one, nn.Module):
        return [type(one).forward, *(item for item in sorted(one.state_dict().items()) if isinstance(item[1], Tensor))]
    if isinstance(one, Mapping):
        return [*one.items()]
    if isinstance(one, tuple | list):
        return [*one]
    held = getattr(one, "__dict__", {})
    return [part for part in held.values() if isinstance(part, Tensor | np.ndarray | nn.Module | types.FunctionType)]


def _take_tensor(digest: Any, tensor: Tensor) -> None:
    flat = tensor.detach()
    digest.update(f"{flat.dtype}{tuple(flat.shape)}".encode())
    if hasattr(flat, "to_local"):  # sharded over ranks, which hold different parts
        return
    if flat.ndim > 0 and flat.numel() * flat.element_size() > MAX_BYTES:
        held = max(1, MAX_BYTES * len(flat) // (flat.numel() * flat.element_size()))
        flat = flat[torch.linspace(0, len(flat) - 1, held, dtype=torch.float64).long().to(flat.device)]
    digest.update(bytes_of(flat))
