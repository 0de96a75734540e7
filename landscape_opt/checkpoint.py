"""Saving and loading: one safetensors file, with everything that is no Tensor as JSON inside. No pickle.

A file of format 2 holds the Tensors of a state, the rest of the state as JSON in a Tensor of bytes, and in its header the
format and a hash of all that. Format 1, which had the JSON in the header, is still read: a header ends at 100 MB, and the
history of a fit of days does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .atomic import write

KIND, VERSION = "landscape_opt", 2
TEXT = "state.json"
"""The Tensor that holds the JSON. Names of other Tensors begin with a slash."""
NOTHING = "nothing"
"""Stood in files of format 1 that had no other Tensor."""
MAX_DEPTH = 64


class CheckpointError(ValueError):
    """A file or a state that is not a landscape, not whole, or does not fit where it is to go. Nothing was changed."""


class NewerFormatError(CheckpointError):
    """A file that a later release of this library has written."""


def save(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a nested state of Tensors, numbers, strings, lists and dicts.

    The file appears whole or not at all: it is written beside the old one, flushed, and renamed over it.

    Raises:
        NotWrittenError: an ``OSError``; the old file is as it was.
    """
    write({Path(path): packed(state)})


def packed(state: dict[str, Any]) -> bytes:
    """The bytes of a file with that state. Equal states give equal bytes."""
    from safetensors.torch import save as to_bytes  # here, because importing it costs 0.04 s

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_outline(state, "", tensors, 0))
    tensors[TEXT] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    written = f"{KIND}/{VERSION}"
    # In one entry, since safetensors writes several in random order.
    return to_bytes(tensors, metadata={"format": f"{written} sha256:{_digest(written, tensors)}"})


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state that :func:`save` wrote. Nothing in a file can name code, a class or a module.

    Raises:
        FileNotFoundError: if there is no such file.
        NewerFormatError: if a later release has written it.
        CheckpointError: if the file is not one of ours, or was damaged.
    """
    name = repr(os.fspath(path))
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no landscape file at {name}")
    header, tensors = _read(path)
    try:
        written, _, hashed = header.get("format", "").partition(" sha256:")
        version = _version(written)
        if set(header) != ({"format", "state", "sha256"} if version == 1 else {"format"}):
            raise CheckpointError("its header is damaged")
        if version == 1:
            hashed = header["sha256"]
            tensors.pop(NOTHING, None)
        if (_digest_1(header["state"], tensors) if version == 1 else _digest(written, tensors)) != hashed:
            raise CheckpointError("it was changed after it was written: its hash does not match")
        text = header["state"] if version == 1 else _text(tensors)
        state = _filled(json.loads(text), tensors, 0)
    except (ValueError, RecursionError) as error:
        kind = NewerFormatError if isinstance(error, NewerFormatError) else CheckpointError
        reason = str(error) if isinstance(error, CheckpointError) else f"its JSON cannot be read ({error})"
        raise kind(f"{name} cannot be loaded: {reason}") from error
    if tensors or not isinstance(state, dict):
        what = "Tensors that its state does not name" if tensors else "no state"
        raise CheckpointError(f"{name} cannot be loaded: it holds {what}")
    return state


def fingerprint(forward_model: Any) -> str:
    """A short hash of F: its kind, and the weights and buffers of a module. A compiled module has that of the module."""
    owner = getattr(forward_model, "__self__", forward_model)
    owner = getattr(owner, "_orig_mod", owner)
    kind = type(owner) if isinstance(owner, nn.Module) else forward_model
    digest = hashlib.sha256(getattr(kind, "__qualname__", type(kind).__qualname__).encode())
    if isinstance(owner, nn.Module):
        for name, value in sorted(owner.state_dict().items()):
            if isinstance(value, Tensor):
                whole = not hasattr(value, "to_local")  # of what is sharded over ranks, each holds another part
                digest.update(name.encode() + (bytes_of(value) if whole else b""))
    return digest.hexdigest()[:16]


def warn_if_other(expected: str, forward_model: Any, stacklevel: int = 3) -> None:
    """Say so where the landscape was fitted for another F."""
    if fingerprint(forward_model) != expected:
        warnings.warn(
            "this landscape was fitted for another forward model: its kind or weights differ from those at saving. "
            "Answers stay valid, since losses are those of the given model, but may take more evaluations.",
            UserWarning,
            stacklevel=stacklevel,
        )


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and Tensors of a safetensors file, which checks all sizes against that of the file before it makes room."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            names = list(file.keys())
            # Copies: what safetensors gives is a view of the file, and would change if the file were written over.
            return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in names}
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{os.fspath(path)!r} is not a landscape file, or is cut short: {error}") from error


def _version(written: str) -> int:
    kind, _, number = written.partition("/")
    if kind != KIND or not (number.isascii() and number.isdecimal() and int(number[:9]) > 0):
        raise CheckpointError("it is a safetensors file, but not one that this library wrote")
    if len(number) > 9 or int(number) > VERSION:
        raise NewerFormatError(
            f"it has format {number[:9]}, and this release reads formats up to {VERSION}. A later release wrote it: "
            "pip install -U landscape-opt"
        )
    return int(number)


def _text(tensors: dict[str, Tensor]) -> str:
    text = tensors.pop(TEXT, None)
    if text is None or text.dtype != torch.uint8:
        raise CheckpointError(f"it has no {TEXT}")
    return bytes_of(text).decode()


def _outline(part: Any, name: str, tensors: dict[str, Tensor], depth: int) -> Any:
    """The JSON of a state, with Tensors moved into ``tensors`` and named in their place."""
    if depth > MAX_DEPTH:
        raise ValueError(f"cannot save a state that is nested deeper than {MAX_DEPTH}, at {name!r}")
    if isinstance(part, Tensor):
        while name in tensors:  # a key with a slash in it
            name += "'"
        tensors[name] = part.detach().cpu().contiguous().clone()  # safetensors refuses shared storage
        return {"__tensor__": name}
    if isinstance(part, dict):
        if odd := [key for key in part if not isinstance(key, str | int)]:
            raise TypeError(f"cannot save a dict with the key {odd[0]!r} at {name!r}; keys must be text or whole numbers")
        return {"__dict__": [[key, _outline(value, f"{name}/{key}", tensors, depth + 1)] for key, value in part.items()]}
    if isinstance(part, tuple | list):
        kind = "__tuple__" if isinstance(part, tuple) else "__list__"
        return {kind: [_outline(value, f"{name}/{i}", tensors, depth + 1) for i, value in enumerate(part)]}
    if part is None or isinstance(part, bool | int | float | str):
        return part
    raise TypeError(f"cannot save {type(part).__name__} at {name!r}")


def _filled(part: Any, tensors: dict[str, Tensor], depth: int) -> Any:
    """A state of its JSON. Takes the Tensors that it names out of ``tensors``, each once."""
    if depth > MAX_DEPTH:
        raise CheckpointError(f"it is nested deeper than {MAX_DEPTH}")
    if part is None or isinstance(part, bool | int | float | str):
        return part
    ((kind, value),) = part.items() if isinstance(part, dict) and len(part) == 1 else [("", None)]
    if kind == "__tensor__" and isinstance(value, str):
        if value not in tensors:
            raise CheckpointError(f"it names a Tensor {value!r} that it does not hold, or names it twice")
        return tensors.pop(value)
    if kind == "__dict__" and isinstance(value, list) and all(map(_is_item, value)):
        filled = {key: _filled(child, tensors, depth + 1) for key, child in value}
        if len(filled) == len(value):
            return filled
    if kind in ("__list__", "__tuple__") and isinstance(value, list):
        children = [_filled(child, tensors, depth + 1) for child in value]
        return tuple(children) if kind == "__tuple__" else children
    raise CheckpointError(f"it holds what no state is made of, at depth {depth}")


def _is_item(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str | int)


def _digest(written: str, tensors: Mapping[str, Tensor]) -> str:
    """Of the format, and of the name, type, shape and content of every Tensor, so that no two files have the same."""
    digest = hashlib.sha256(written.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode() + b"\n")
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def _digest_1(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Of format 1."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode() + bytes_of(tensor))
    return digest.hexdigest()


def bytes_of(tensor: Tensor) -> bytes:
    """Those that hold its elements."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
