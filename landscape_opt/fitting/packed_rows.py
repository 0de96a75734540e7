"""A batch as rows of bytes, so that whatever it holds travels in one message and arrives bit for bit."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch


def packed(batch: Batch, num_rows: int) -> Tensor:
    """All leaves beside one another, padded to ``num_rows`` rows, (num_rows, width) of bytes.

    Args:
        batch: at least one row; its leaves lie on one device.
        num_rows: at least those of the batch.
    """
    held = batches.leaves(batch)
    rows = [leaf.detach().reshape(len(leaf), -1).contiguous().view(torch.uint8) for leaf in held if _width(leaf)]
    if not rows:
        return torch.zeros(num_rows, 0, dtype=torch.uint8, device=held[0].device)
    message = rows[0].new_zeros(num_rows, sum(part.shape[1] for part in rows))
    torch.cat(rows, dim=1, out=message[: len(rows[0])])
    return message


def unpacked(message: Tensor, like: Batch) -> Any:
    """The batch of some rows of bytes, (B, width).

    Args:
        message: as :func:`packed` made it.
        like: a batch of the same leaves, with any number of rows.
    """
    widths = iter(message.split([_width(leaf) for leaf in batches.leaves(like)], dim=1))

    def unpack(leaf: Tensor) -> Tensor:
        part = next(widths)
        if part.shape[1] == 0:
            return leaf.new_zeros(len(message), *leaf.shape[1:])
        part = part.clone(memory_format=torch.contiguous_format)  # a view of other bytes may lie across words
        found: Tensor = part.view(leaf.dtype).reshape(len(message), *leaf.shape[1:])
        return found

    return batches.map_leaves(unpack, like)


def _width(leaf: Tensor) -> int:
    """Bytes of one row."""
    return int(math.prod(leaf.shape[1:])) * leaf.element_size()
