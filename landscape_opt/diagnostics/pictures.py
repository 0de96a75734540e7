"""The pictures: before and after, and the loss by evaluations. Light backgrounds, so that they can be read on dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..benchmark.picture import OUR_COLOUR, PLAIN_COLOUR
from .diagnosis import Diagnosis
from .reach import Reach
from .slices import Slice, Slices, Trace

NUM_LEVELS = 13
DEPTH = 1e-5
"""Share of the highest loss of a picture below which it is one colour."""
ARRIVED = 1e-3
"""Share of the loss at x_init at which a descent has arrived."""
LOWEST = 1e-14
"""Share of the loss at the start at which the axis of the loss curves ends."""


def draw_slices(found: Slices, out: Path, title: str = "") -> Path:
    """Write the two panels, as PNG or SVG by the name of the file; no figure, backend or style of the process is touched.

    The colour is log₁₀ of the loss, the same in both panels. Lines join the points that were better than all before. A
    descent has arrived at 0.001 of the loss at x_init.

    Args:
        found: what to draw.
        out: the file.
        title: above the panels.

    Returns:
        The file.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> from landscape_opt.diagnostics import slices
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(3)), squares)
        >>> targets = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> inverter = inverter.fit(targets, num_rounds=2, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_slices(slices(inverter, targets, resolution=9), Path(folder, "slices.svg")).name
        'slices.svg'
    """
    with _figure(4.5, 4.0, out) as figure:  # inches: 10 points can be read where this is as wide as a phone
        panels = figure.subplots(1, 2)
        highest = max(float(_known(one.loss).amax()) for one in (found.in_x, found.in_z))
        levels = torch.logspace(0.0, 1.0, NUM_LEVELS, base=DEPTH).flip(0).log10() + torch.tensor(highest).log10()
        before, after = "Before:\nthe loss in X", "After:\nin the learned chart"
        for axes, one, name in zip(panels, (found.in_x, found.in_z), (before, after), strict=True):
            filled = _draw_slice(axes, one, levels.tolist(), _level(found))
            axes.set_title(name, fontsize=11)
        bar = figure.colorbar(filled, ax=panels, location="bottom", shrink=0.7, aspect=30, pad=0.02)
        bar.set_label("log₁₀ of the loss", fontsize=10)
        bar.set_ticks([float(value) for value in levels[::4]], labels=[f"{float(value):.1f}" for value in levels[::4]])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=10, labelspacing=0.3)
        if title:
            figure.suptitle(title, fontsize=11)
    return out


def draw_losses(found: Diagnosis, out: Path, title: str = "") -> Path:
    """Write the loss by evaluations: medians, and a band between the first and third quartiles.

    Args:
        found: what to draw.
        out: the file, PNG or SVG by its name.
        title: above the panel.

    Returns:
        The file.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> from landscape_opt.diagnostics import diagnose
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(3)), squares)
        >>> targets = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> inverter = inverter.fit(targets, num_rounds=2, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_losses(diagnose(inverter, targets[:8], max_evaluations=5), Path(folder, "losses.svg")).name
        'losses.svg'
    """
    with _figure(4.6, 3.6, out) as figure:
        axes = figure.subplots()
        lowest = LOWEST * float(found.plain.best[0].nanmedian())
        _draw_curve(axes, found.plain, PLAIN_COLOUR, "plain descent (L-BFGS in X)", lowest)
        _draw_curve(axes, found.landscape, OUR_COLOUR, "landscape", lowest)
        axes.set_yscale("log")
        axes.set_xlabel("evaluations of F for each target", fontsize=11)
        axes.set_ylabel("loss: median and quartiles", fontsize=11)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=10)
        if title:
            axes.set_title(title, fontsize=11)
    return out


def described(found: Slices) -> str:
    """Alternative text of :func:`draw_slices`, for those who do not see it.

    Args:
        found: what was drawn.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> from landscape_opt.diagnostics import slices
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(3)), squares)
        >>> targets = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> inverter = inverter.fit(targets, num_rounds=2, progress=False)
        >>> described(slices(inverter, targets, resolution=9))[:45]
        'Two panels with the loss of one target in col'
    """
    plain, learned = found.in_x.plain, found.in_x.learned
    parts = ["Two panels with the loss of one target in colour, dark where it is low."]
    if plain is not None:
        told = (_told("Plain descent", plain, _level(found)), _told("The landscape", learned, _level(found)))
        parts.append(f"Left: a plane of X. {' '.join(told)}")
    same = "the same plane in the coordinates of the first learned chart" if found.is_same_plane else "a plane of Z"
    parts.append(
        f"Right: {same}, with {'both descents' if found.is_same_plane else 'the descent in the landscape'}. The region "
        f"with the lowest tenth of the losses is {stretch(found.in_x):.1f} times as long as wide on the left, "
        f"{stretch(found.in_z):.1f} times on the right."
    )
    return " ".join(parts)


def stretch(one: Slice) -> float:
    """How long the low region of a window is, over how wide: the root of the ratio of its second moments.

    The low region holds the points of the grid with the lowest tenth of the losses. 1 is a disc. What the window cuts off
    is not seen.
    """
    loss = torch.where(one.loss.isfinite(), one.loss, torch.inf).double()
    low = loss <= loss.flatten().quantile(0.1)
    up, across = low.nonzero().double().unbind(1)
    values = torch.linalg.eigvalsh(torch.cov(torch.stack([across, up])))
    return float((values[1] / values[0].clamp_min(1e-12)).sqrt())


def _number(loss: Tensor) -> str:
    return f"{float(loss):.2g}"


def _level(found: Slices) -> float:
    """The loss at which a descent has arrived."""
    assert found.in_x.plain is not None  # X has a place for it
    return ARRIVED * float(found.in_x.plain.loss[0])


def _arrival(trace: Trace, level: float) -> str:
    count = trace.evaluations_to(level)
    if count is None:
        return f"has not arrived after {trace.num_evaluations} evaluations"
    return f"arrives after {count} evaluation{'' if count == 1 else 's'}"


def _told(name: str, trace: Trace, level: float) -> str:
    return (
        f"{name} {_arrival(trace, level)}, at {ARRIVED:g} of the loss at x_init, and goes from a loss of "
        f"{_number(trace.loss[0])} to {_number(trace.loss[-1])} in {trace.num_evaluations}; "
        f"{100.0 * trace.in_plane:.0f} % of its way lies in this plane."
    )


def _draw_slice(axes: Any, one: Slice, levels: list[float], arrived: float) -> Any:
    loss = torch.where(one.loss.isfinite(), one.loss, torch.inf).clamp_min(10.0 ** levels[0]).log10()
    across, up = one.across.cpu().numpy(), one.up.cpu().numpy()
    filled = axes.contourf(across, up, loss.cpu().numpy(), levels, cmap="Blues_r", extend="both")
    axes.contour(across, up, loss.cpu().numpy(), levels, colors="white", linewidths=0.4)
    _draw_trace(axes, one.plain, PLAIN_COLOUR, "L-BFGS in X", arrived)
    _draw_trace(axes, one.learned, OUR_COLOUR, "landscape", arrived)
    axes.plot(
        *one.solution.tolist(),
        "*",
        color="black",
        markersize=10,
        markeredgecolor="white",
        label="the lowest point found by either",
    )
    axes.set(aspect="equal", xticks=[], yticks=[])
    return filled


def _draw_trace(axes: Any, trace: Trace | None, colour: str, label: str, arrived: float) -> None:
    if trace is None:
        return
    across, up = trace.points.cpu().T.tolist()
    axes.plot(across, up, color="white", linewidth=3.6)
    shown = f"{label} {_arrival(trace, arrived)}"
    axes.plot(across, up, ".-", color=colour, linewidth=1.8, markersize=6, label=shown)
    axes.plot(across[0], up[0], "o", color=colour, markersize=8, markeredgecolor="white")


def _draw_curve(axes: Any, reach: Reach, colour: str, label: str, lowest: float) -> None:
    shares = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, median, high = torch.quantile(reach.best.double().cpu(), shares, dim=1).clamp_min(lowest).numpy()
    steps = range(len(median))
    axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(steps, median, color=colour, label=label, linewidth=2)


def _known(loss: Tensor) -> Tensor:
    return loss[loss.isfinite()]


def checked_format(out: Path) -> Path:
    """The file itself; raises ValueError where its name says nothing of the format."""
    if out.suffix not in {".png", ".svg"}:
        raise ValueError(f"the picture must be a .png or .svg file, got {out}")
    return out


@contextmanager
def _figure(width: float, height: float, out: Path) -> Iterator[Any]:
    """A figure of its own, written to the file at the end; the same file from the same numbers."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "landscape-opt[plot]"') from error
    out = checked_format(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(width, height), layout="constrained", dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    metadata = {"Date": None} if out.suffix == ".svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "landscape", "svg.fonttype": "none"}):
        yield figure
        figure.savefig(out, metadata=metadata)
