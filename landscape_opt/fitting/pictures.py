"""Pictures of trajectories while a fit runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..targets import refuse_empty, refuse_nonfinite
from ..terms import PerTarget
from .callbacks import Callback

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter
    from .loop import FitLoop

MAX_PATHS = 12
"""Paths in one picture: more cannot be told apart."""
SMALLEST = 1e-16


@dataclass(frozen=True)
class Trajectories:
    """How some targets were inverted.

    Attributes:
        loss: after k evaluations, (K + 1, B).
        paths: the points at which F was evaluated and the last one, flat, (K_b, d) for every target.
    """

    loss: Tensor
    paths: list[Tensor]


@dataclass(frozen=True)
class Plane:
    """Where paths are drawn: ``(x - centre) @ directions``.

    Attributes:
        centre: (d,).
        directions: orthonormal columns, (d, 2); the second is zero where x is a single number.
    """

    centre: Tensor
    directions: Tensor

    @classmethod
    def of(cls, points: Tensor) -> Plane:
        """The first two principal directions of points (N, d), signs fixed by the largest component of each.

        Example:
            >>> plane = Plane.of(torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.1, 0.0, 0.0]]))
            >>> plane.directions[:, 0].round()
            tensor([0., 1., 0.])
        """
        centre = points.mean(0)
        rows = torch.linalg.svd(points - centre, full_matrices=False).Vh[:2]
        found = torch.cat([rows, rows.new_zeros(2 - len(rows), points.shape[1])])
        largest = found.gather(1, found.abs().argmax(1, keepdim=True))
        return cls(centre, (found * torch.where(largest < 0, -1.0, 1.0)).T)

    def shown(self, points: Tensor) -> Tensor:
        """Points (N, d) in the plane, (N, 2)."""
        return (points - self.centre) @ self.directions


class TrajectoryPictures(Callback):
    """Draws how the landscape inverts a few targets, every so many rounds: ``round-000050.png`` in a folder.

    On the left the loss after every evaluation, a line for every target and the median in bold; on the right the points at
    which F was evaluated, in the plane of the two directions in which they vary the most (principal components). The plane
    is that of the first picture, so that pictures can be compared. Rows do not start again from the memory here: what is
    drawn is what θ does, and after its steps L-BFGS. A picture costs ``num_evaluations`` of F for every target, which
    no count of the fit includes.

    Args:
        folder: made where it is missing.
        targets: to be inverted, best held out; the first twelve.
        every: rounds between two pictures; the last round of a fit is always drawn.
        num_evaluations: length of a path.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> import tempfile
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(2)), squares)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pictures = TrajectoryPictures(folder, y[:8], every=2)
        ...     inverter = inverter.fit(y[8:], num_rounds=3, callbacks=[pictures], progress=False)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['round-000001.png', 'round-000002.png']
    """

    def __init__(self, folder: str | os.PathLike[str], targets: Batch, every: int = 50, num_evaluations: int = 10) -> None:
        if find_spec("matplotlib") is None:
            raise ImportError('TrajectoryPictures needs matplotlib: pip install "landscape-opt[plot]"')
        for name, count in (("every", every), ("num_evaluations", num_evaluations)):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        self.folder, self.every, self.num_evaluations = Path(folder), every, num_evaluations
        some = torch.arange(min(MAX_PATHS, batches.size(refuse_empty(targets))))
        self.targets: Batch = refuse_nonfinite(batches.rows(targets, some))
        self.plane: Plane | None = None
        self.drawn = -1

    def on_fit_begin(self, *, inverter: LandscapeInverter, **context: Any) -> None:
        """Refuse targets of another size, and make the folder."""
        if inverter.landscape.is_fitted:
            inverter.landscape.check_fits(self.targets)
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_round_end(self, *, inverter: LandscapeInverter, fit: FitLoop, **context: Any) -> None:
        """Draw, where it is time."""
        if fit.num_rounds_done % self.every == 0:
            self.draw(inverter)

    def on_fit_end(self, *, inverter: LandscapeInverter, **context: Any) -> None:
        """Draw what came of it."""
        if inverter.history and self.drawn != inverter.history[-1].round:
            self.draw(inverter)

    def draw(self, inverter: LandscapeInverter) -> Path:
        """The picture of the landscape as it is now."""
        self.drawn = inverter.history[-1].round
        found = trajectories(inverter, self.targets, self.num_evaluations)
        if self.plane is None:
            self.plane = Plane.of(torch.cat(found.paths))
        out = self.folder / f"round-{self.drawn:06d}.png"
        _draw(found, [self.plane.shown(path) for path in found.paths], f"round {self.drawn}", out)
        return out

    def state_dict(self) -> dict[str, Any]:
        """The plane of the first picture, and the round of the last."""
        plane = None if self.plane is None else [self.plane.centre, self.plane.directions]
        return {"plane": plane, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.plane = None if state["plane"] is None else Plane(*state["plane"])
        self.drawn = state["drawn"]


def trajectories(inverter: LandscapeInverter, targets: Batch, num_evaluations: int) -> Trajectories:
    """Invert targets, and keep every point at which F was evaluated.

    Args:
        inverter: fitted.
        targets: a batch of B targets.
        num_evaluations: of every target.
    """
    size, layout = batches.size(targets), inverter.landscape.layout
    points: list[list[Tensor]] = [[] for _ in range(size)]

    def note(x: Any, _prediction: Any, row: Tensor) -> Tensor:
        flat = layout.flat(x).detach()
        for place, point in zip(row.tolist(), flat.cpu(), strict=True):
            points[place].append(point)
        return torch.zeros_like(flat[:, 0])

    spy = PerTarget(note, torch.arange(size))  # a term of zeros sees every evaluation, and knows whose it is
    result = inverter.invert(targets, num_evaluations, extra_terms=[spy], restarts=False)
    return Trajectories(result.history.best.detach().cpu(), [torch.stack(path) for path in points])


def _draw(found: Trajectories, paths: list[Tensor], title: str, out: Path) -> None:
    """Write the PNG; no figure, backend or style of the process is touched."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.0), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    loss = found.loss.clamp_min(SMALLEST)
    for number, path in enumerate(paths):
        colour = colours[number % len(colours)]
        left.semilogy(loss[:, number], color=colour, linewidth=0.8)
        right.plot(path[:, 0], path[:, 1], color=colour, linewidth=0.8, marker=".", markersize=3)
        right.plot(path[:1, 0], path[:1, 1], color=colour, marker="o", fillstyle="none")
        right.plot(path[-1:, 0], path[-1:, 1], color=colour, marker="x")
    left.semilogy(loss.median(1).values, color="black", linewidth=2.0, label="median")
    left.set(xlabel="evaluations", ylabel="lowest loss so far", title=title)
    left.legend(frameon=False)
    right.set(xlabel="first principal direction of x", ylabel="second", title="points (o start, × end)")
    figure.savefig(out, format="png")
