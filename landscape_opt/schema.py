"""Typed reading of what came from a file: a value that is not as it should be is refused, and where it stood is named."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .checkpoint import CheckpointError


class Part:
    """A part of a state, and its place in it.

    Args:
        value: read from a file.
        where: its name in messages.

    Example:
        >>> Part({"age": 3}, "state").at("age").whole()
        3
        >>> Part({"age": -1}, "state").at("age").whole()
        Traceback (most recent call last):
        ...
        landscape_opt.checkpoint.CheckpointError: state.age must be a whole number from 0 on, and is -1; nothing was changed
    """

    def __init__(self, value: Any, where: str) -> None:
        self.value, self.where = value, where

    def refuse(self, expected: str) -> NoReturn:
        """Raise CheckpointError."""
        raise CheckpointError(f"{self.where} must be {expected}, and is {_shown(self.value)}; nothing was changed")

    def at(self, key: str) -> Part:
        """The part under a key of a dict."""
        if not isinstance(self.value, dict) or key not in self.value:
            self.refuse(f"a dict with {key!r}")
        return Part(self.value[key], f"{self.where}.{key}")

    def check_names(self, required: Iterable[str], optional: Iterable[str] = ()) -> None:
        """Refuse a dict that misses names or has others."""
        needed = set(required)
        if not isinstance(self.value, dict):
            self.refuse(f"a dict with {sorted(needed)}")
        missing, surplus = needed - set(self.value), set(self.value) - needed - set(optional)
        if missing or surplus:
            told = [f"without {sorted(missing)}" if missing else "", f"with {sorted(map(str, surplus))}" if surplus else ""]
            self.refuse(f"a dict with {sorted(needed)}, and comes {' and '.join(filter(None, told))}")

    def whole(self, low: int = 0, high: int | None = None) -> int:
        """A whole number."""
        if type(self.value) is not int or self.value < low or (high is not None and self.value > high):
            self.refuse(f"a whole number from {low} {'on' if high is None else f'to {high}'}")
        return int(self.value)

    def tensor(self, shape: tuple[int | None, ...], dtype: torch.dtype | None = None) -> Tensor:
        """A Tensor of a shape, None standing for any size; of a dtype, or floating-point."""
        value, kind = self.value, "floating-point" if dtype is None else str(dtype)
        fits = isinstance(value, Tensor) and len(value.shape) == len(shape)
        fits = fits and all(want is None or want == size for want, size in zip(shape, value.shape, strict=True))
        if not fits or not (value.is_floating_point() if dtype is None else value.dtype == dtype):
            self.refuse(f"a {kind} Tensor of shape {shape}")
        return torch.as_tensor(value)

    def batch(self, num_rows: int) -> Batch:
        """A batch with so many rows."""
        try:
            size = batches.size(self.value)
        except (TypeError, ValueError):
            size = -1
        if size != num_rows:
            self.refuse(f"a batch of {num_rows} rows")
        batch: Batch = self.value
        return batch

    def read(self, hint: Any) -> Any:
        """The value as an annotation says; a dict becomes the record that ``dataclasses.asdict`` made it of."""
        try:
            return _read(self.value, hint)
        except TypeError as error:
            raise CheckpointError(f"{self.where} cannot be read: {error}; nothing was changed") from error


def _read(value: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        for one in get_args(hint):
            if one is not None and _is_of(value, one):
                return _read(value, one)
    elif origin is tuple and isinstance(value, tuple):
        return tuple(_read(one, get_args(hint)[0]) for one in value)  # tuple[T, ...] is all that records hold
    elif is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return _record(value, hint)
    elif _is_of(value, hint):
        return value
    raise TypeError(f"expected {hint if origin else getattr(hint, '__name__', hint)}, got {_shown(value)}")


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of the outer kind that an annotation says."""
    if get_origin(hint) is tuple:
        return isinstance(value, tuple)
    if is_dataclass(hint):
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint)


def _record(value: dict[str, Any], kind: type) -> Any:
    hints = _hints(kind)
    required = {one.name for one in fields(kind) if one.init and one.default is MISSING and one.default_factory is MISSING}
    if missing := required - value.keys():
        raise TypeError(f"a {kind.__name__} needs {sorted(missing)}")
    if surplus := value.keys() - hints.keys():
        raise TypeError(f"a {kind.__name__} has no {sorted(map(str, surplus))}")
    return kind(**{name: _read(one, hints[name]) for name, one in value.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _shown(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} Tensor of shape {tuple(value.shape)}"
    if isinstance(value, dict):
        names = sorted(map(str, value))
        return f"a dict with {names[:8]}{' …' if len(names) > 8 else ''}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
