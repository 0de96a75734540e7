"""The demo's picture: digits as each method has them after a few evaluations, and the losses beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

OUR_COLOUR, PLAIN_COLOUR = "#c2410c", "#475569"


@dataclass(frozen=True, eq=False)
class Gallery:
    """What is drawn.

    Attributes:
        images: (N, height, width) in [0, 1] for every line of pictures, by its label.
        ours: the landscape's best losses so far, (K + 1, B).
        plain: the plain method's losses (B,), by budget.
    """

    images: dict[str, Tensor]
    ours: Tensor
    plain: dict[int, Tensor]


def checked_path(out: str | Path) -> Path:
    """Where the picture will be written; what would stop it is found before any work is done.

    Args:
        out: a file, whose folder is made if it is missing, or a folder.

    Raises:
        ImportError: if matplotlib is not installed.
        OSError: if nothing can be written there.
    """
    if find_spec("matplotlib") is None:
        raise ImportError('the picture needs matplotlib: pip install "landscape-opt[plot]"')
    path = Path(out)
    path = path / "landscape-demo.png" if path.is_dir() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"cannot write the picture to {path}; choose another place with --out")
    return path


def draw(gallery: Gallery, out: Path) -> Path:
    """Write the PNG; no figure, backend or style of the process is touched.

    Args:
        gallery: what to draw.
        out: the file.

    Returns:
        The file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 4.8), layout="constrained", dpi=140)
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.25, 1.0))
    _draw_images(halves[0], gallery.images)
    _draw_losses(halves[1], gallery)
    figure.savefig(out, format="png")
    return out


def _draw_images(figure: Any, images: dict[str, Tensor]) -> None:
    num_columns = min(len(batch) for batch in images.values())
    grid = figure.subplots(len(images), num_columns, squeeze=False)
    for line, (label, batch) in zip(grid, images.items(), strict=True):
        colour = OUR_COLOUR if label.startswith("landscape") else PLAIN_COLOUR
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10, color=colour, labelpad=8)
        for axes, image in zip(line, batch, strict=True):
            axes.imshow(image.detach().cpu().numpy(), cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("0.8")
    figure.suptitle("Held-out real digits, and what each method makes of them", fontsize=11)


def _draw_losses(figure: Any, gallery: Gallery) -> None:
    axes = figure.subplots()
    plain = torch.stack(list(gallery.plain.values()))
    _draw_band(axes, list(gallery.plain), plain, PLAIN_COLOUR, "plain descent in x, tuned for each budget", "o")
    steps = list(range(1, len(gallery.ours)))
    _draw_band(axes, steps, gallery.ours[1:], OUR_COLOUR, "landscape, untuned", None)
    axes.set(xscale="log", yscale="log", xlabel="evaluations of F for each digit", ylabel="loss: squared pixel distance")
    ticks = list(gallery.plain)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(_plain_numbers())
    axes.yaxis.set_major_locator(_one_two_five())
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", fontsize=10)
    figure.suptitle(f"Median and quartiles over {gallery.ours.shape[1]} digits", fontsize=11)


def _draw_band(axes: Any, steps: list[int], losses: Tensor, colour: str, label: str, marker: str | None) -> None:
    shares = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, median, high = torch.quantile(losses.detach().cpu().double(), shares, dim=1).numpy()
    axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(steps, median, color=colour, label=label, marker=marker, markersize=4, linewidth=2)


def _plain_numbers() -> Any:
    from matplotlib.ticker import FormatStrFormatter

    return FormatStrFormatter("%g")


def _one_two_five() -> Any:
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1.0, 2.0, 5.0))
