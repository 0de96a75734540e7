"""Peak memory of fits and inversions: counted, and as formulas in the sizes of the problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..inverter import LandscapeInverter
from ..landscape import LearnedLandscape
from ..layout import Layout
from ..mappings import AnchoredMapping
from ..memory import Memory
from ..objective import Objective
from ..replay import Alternating, Replay, Streaming
from .engine_peak import PeakBytes
from .engine_profile import squares

FLOAT = 4
NUM_ROUNDS = 3
"""The first makes the state of θ's optimizer, every other one trains the start alone."""


@dataclass(frozen=True)
class Sizes:
    """What memory depends on.

    Attributes:
        dim: numbers in x.
        num_y: numbers in a target, and in a prediction.
        hidden: neurons of F, a network with one hidden layer.
        theta_width: of θ's hidden layers.
        theta_rank: of U Vᵀ in θ.
        batch_size: B, targets of a round and rows of an update, or targets of an inversion.
        num_steps: T of the trajectories that are collected; 0 for a stream.
        capacity: points in the buffer, where there is one.
        remembered: solutions in the memory.
        budget: evaluations of an inversion; 0 for a fit.
    """

    dim: int = 64
    num_y: int = 64
    hidden: int = 64
    theta_width: int = 64
    theta_rank: int = 8
    batch_size: int = 256
    num_steps: int = 0
    capacity: int = 0
    remembered: int = 0
    budget: int = 0

    def text(self) -> str:
        """In a line of the table."""
        kind = "invert" if self.budget else "buffer" if self.num_steps else "stream"
        parts = (self.batch_size, self.num_steps or "", self.capacity or "", self.dim, self.theta_width, self.remembered)
        return f"{kind:<8}" + " ".join(f"{part:>9}" for part in parts)


@dataclass(frozen=True)
class MemoryRow:
    """Bytes of one run.

    Attributes:
        sizes: of the problem.
        num_weights: P, of θ.
        evaluation: bytes that one evaluation of F takes for one sample, counted by itself on 32 rows.
        counted: the peak of the run.
        formula: what the formula says.
    """

    sizes: Sizes
    num_weights: int
    evaluation: float
    counted: int
    formula: float

    @property
    def error(self) -> float:
        """The formula over the count, less 1."""
        return self.formula / self.counted - 1.0


def model_of(sizes: Sizes) -> Callable[[Tensor], Tensor]:
    """F: one hidden layer with random weights."""
    generator = torch.Generator().manual_seed(0)
    into = torch.randn(sizes.dim, sizes.hidden, generator=generator) / math.sqrt(sizes.dim)
    out = torch.randn(sizes.hidden, sizes.num_y, generator=generator) / math.sqrt(sizes.hidden)
    return lambda x: torch.tanh(3.0 * x @ into) @ out


def targets_of(sizes: Sizes, count: int) -> Tensor:
    """Targets that no x reaches exactly, so that no row ends early."""
    generator = torch.Generator().manual_seed(1)
    reached = model_of(sizes)(torch.randn(count, sizes.dim, generator=generator))
    return reached + torch.randn(count, sizes.num_y, generator=generator)


def evaluation_bytes(sizes: Sizes) -> float:
    """What an evaluation of F takes for one sample: activations, prediction, loss and gradients."""
    objective = Objective(model_of(sizes), squares, Layout(torch.zeros(sizes.dim)))
    x, target = torch.zeros(32, sizes.dim), targets_of(sizes, 32)
    count = PeakBytes()
    with count:
        objective.evaluate(x, target)
    return count.peak / 32


def update_floats(sizes: Sizes) -> float:
    """Floats that a row of an update takes beside F's: what θ saves for its backward, and the row of the stream."""
    d, w, m, r = sizes.dim, sizes.theta_width, sizes.num_y, sizes.theta_rank
    return 400 + 14 * d + 10 * w + 7 * m + 2 * d * r


def inversion_floats(sizes: Sizes) -> float:
    """Floats of a row of an inversion beside F's, where all rows are handed over to L-BFGS together; else there are fewer.

    Ten pairs (s, y) and their copies while rows leave, the metric J Jᵀ, what θ reads, and the history.
    """
    d, w, m, r = sizes.dim, sizes.theta_width, sizes.num_y, sizes.theta_rank
    return 75 * d + 7 * w + 7 * m + 1.1 * d * r + 2.5 * sizes.budget


def point_floats(sizes: Sizes) -> int:
    """Floats of a point in the buffer: target, z, end, x, ∂L/∂x, ∂L/∂prediction and two losses."""
    return 2 * sizes.num_y + 4 * sizes.dim + 2


