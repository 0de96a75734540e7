"""Strips of pictures below one another, as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

MOST = 16


def drawn(rows: Mapping[str, Tensor], path: Path) -> None:
    """Write at most sixteen pictures a row, beside the name of the row. Needs matplotlib.

    Args:
        rows: Pictures ``(N, 3, H, W)`` in [-1, 1] by name.
        path: Of the file; its ending says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.46 * len(rows)))
    for place, (name, images) in enumerate(rows.items()):
        axes = figure.add_axes((0.28, 1 - (place + 1) / len(rows), 0.72, 0.94 / len(rows)))
        strip = ((images[:MOST].clamp(-1.0, 1.0) + 1.0) / 2.0).permute(2, 0, 3, 1).flatten(1, 2)
        axes.imshow(strip.numpy(), interpolation="nearest")
        axes.set_axis_off()
        axes.text(-6, images.shape[2] / 2, name, ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=80)
