"""Saving and loading: one safetensors file, with everything that is no Tensor as JSON in its header. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FORMAT = "landscape_opt/1"


class CheckpointError(ValueError):
    """A file that is not a landscape, or not whole."""


def save(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a nested state of Tensors, numbers, strings, lists and dicts.

    The file appears whole or not at all: it is written beside the old one, flushed, and renamed over it.
    """
    from safetensors.torch import save as to_bytes  # here, because importing it costs 0.04 s

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_outline(state, "", tensors))
    header = {"format": FORMAT, "state": text, "sha256": _digest(text, tensors)}
    payload = to_bytes(tensors or {"nothing": torch.zeros(1)}, metadata=header)
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state that :func:`save` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is not one of ours, or was damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no landscape file at {os.fspath(path)!r}")
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(f"{os.fspath(path)!r} is a safetensors file, but not one that this library wrote")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except SafetensorError as error:
        raise CheckpointError(f"{os.fspath(path)!r} is not a landscape file, or is cut short: {error}") from error
    tensors.pop("nothing", None)
    if _digest(header["state"], tensors) != header["sha256"]:
        raise CheckpointError(f"{os.fspath(path)!r} was changed after it was written: its hash does not match")
    state: dict[str, Any] = _filled(json.loads(header["state"]), tensors)
    return state


def fingerprint(forward_model: Any) -> str:
    """A short hash of F: its kind, and the weights and buffers of a module."""
    owner = getattr(forward_model, "__self__", forward_model)
    kind = type(owner) if isinstance(owner, nn.Module) else forward_model
    digest = hashlib.sha256(getattr(kind, "__qualname__", type(kind).__qualname__).encode())
    if isinstance(owner, nn.Module):
        for name, value in sorted(owner.state_dict().items()):
            if isinstance(value, Tensor):
                digest.update(name.encode() + _bytes(value))
    return digest.hexdigest()[:16]


def warn_if_other(expected: str, forward_model: Any) -> None:
    """Say so where the landscape was fitted for another F."""
    if fingerprint(forward_model) != expected:
        warnings.warn(
            "this landscape was fitted for another forward model: its kind or weights differ from those at saving. "
            "Answers stay valid, since losses are those of the given model, but may take more evaluations.",
            UserWarning,
            stacklevel=3,
        )


def _outline(part: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The JSON of a state, with Tensors moved into ``tensors`` and named in their place."""
    if isinstance(part, Tensor):
        tensors[name] = part.detach().cpu().contiguous().clone()  # safetensors refuses shared storage
        return {"__tensor__": name}
    if isinstance(part, dict):
        return {"__dict__": [[key, _outline(value, f"{name}/{key}", tensors)] for key, value in part.items()]}
    if isinstance(part, tuple | list):
        kind = "__tuple__" if isinstance(part, tuple) else "__list__"
        return {kind: [_outline(value, f"{name}/{i}", tensors) for i, value in enumerate(part)]}
    if part is None or isinstance(part, bool | int | float | str):
        return part
    raise TypeError(f"cannot save {type(part).__name__} at {name!r}")


def _filled(part: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(part, dict):
        return part
    ((kind, value),) = part.items()
    if kind == "__tensor__":
        return tensors[value]
    if kind == "__dict__":
        return {key: _filled(child, tensors) for key, child in value}
    children = [_filled(child, tensors) for child in value]
    return tuple(children) if kind == "__tuple__" else children


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode() + _bytes(tensors[name]))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
