"""What a GPU brings: a round of a fit and an evaluation of an inversion on the CPU and there, as written and compiled."""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .. import batches
from ..compiled_steps import compile_steps
from ..guest import frozen, private_randomness
from ..inverter import LandscapeInverter
from ..landscape import LearnedLandscape
from ..objective import LossFn
from .compiling import EAGER, NUM_EVALUATIONS, empty_cache
from .engine_profile import network, squares, targets_of
from .sets import cycled

WAYS = {EAGER: None, "compiled": "default", "CUDA graphs": "reduce-overhead"}
"""The ``mode`` of ``torch.compile``, for F as for θ; None compiles neither."""
REPEATS = 5


@dataclass(frozen=True)
class Case:
    """What is inverted.

    Attributes:
        name: of F.
        forward_model: F, on the CPU.
        loss_fn: of its predictions.
        x_init: the plain start.
        targets: of the fit, and of the inversions.
    """

    name: str
    forward_model: nn.Module
    loss_fn: LossFn
    x_init: Tensor
    targets: Any


@dataclass(frozen=True)
class GpuRow:
    """Milliseconds by the clock, whatever the number of rows.

    Attributes:
        case: the name of F.
        device: ``cpu`` or ``cuda``.
        way: how F and θ were called.
        fit: of a round of the fit.
        alone: of F, forward and backward, by rows that go together.
        inverting: of an evaluation of ``invert``, likewise.
        first_calls: seconds of the first round and inversions, those that compile.
    """

    case: str
    device: str
    way: str
    fit: float
    alone: dict[int, float]
    inverting: dict[int, float]
    first_calls: float


def cases() -> tuple[Case, ...]:
    """A network that is cheap to compute, and a generator of pictures with an x of 512 numbers."""
    from ..problems.style import style

    wide, problem = network(1024), style()
    assert isinstance(problem.forward_model, nn.Module)
    assert isinstance(problem.x_init, Tensor)
    return (
        Case("network, d = 32", wide, squares, torch.zeros(32), targets_of(wide, 4096)),
        Case("generator, d = 512", problem.forward_model, problem.loss_fn, problem.x_init, problem.train),
    )


def measured(case: Case, device: torch.device, way: str, batch_sizes: Sequence[int], num_rounds: int) -> GpuRow:
    """Fit some rounds and invert, on a device.

    Args:
        case: what is inverted.
        device: where.
        way: one of the WAYS.
        batch_sizes: rows that go together.
        num_rounds: of the fit.
    """
    mode, F = WAYS[way], copy.deepcopy(case.forward_model).to(device)
    called: Any = F if mode is None else torch.compile(F, dynamic=True, mode=mode)
    landscape = LearnedLandscape(called, case.x_init.to(device))
    inverter = LandscapeInverter(landscape, case.loss_fn, batch_size=256, seed=0)
    if mode is not None:
        compile_steps(landscape.mapping, mode=mode)
    targets = batches.map_leaves(lambda leaf: leaf.to(device), case.targets)
    some = partial(cycled, targets)

    began = time.perf_counter()
    inverter.fit(targets, num_rounds=2, progress=False)
    for count in batch_sizes:
        inverter.invert(some(count), NUM_EVALUATIONS)
    first_calls = time.perf_counter() - began
    fit = _milliseconds(lambda: inverter.fit(targets, num_rounds=num_rounds, progress=False), device, 1) / num_rounds
    with frozen(called) as view, private_randomness(0, device):
        alone = {count: _milliseconds(_evaluation(view, case, some(count)), device) for count in batch_sizes}
    inverting = {count: _milliseconds(_inversion(inverter, some(count)), device) / NUM_EVALUATIONS for count in batch_sizes}
    return GpuRow(case.name, device.type, way, fit, alone, inverting, first_calls)


def _inversion(inverter: LandscapeInverter, target: Any) -> Callable[[], object]:
    return lambda: inverter.invert(target, NUM_EVALUATIONS)


def _evaluation(forward_model: Callable[[Tensor], Any], case: Case, target: Any) -> Callable[[], object]:
    def evaluated() -> Tensor:
        x = case.x_init.to(batches.leaves(target)[0].device).expand(batches.size(target), *case.x_init.shape)
        x = x.clone().requires_grad_()
        return torch.autograd.grad(case.loss_fn(forward_model(x), target).sum(), x)[0]

    return evaluated


def _milliseconds(job: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> float:
    """By the clock, of the fastest of some calls after one that does not count; the device has ended what it was given."""
    taken = []
    for _ in range(repeats + (repeats > 1)):
        _ended(device)
        began = time.perf_counter()
        job()
        _ended(device)
        taken.append(time.perf_counter() - began)
    return 1e3 * min(taken)


def _ended(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def text(rows: Sequence[GpuRow]) -> str:
    """The table."""
    sizes = list(rows[0].alone)
    columns = "".join(f"{f'F, {size}':>10}" for size in sizes) + "".join(f"{f'all, {size}':>11}" for size in sizes)
    lines = [
        "Milliseconds by the clock: a round of the fit; an evaluation of F alone and of an inversion, of so many rows",
        "",
        f"{'F':<20}{'device':<7}{'way':<13}{'round':>8}{columns}{'first calls s':>15}",
    ]
    for row in rows:
        figures = "".join(f"{row.alone[size]:>10.3f}" for size in sizes)
        figures += "".join(f"{row.inverting[size]:>11.3f}" for size in sizes)
        lines.append(f"{row.case:<20}{row.device:<7}{row.way:<13}{row.fit:>8.1f}{figures}{row.first_calls:>15.1f}")
    return "\n".join(lines) + "\n"


def run_gpu(quick: bool = False) -> str:
    """What ``landscape-opt engine gpu`` prints.

    Args:
        quick: one small case as it is written, to see that all runs.
    """
    some, sizes, num_rounds = (cases()[:1], (1, 8), 2) if quick else (cases(), (1, 64, 1024), 20)
    places = [(torch.device("cpu"), EAGER)]
    name = f"{platform.machine()}, {torch.get_num_threads()} threads, no GPU"
    if torch.cuda.is_available():
        gpu = torch.device("cuda", 0)
        places += [(gpu, way) for way in (list(WAYS)[:1] if quick else WAYS)]
        name = f"{torch.cuda.get_device_name(gpu)}; {torch.get_num_threads()} threads of the CPU"
    with empty_cache():
        rows = [measured(case, device, way, sizes, num_rounds) for case in some for device, way in places]
    return f"{name}, torch {torch.__version__}\n{text(rows)}"
