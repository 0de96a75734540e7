"""What compiling θ brings: an update as it was written and compiled, and how long the first call takes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from ..compiled_steps import compile_steps
from ..guest import private_randomness
from ..mappings import AnchoredMapping, Context, Mapping, MappingSpec
from ..objective import Evaluation
from ..replay.points import Points
from .compiling import COMPILED, EAGER, empty_cache, obstacle
from .turns import in_turns, seconds_of

LEAST = 0.3
"""Seconds of a turn."""


@dataclass(frozen=True)
class ThetaSizes:
    """Sizes of θ and of an update.

    Attributes:
        dim: numbers in x.
        num_y: numbers in a target, and in a prediction.
        width: of θ's hidden layers.
        batch_size: rows of an update.
    """

    dim: int
    num_y: int
    width: int
    batch_size: int


@dataclass(frozen=True)
class CompilingRow:
    """Processor seconds of θ in one update, forward and backward.

    Attributes:
        sizes: of θ and of the update.
        seconds: by how θ is called.
        first_call: of the first call of the compiled one; small where a call of another size has compiled it already.
    """

    sizes: ThetaSizes
    seconds: dict[str, float]
    first_call: float


TABLE = (ThetaSizes(4, 16, 64, 256), ThetaSizes(4, 16, 64, 16), ThetaSizes(32, 256, 256, 256), ThetaSizes(32, 256, 256, 32))


def compiling_rows(table: Sequence[ThetaSizes] = TABLE, backend: str = "inductor") -> tuple[CompilingRow, ...]:
    """Time θ both ways; sizes that differ in their rows alone share what was compiled.

    Args:
        table: sizes.
        backend: of ``torch.compile``.
    """
    rows: list[CompilingRow] = []
    made: dict[tuple[int, int, int], dict[str, Mapping]] = {}
    with empty_cache():
        for sizes in table:
            key = (sizes.dim, sizes.num_y, sizes.width)
            if key not in made:
                made[key] = _both_ways(sizes, backend)
            jobs = {name: partial(_update, mapping, _points(sizes)) for name, mapping in made[key].items()}
            first_call = seconds_of(jobs[COMPILED])
            rows.append(CompilingRow(sizes, in_turns(jobs, least=LEAST), first_call))
    return tuple(rows)


def _both_ways(sizes: ThetaSizes, backend: str) -> dict[str, Mapping]:
    mapping = AnchoredMapping(sizes.width)
    with private_randomness(0, torch.device("cpu")):
        mapping.build(MappingSpec(torch.zeros(sizes.dim), sizes.num_y, sizes.num_y))
    compiled = copy.deepcopy(mapping)
    compile_steps(compiled, backend=backend)
    return {EAGER: mapping, COMPILED: compiled}


def _points(sizes: ThetaSizes) -> Points:
    generator = torch.Generator().manual_seed(1)
    x, grad_x = torch.randn(2, sizes.batch_size, sizes.dim, generator=generator)
    target, residual = torch.randn(2, sizes.batch_size, sizes.num_y, generator=generator)
    loss = torch.rand(sizes.batch_size, generator=generator)
    context = Context(target, torch.ones_like(loss), Evaluation(x, loss, grad_x, residual))
    return Points(target, context, torch.zeros_like(x), loss)


def _update(mapping: Mapping, points: Points) -> None:
    mapping.zero_grad()
    points.reach(mapping).sum().backward()


def text(rows: Sequence[CompilingRow]) -> str:
    """The table."""
    lines = [
        "Processor milliseconds of θ in one update, forward and backward, as written and compiled",
        "",
        f"{'dim':>5} {'y':>5} {'θ width':>8} {'rows':>5} {'written':>9} {'compiled':>9} {'ratio':>6} {'first call s':>13}",
    ]
    for row in rows:
        one, other = (1e3 * row.seconds[name] for name in (EAGER, COMPILED))
        s = row.sizes
        lines.append(
            f"{s.dim:>5} {s.num_y:>5} {s.width:>8} {s.batch_size:>5} {one:>9.2f} {other:>9.2f} {other / one:>6.2f} "
            f"{row.first_call:>13.1f}"
        )
    return "\n".join(lines) + "\n"


def run_compiling(quick: bool = False) -> str:
    """What ``landscape-opt engine compiling`` prints.

    Args:
        quick: with a backend that writes no code, to see that all runs.
    """
    backend = "aot_eager" if quick else "inductor"
    reason = obstacle(backend)
    if reason is not None:
        return f"θ was not compiled: {reason}\n"
    return text(compiling_rows(TABLE[1:2] if quick else TABLE, backend))
