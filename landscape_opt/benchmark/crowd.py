"""Many targets of unlike difficulty: what it saves that finished rows leave, and that waiting rows take their place."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..descent import Limits, Visit, descend
from ..guest import private_randomness
from ..inverter import LandscapeInverter
from ..landscape import LearnedLandscape
from ..objective import Objective
from ..solvers import Start, TorchOptim

TOLERANCE = 1e-6
MOST = 400


@dataclass(frozen=True)
class Way:
    """One way of inverting all targets, so many at a time.

    Attributes:
        name: of the way.
        rows: evaluations of F, rows counted.
        calls: of F.
        seconds: wall time.
    """

    name: str
    rows: int
    calls: int
    seconds: float


@dataclass(frozen=True)
class CrowdReport:
    """What was found.

    Attributes:
        text: all that a command prints.
        ways: in the order: nobody leaves, finished rows leave, waiting rows take their place.
        converged: share of the targets.
    """

    text: str
    ways: tuple[Way, ...]
    converged: float


def memory_slope(num_steps: int, num_rows: int = 4) -> float:
    """Bytes of resident memory that one step of a long descent adds, by least squares over its second half.

    Args:
        num_steps: of gradient descent with momentum, on a quadratic that it does not solve meanwhile.
        num_rows: of the batch.
    """
    used: list[tuple[int, float]] = []

    def watch(visit: Visit) -> None:
        if visit.step % max(1, num_steps // 40) == 0 and visit.step > num_steps // 2:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            used.append((visit.step, float(pages * resource.getpagesize())))

    scale = torch.logspace(-9, 0, 6)
    landscape = LearnedLandscape(nn.Identity(), torch.zeros(6))
    objective = Objective(nn.Identity(), lambda x, y: (scale * (x - y).square()).sum(1), landscape.layout)
    solver = TorchOptim(landscape.plain(), partial(torch.optim.SGD, lr=0.1, momentum=0.5))
    start = Start(landscape.layout.start(num_rows))
    descend(objective, solver, start, torch.ones(num_rows, 6), Limits(num_steps), watch)
    steps, sizes = (torch.tensor(column, dtype=torch.float64) for column in zip(*used, strict=True))
    steps = steps - steps.mean()
    return float((steps * sizes).sum() / steps.square().sum())


class _Counted(nn.Module):
    """A network of some cost that counts its calls and rows in lists that copies share."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        with private_randomness(1, torch.device("cpu")):
            self.layers = nn.Sequential(
                nn.Linear(dim, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 32)
            )
        self.seen: list[int] = []

    def __deepcopy__(self, memo: object) -> _Counted:
        return self  # nothing to protect: no buffers, no gradients asked of it

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        found: Tensor = self.layers(x)
        return found


def run_crowd(num_targets: int = 4096, at_a_time: int = 256, width: int = 512, num_steps: int = 100_000) -> CrowdReport:
    """Plain per-sample L-BFGS to 1e-6 of the start, for targets near the start and far from it.

    Args:
        num_targets: in all.
        at_a_time: rows that go through F together.
        width: of F.
        num_steps: of the long descent whose memory is watched.
    """
    model = _Counted(8, width).requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    far = torch.rand(num_targets, 1, generator=generator) ** 2
    targets = model(3.0 * far * torch.randn(num_targets, 8, generator=generator))

    def loss_fn(prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).square().sum(1)

    inverter = LandscapeInverter(LearnedLandscape(model, torch.zeros(8)), loss_fn)
    pieces = targets.split(at_a_time)
    ways, longest = [], []

    def measure(name: str, invert: object) -> None:
        model.seen.clear()
        began = time.perf_counter()
        assert callable(invert)
        invert()
        ways.append(Way(name, sum(model.seen), len(model.seen), time.perf_counter() - began))

    def alone() -> None:
        for piece in pieces:
            result = inverter.invert(piece, MOST, rtol=TOLERANCE, allow_unfitted=True)
            longest.append(int(result.num_evaluations.max()))
            met.append(result.success)

    def together() -> None:
        inverter.invert(targets, MOST, rtol=TOLERANCE, max_batch_size=at_a_time, allow_unfitted=True)

    def without() -> None:
        for piece, most in zip(pieces, longest, strict=True):
            inverter.invert(piece, most, allow_unfitted=True)

    met: list[Tensor] = []
    measure("finished rows leave the batch", alone)
    measure("and waiting rows take their places", together)
    measure("all stay until the last of a batch has finished", without)
    ways = [ways[2], *ways[:2]]
    converged = float(torch.cat(met).float().mean())
    lines = [
        f"{num_targets} targets, {at_a_time} at a time, L-BFGS in X to {TOLERANCE:g} of the start or {MOST} evaluations; "
        f"{100 * converged:.0f} % converge",
        f"{'':<50}{'evaluations':>12}{'calls of F':>12}{'seconds':>10}",
        *(f"{way.name:<50}{way.rows:>12,d}{way.calls:>12,d}{way.seconds:>10.2f}" for way in ways),
        f"{num_steps:,d} steps of 4 rows add {memory_slope(num_steps):.0f} bytes of memory a step, 40 of them history",
    ]
    return CrowdReport("\n".join(lines) + "\n", tuple(ways), converged)