def fit_bytes(sizes: Sizes, num_weights: int, evaluation: float) -> float:
    """The formula of a fit.

    28 P + B (4 u + a) + 4 M (d + m), and 4 C (4 d + 2 m + 2) + 4 (T + 1) B (3 d + m) with a buffer: θ in seven copies
    (weights, gradient, two moments, and the guard's copy of all but the gradient), an update, the memory, the buffer, and
    the trajectories before they are in it.
    """
    points = FLOAT * sizes.capacity * point_floats(sizes)
    collected = FLOAT * (sizes.num_steps + 1) * sizes.batch_size * (3 * sizes.dim + sizes.num_y) if sizes.num_steps else 0
    update = sizes.batch_size * (FLOAT * update_floats(sizes) + evaluation)
    remembered = FLOAT * sizes.remembered * (sizes.dim + sizes.num_y)
    return 7 * FLOAT * num_weights + update + remembered + points + collected


def inversion_bytes(sizes: Sizes, evaluation: float) -> float:
    """The formula of an inversion, B (4 v + a), a bound. θ and the memory are there already, and are not counted."""
    return sizes.batch_size * (FLOAT * inversion_floats(sizes) + evaluation)


def _inverter(sizes: Sizes) -> LandscapeInverter:
    replay: Replay = Streaming(num_rows=sizes.batch_size, updates_per_round=4)
    if sizes.num_steps:
        replay = Alternating(sizes.num_steps, 2, sizes.batch_size, sizes.capacity)
    mapping = AnchoredMapping(sizes.theta_width, sizes.theta_rank)
    landscape = LearnedLandscape(model_of(sizes), torch.zeros(sizes.dim), mapping)
    memory = Memory(capacity=sizes.remembered)
    return LandscapeInverter(landscape, squares, replay=replay, memory=memory, batch_size=sizes.batch_size)


def measured(sizes: Sizes) -> MemoryRow:
    """Run and count."""
    inverter, evaluation = _inverter(replace(sizes, batch_size=32) if sizes.budget else sizes), evaluation_bytes(sizes)
    targets = targets_of(sizes, 2 * sizes.batch_size)
    with PeakBytes() as of_fit:
        inverter.fit(targets, num_rounds=1 if sizes.budget else NUM_ROUNDS, progress=False)
    num_weights = sum(weight.numel() for weight in inverter.landscape.parameters())
    if not sizes.budget:
        formula = fit_bytes(sizes, num_weights, evaluation)
        return MemoryRow(sizes, num_weights, evaluation, of_fit.peak, formula)
    with PeakBytes() as of_inversion:
        inverter.invert(targets[: sizes.batch_size], sizes.budget)
    formula = inversion_bytes(sizes, evaluation)
    return MemoryRow(sizes, num_weights, evaluation, of_inversion.peak, formula)


BUFFER = Sizes(num_steps=20, capacity=4000)
STREAM = Sizes(remembered=1000)
INVERT = Sizes(budget=30, dim=256)
QUICK = (Sizes(dim=8, num_y=32, batch_size=64, num_steps=4, capacity=2000), Sizes(dim=16, num_y=32, batch_size=128))
TABLE = (
    BUFFER,
    replace(BUFFER, capacity=40_000),
    replace(BUFFER, capacity=400_000, dim=16),
    replace(BUFFER, num_steps=5),
    replace(BUFFER, num_steps=80),
    replace(BUFFER, batch_size=64),
    replace(BUFFER, batch_size=1024),
    STREAM,
    replace(STREAM, batch_size=1024),
    replace(STREAM, hidden=4096),
    replace(STREAM, dim=512),
    replace(STREAM, theta_width=256),
    replace(STREAM, remembered=40_000),
    INVERT,
    replace(INVERT, batch_size=1024),
    replace(INVERT, dim=512),
    replace(INVERT, dim=64),
)


def text(rows: Sequence[MemoryRow]) -> str:
    """The table."""
    heads = ("B", "T", "buffer", "dim", "θ width", "memory", "P", "F B/row", "counted MB", "formula MB", "off by")
    lines = ["Peak memory of Tensors, counted, and by the formula of docs/scale.md", ""]
    lines.append(f"{'':<8}" + " ".join(f"{head:>10}" if place > 5 else f"{head:>9}" for place, head in enumerate(heads)))
    for row in rows:
        sizes = f"{row.num_weights:>10} {row.evaluation:>10.0f} {row.counted / 1e6:>10.1f} {row.formula / 1e6:>10.1f}"
        lines.append(f"{row.sizes.text()} {sizes} {row.error:>+10.0%}")
    for kind, some in (("a fit", [row for row in rows if not row.sizes.budget]),
                       ("an inversion", [row for row in rows if row.sizes.budget])):  # fmt: skip
        if some:
            lines += ["", f"The formula of {kind} is off by {max(abs(row.error) for row in some):.0%} at most."]
    return "\n".join(lines) + "\n"


def run_memory(quick: bool = False) -> str:
    """What ``landscape-opt engine memory`` prints.

    Args:
        quick: two small fits, to see that all runs.
    """
    return text([measured(sizes) for sizes in (QUICK if quick else TABLE)])
