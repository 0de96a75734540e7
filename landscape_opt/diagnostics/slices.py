"""The loss over a plane through the start and the solution of one target, in X and in the learned chart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..inverter import LandscapeInverter
from ..objective import Objective
from .charts import AffineChart, Chart, first_chart
from .checks import check
from .paths import Path, path_of
from .plane import Plane, principal

RESOLUTION = 41
MARGIN = 0.2
"""Share of the window that is left free on every side of what it shows."""
MAX_AT_ONCE = 256
"""Points that go through F together."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A descent, seen in a plane: its start, and every point that was better than all before.

    Attributes:
        points: their coordinates, (K, 2).
        loss: at the points themselves, (K,).
        evaluations: of F, spent before each was reached, (K,).
        in_plane: share of the squared lengths of the steps that lies in the plane: at 1 nothing is hidden, at 0.5 half of
            the way goes out of the picture, and the loss that is drawn under the line is not that of the point.
        num_evaluations: of F, those included that led to no better point.
    """

    points: Tensor = field(repr=False)
    loss: Tensor = field(repr=False)
    evaluations: Tensor = field(repr=False)
    in_plane: float
    num_evaluations: int

    def evaluations_to(self, level: float) -> int | None:
        """After how many evaluations the loss was at most ``level``; None if it never was."""
        there = self.evaluations[(self.loss <= level).cpu()]
        return int(there[0]) if len(there) else None


@dataclass(frozen=True, eq=False)
class Slice:
    """The loss over a square window of a plane.

    Attributes:
        across: coordinates along the first axis, from the start to the solution, (n,); the start is at 0.
        up: along the second axis, orthogonal to the first, (n,), in the same unit.
        loss: (n, n), a line for every value of ``up``; not finite where F is not.
        solution: coordinates of the lowest point that was found, (2,).
        plain: plain descent in X; None where it has no coordinates.
        learned: the descent in the landscape.
    """

    across: Tensor = field(repr=False)
    up: Tensor = field(repr=False)
    loss: Tensor = field(repr=False)
    solution: Tensor
    plain: Trace | None
    learned: Trace


@dataclass(frozen=True, eq=False)
class Slices:
    """One target before and after: the loss in X, and the loss in the learned chart.

    Attributes:
        in_x: over a plane of X.
        in_z: over the same plane as the first chart sees it; for a mapping that keeps one chart, over a plane of Z.
        is_same_plane: whether both show the same plane of X. Not for a mapping that keeps one chart: plain descent has no
            coordinates in it.
        num_evaluations: of F, by the two descents.
        num_forwards: forwards of F for the two pictures.
    """

    in_x: Slice
    in_z: Slice
    is_same_plane: bool
    num_evaluations: int
    num_forwards: int


def slices(
    inverter: LandscapeInverter, targets: Batch, row: int = 0, max_evaluations: int = 20, resolution: int = RESOLUTION
) -> Slices:
    r"""Look at planes through the descents of one target.

    In X the plane holds the plain start x_init, the lowest point x* that either descent found, and the direction in which
    both descents together stray most from the line between these two (their first principal direction across it).

    In Z an anchored mapping has a new chart after every evaluation. The one drawn is the first that F has a part in,
    θ(z; e₀) = x₀ + base(e₀) + J(e₀) z, e₀ being the evaluation at the learned start x₀. It is affine, so that the plane of
    X is a plane of Z, and the second picture shows the same plane in the coordinates in which the landscape takes
    its step: a valley that J has rounded is round there, and one that it has not is not. The base is in the position of
    z = 0, not in the shape of the valley. Later charts differ, and are not drawn; both descents are mapped back through
    this one. A mapping that keeps one chart is drawn itself, over the plane through the first z, the last, and the
    direction in which the descent strays most from that line.

    The descents are those without jumps to remembered points. Windows are square, with one unit on both axes.

    Args:
        inverter: fitted.
        targets: a batch of targets.
        row: which one of them.
        max_evaluations: of each descent.
        resolution: n, points on a side of a window.

    Raises:
        RuntimeError: before any fit.
        ValueError: if x is a single number, the row is not in the batch, or a descent goes nowhere.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> from landscape_opt.diagnostics import slices
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(3)), squares)
        >>> targets = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> found = slices(inverter.fit(targets, num_rounds=2, progress=False), targets, resolution=9)
        >>> found.in_x.loss.shape, found.num_forwards
        (torch.Size([9, 9]), 162)
    """
    check(inverter, targets, max_evaluations)
    if not 0 <= row < batches.size(targets):
        raise ValueError(f"row must be from 0 to {batches.size(targets) - 1}, one of the targets given; got {row}")
    if resolution < 2:
        raise ValueError(f"resolution must be at least 2 points on a side, got {resolution}")
    target: Batch = batches.rows(targets, torch.tensor([row]))
    with inverter.opened(inverter.seed) as objective:
        learned = path_of(inverter, objective, target, max_evaluations)
        plain = path_of(inverter.unfitted(), objective, target, max_evaluations)
        num_evaluations = objective.num_evaluations
        look = _Look(objective, target, resolution)
        chart = first_chart(inverter, learned.start, target)
        in_x, in_z = _both(look, inverter.landscape.layout.row, chart, plain, learned)
    return Slices(in_x, in_z, isinstance(chart, AffineChart), num_evaluations, 2 * resolution**2)


def _both(look: _Look, x_init: Tensor, chart: Chart, plain: Path, learned: Path) -> tuple[Slice, Slice]:
    """In X, and in the chart."""
    solution = min(plain, learned, key=lambda path: float(path.loss[-1])).x[-1]
    plane = Plane.through(x_init, solution, principal(torch.cat([plain.x, learned.x]), x_init, solution))
    in_x = look.at(AffineChart(torch.zeros_like(x_init)), plane, solution, plain, learned)
    if isinstance(chart, AffineChart):
        start, end = chart.z(torch.stack([x_init, solution]))
        seen = Plane.through(start, end, chart.direction(plane.axes[1:])[0])
        mapped = (replace(path, x=chart.z(path.x)) for path in (plain, learned))
        return in_x, look.at(chart, seen, end, *mapped)
    kept = learned.in_chart()
    seen = Plane.through(kept.x[0], kept.x[-1], principal(kept.x, kept.x[0], kept.x[-1]))
    return in_x, look.at(chart, seen, kept.x[-1], None, kept)


@dataclass(frozen=True, eq=False)
class _Look:
    """Looks at the loss of one target over planes."""

    objective: Objective
    target: Batch
    resolution: int

    def at(self, chart: Chart, plane: Plane, solution: Tensor, plain: Path | None, learned: Path) -> Slice:
        """The window around all that is to be seen; paths come in the coordinates of the chart."""
        traces = [None if path is None else _trace(path, plane) for path in (plain, learned)]
        end = plane.coordinates(solution[None])
        shown = torch.cat([torch.zeros_like(end), end, *(trace.points for trace in traces if trace is not None)])
        low, high = shown.amin(0), shown.amax(0)
        half = (0.5 + MARGIN) * (high - low).max()
        middle = 0.5 * (low + high)
        ticks = torch.linspace(-1.0, 1.0, self.resolution).to(half) * half
        across, up = ticks + middle[0], ticks + middle[1]
        grid = torch.cartesian_prod(up, across).flip(1)
        x = chart.x(plane.points(grid))
        loss = torch.cat([self._losses(some) for some in x.split(MAX_AT_ONCE)])
        assert traces[1] is not None
        return Slice(across, up, loss.reshape(self.resolution, -1), end[0], traces[0], traces[1])

    def _losses(self, x: Tensor) -> Tensor:
        same = torch.zeros(len(x), dtype=torch.long)
        with torch.no_grad():
            return self.objective.read(x, batches.rows(self.target, same)).loss


def _trace(path: Path, plane: Plane) -> Trace:
    return Trace(plane.coordinates(path.x), path.loss, path.evaluations, plane.share(path.x), path.num_evaluations)
