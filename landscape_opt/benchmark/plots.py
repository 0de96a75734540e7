"""Curves of a problem: median loss by evaluations, a panel for every set of targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .landscapes import OURS
from .summary import Summary
from .table import Row

COLOURS = {
    OURS: "#c2410c",
    "best first order in X": "#64748b",
    "best second order in X": "#0f172a",
    "encoder, refined by the best": "#2563eb",
    "nearest + L-BFGS": "#16a34a",
    "unrolled + L-BFGS": "#9333ea",
    "affine θ": "#ca8a04",
    "published θ(z)": "#db2777",
}
LOWEST = 1e-13
"""Share of the loss at the plain start at which the axis ends."""


def draw(summary: Summary, out: Path) -> Path:
    """Write the curves, as SVG or PNG by the name of the file; no figure, backend or style of the process is touched.

    Args:
        summary: of the problem.
        out: the file; its folder is made.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    out.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(4.2 * len(summary.sets), 3.9), layout="constrained", dpi=90)
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(summary.sets), squeeze=False)[0]
    for axes, some in zip(panels, summary.sets, strict=True):
        _draw_set(axes, summary, some)
    panels[0].set_ylabel("median loss")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, 2 * len(panels)), frameon=False, fontsize=8)
    metadata = {"Date": None} if out.suffix == ".svg" else {"Software": None}
    with rc_context({"svg.hashsalt": summary.name, "svg.fonttype": "none"}):  # the same file from the same records
        figure.savefig(out, metadata=metadata)
    return out


def _draw_set(axes: Any, summary: Summary, some: str) -> None:
    start = next(iter(summary.fields.values())).at_start[some]
    for row in summary.rows(some):
        if row.name in COLOURS:
            _draw_row(axes, row, LOWEST * start)
    axes.set(yscale="log", xlabel="evaluations of F", title=some)
    axes.set_xscale("symlog", linthresh=1.0)
    budgets = summary.rows(some)[0].budgets
    axes.set_xticks(budgets, [str(budget) for budget in budgets], fontsize=7)
    axes.minorticks_off()
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_row(axes: Any, row: Row, lowest: float) -> None:
    width = 2.4 if row.name == OURS else 1.3
    losses = [max(loss, lowest) for loss in row.median]
    axes.plot(row.budgets, losses, color=COLOURS[row.name], label=row.name, linewidth=width, marker=".", markersize=4)
