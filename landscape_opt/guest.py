"""F as a guest: whatever the library does, weights, buffers, modes and random state stay as they were."""

from __future__ import annotations

import copy
import functools
import random
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

MAX_HOPS = 6
"""From F to a module that it refers to: F, a bound method, its object, an attribute, a list, the module."""
MAX_ELEMENTS = 1000


@contextmanager
def frozen(guest: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A view of F (or of a loss) in eval mode, without gradients for its weights, that shares their storage.

    A module is copied without its storage. What cannot be copied (a sharded or compiled module, and the modules that
    a function or a callable object refers to) is frozen in place and restored on leaving, also after an exception.
    """
    if isinstance(guest, nn.parallel.DistributedDataParallel):
        guest = guest.module  # the wrapper serves the training of F, and would broadcast its buffers in every forward
    owner = guest.__self__ if isinstance(guest, types.MethodType) else guest
    view = _view(owner) if isinstance(owner, nn.Module) else None
    if view is None:
        with _frozen_in_place(modules_behind(guest)):
            yield guest
        return
    yield types.MethodType(guest.__func__, view) if isinstance(guest, types.MethodType) else view


def _view(module: nn.Module) -> nn.Module | None:
    """A deep copy in eval mode that shares weights and hooks; buffers are its own, since forward may write them."""
    memo: dict[int, Any] = {id(weight): weight.detach() for weight in module.parameters()}
    for part in module.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks):
            memo.update({id(hook): hook for hook in hooks.values()})  # a user's hook counts calls in its own object
    try:
        return copy.deepcopy(module, memo).eval()
    except Exception:  # whatever a user's module raises when it is copied: the caller freezes it in place
        return None


def modules_behind(guest: Any) -> list[nn.Module]:
    """The modules that a callable refers to: by closure, default, global name, ``partial``, attribute or container."""
    found: list[nn.Module] = []
    seen: set[int] = set()
    reached = [guest]
    for _ in range(MAX_HOPS):
        fresh = {id(one): one for one in reached if id(one) not in seen}
        seen.update(fresh)
        found += [one for one in fresh.values() if isinstance(one, nn.Module)]
        reached = [further for one in fresh.values() for further in _references(one)]
    return found


def _references(one: Any) -> list[Any]:
    if isinstance(one, nn.Module | torch.Tensor | np.ndarray | type | types.ModuleType):
        return []
    if isinstance(one, types.FunctionType):
        named = [one.__globals__[name] for name in _names(one.__code__) if name in one.__globals__]
        return [*_contents(one), *named, *(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()]
    if isinstance(one, types.MethodType):
        return [one.__self__, one.__func__]
    if isinstance(one, functools.partial):
        return [one.func, *one.args, *one.keywords.values()]
    if isinstance(one, Mapping):
        return list(islice(one.values(), MAX_ELEMENTS))
    if isinstance(one, tuple | list | set | frozenset):
        return list(islice(one, MAX_ELEMENTS))
    attributes = list(getattr(one, "__dict__", {}).values())
    return [*attributes, type(one).__call__] if callable(one) else attributes


def _contents(function: types.FunctionType) -> list[Any]:
    """What a function has closed over; a variable that is not assigned yet has no contents."""
    filled = [cell for cell in function.__closure__ or () if cell != types.CellType()]
    return [cell.cell_contents for cell in filled]


def _names(code: types.CodeType) -> set[str]:
    """Names that a function may look up among its globals, those of the functions inside it included."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)


@contextmanager
def _frozen_in_place(guests: list[nn.Module]) -> Iterator[None]:
    parts = {id(part): part for module in guests for part in module.modules()}
    modes = [(part, part.training) for part in parts.values()]
    flags = [(weight, weight.requires_grad) for part in parts.values() for weight in part.parameters(recurse=False)]
    buffers = [(buffer, buffer.detach().clone()) for part in parts.values() for buffer in part.buffers(recurse=False)]
    try:
        for part, _ in modes:
            part.training = False
        for weight, _ in flags:
            weight.requires_grad_(False)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for weight, flag in flags:
            weight.requires_grad_(flag)
        with torch.no_grad():
            for buffer, saved in buffers:
                if not torch.equal(buffer, saved):
                    buffer.copy_(saved)


@contextmanager
def private_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Global random states are seeded inside and bit-identical outside (law 5): torch, numpy and random."""
    devices = [device] if device.type == "cuda" else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=devices):
            seed_torch(seed, device)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of one device.

    ``torch.manual_seed`` seeds all devices, those that are not in use yet when they come to be: nobody would put those back.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
