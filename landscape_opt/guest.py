"""The forward model is a guest: evaluated through a frozen view, and left exactly as it was found."""

from __future__ import annotations

import copy
import random
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def frozen(forward_model: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """A view of F in eval mode, without gradients for its weights, that shares their storage.

    A module that cannot be copied (a sharded or compiled one) is frozen in place and restored on leaving, also
    after an exception. A plain function is used as it is.
    """
    owner = forward_model.__self__ if isinstance(forward_model, types.MethodType) else forward_model
    if not isinstance(owner, nn.Module):
        yield forward_model
        return
    try:
        view = _view(owner)
    except Exception:  # whatever a user's module raises when it is copied: the fallback serves
        with _frozen_in_place(owner):
            yield forward_model
        return
    yield types.MethodType(forward_model.__func__, view) if isinstance(forward_model, types.MethodType) else view


def _view(module: nn.Module) -> nn.Module:
    """A deep copy in eval mode that shares weights and hooks; buffers are its own, since forward may write them."""
    memo: dict[int, Any] = {id(weight): weight.detach() for weight in module.parameters()}
    for part in module.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks):
            memo.update({id(hook): hook for hook in hooks.values()})  # a user's hook counts calls in its own object
    view = copy.deepcopy(module, memo)
    return view.eval()


@contextmanager
def _frozen_in_place(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    flags = [(weight, weight.requires_grad) for weight in module.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
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
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
