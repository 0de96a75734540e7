"""Batches: a Tensor, or a tuple or dict of Tensors, with one row per sample in dimension 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

# Recursive in fact (a dict may hold a tuple); written as Any-valued containers so that users' own types pass.
Batch: TypeAlias = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]

MAX_FEATURES = 4096
"""More features than this are averaged over neighbours, so that a target code stays affordable."""


def leaves(batch: Batch) -> list[Tensor]:
    """The Tensors of a batch, in a fixed order."""
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, Mapping):
        return [leaf for key in batch for leaf in leaves(batch[key])]
    if isinstance(batch, tuple | list):
        return [leaf for part in batch for leaf in leaves(part)]
    raise TypeError(
        f"expected a Tensor, or a tuple or dict of Tensors with one row per sample, got {type(batch).__name__}. "
        "Convert arrays with torch.as_tensor(...) first."
    )


def map_leaves(function: Callable[[Tensor], Tensor], batch: Batch) -> Any:
    """The same batch with ``function`` applied to every Tensor."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_leaves(function, part) for key, part in batch.items()}
    mapped = [map_leaves(function, part) for part in batch]
    return type(batch)(*mapped) if hasattr(batch, "_fields") else type(batch)(mapped)  # a NamedTuple takes parts


def map_pairs(function: Callable[[Tensor, Tensor], Tensor], first: Batch, second: Batch) -> Any:
    """The first batch with ``function(leaf of first, leaf of second)`` for every Tensor."""
    others = iter(leaves(second))
    return map_leaves(lambda leaf: function(leaf, next(others)), first)


def rows(batch: Batch, index: Tensor) -> Any:
    """The rows of a batch that ``index`` (integers or a mask, (B,)) picks."""
    return map_leaves(lambda leaf: leaf[index.to(leaf.device)], batch)


def joined(parts: Sequence[Batch]) -> Any:
    """Batches below one another."""
    columns = zip(*(leaves(part) for part in parts), strict=True)
    stacked = iter([torch.cat(column) for column in columns])
    return map_leaves(lambda _: next(stacked), parts[0])


def put_rows(batch: Batch, index: Tensor, values: Batch) -> Any:
    """A copy of ``batch`` whose rows at ``index`` are ``values``."""

    def put(leaf: Tensor, value: Tensor) -> Tensor:
        return leaf.index_put((index.to(leaf.device),), value.to(leaf.dtype))

    return map_pairs(put, batch, values)


def size(batch: Batch) -> int:
    """The number of rows B, the same in every part."""
    parts = leaves(batch)
    if not parts:
        raise ValueError("the batch holds no Tensor")
    if any(part.ndim == 0 for part in parts):
        raise ValueError("a part of the batch is a scalar Tensor; every part needs one row per sample in dimension 0")
    sizes = {part.shape[0] for part in parts}
    if len(sizes) > 1:
        raise ValueError(f"the parts of the batch have different numbers of rows: {sorted(sizes)}")
    return int(sizes.pop())


def detached(batch: Batch) -> Any:
    """The batch without its graph."""
    return map_leaves(Tensor.detach, batch)


def float_leaves(batch: Batch) -> list[Tensor]:
    """The floating-point Tensors of a batch."""
    return [leaf for leaf in leaves(batch) if leaf.is_floating_point()]


def features(batch: Batch, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """What a mapping can read of a batch: (B, m) floats, or None where no part is floating-point."""
    parts = [leaf.detach().flatten(1) if leaf.ndim > 1 else leaf.detach()[:, None] for leaf in float_leaves(batch)]
    if not parts:
        return None
    return pooled(torch.cat([part.to(device=device, dtype=dtype) for part in parts], dim=1))


def pooled(rows_of_features: Tensor) -> Tensor:
    """At most MAX_FEATURES columns: the means of neighbours where there are more."""
    if rows_of_features.shape[1] <= MAX_FEATURES:
        return rows_of_features
    return torch.nn.functional.adaptive_avg_pool1d(rows_of_features[:, None], MAX_FEATURES)[:, 0]


def nonfinite_rows(batch: Batch) -> list[int]:
    """The rows in which a floating-point part holds NaN or infinity."""
    bad = torch.zeros(size(batch), dtype=torch.bool)
    for leaf in float_leaves(batch):
        bad |= ~leaf.detach().isfinite().reshape(leaf.shape[0], -1).all(1).cpu()
    return [int(row) for row in bad.nonzero()[:, 0]]
