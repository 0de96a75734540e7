"""Curves of what a fit costs and of what it is worth: by the dimension of x, and by the number of targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .fit_costs import OURS, RIVAL, FitCost
from .picture import OUR_COLOUR, PLAIN_COLOUR


def draw(by_dim: Sequence[FitCost], by_targets: Sequence[FitCost], out: Path) -> Path:
    """Write the picture, as SVG or PNG by the name of the file; no figure, backend or style of the process is touched.

    Args:
        by_dim: fits of problems of growing dimension.
        by_targets: fits of one problem to more and more targets.
        out: the file.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.6), layout="constrained", dpi=90)
    FigureCanvasAgg(figure)
    (top_left, top_right), (left, right) = figure.subplots(2, 2, sharey="row")
    for costs, places, across, above, below in (
        (by_dim, [cost.dim for cost in by_dim], "dimension of x", top_left, left),
        (by_targets, [cost.num_targets for cost in by_targets], "targets fitted on", top_right, right),
    ):
        _draw_cost(above, costs, places)
        _draw_worth(below, costs, places)
        below.set_xlabel(across)
    top_left.set_ylabel("ms")
    left.set_ylabel("held-out median loss, start = 1")
    metadata = {"Date": None} if out.suffix == ".svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "costs", "svg.fonttype": "none"}):  # the same file from the same figures
        figure.savefig(out, metadata=metadata)
    return out


def _draw_cost(axes: Any, costs: Sequence[FitCost], places: list[int]) -> None:
    _line(axes, places, [1e3 * cost.update_seconds for cost in costs], OUR_COLOUR, "an update of θ, all included")
    _line(axes, places, [1e3 * cost.evaluation_seconds for cost in costs], PLAIN_COLOUR, "its evaluation of F alone")
    _finish(axes, places)


def _draw_worth(axes: Any, costs: Sequence[FitCost], places: list[int]) -> None:
    for evaluations, style in ((0, ":"), (5, "-")):
        ours = [cost.losses[evaluations] for cost in costs]
        _line(axes, places, ours, OUR_COLOUR, f"{OURS}, {evaluations} evaluations", style)
    _line(axes, places, [cost.rival_losses[5] for cost in costs], PLAIN_COLOUR, f"{RIVAL}, 5 evaluations")
    _finish(axes, places)


def _line(axes: Any, places: list[int], values: list[float], colour: str, label: str, style: str = "-") -> None:
    axes.plot(places, values, style, color=colour, label=label, marker="o", markersize=3.5)


def _finish(axes: Any, ticks: list[int]) -> None:
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
