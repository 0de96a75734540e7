"""What one process of ``landscape-opt engine ranks`` does: a fit of its own, or a rank's part of one."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]  # its module does not name it for type checkers

from .. import checkpoint
from ..fitting import Alone, Callback, RankError, Ranks
from ..fitting.process_group import OfGroup
from ..inverter import LandscapeInverter
from ..landscape import LearnedLandscape
from ..problems import arm
from ..replay import Alternating, Replay, Streaming

NUM_ROWS = 255
"""An odd number: the two shares are unequal."""
REPLAYS: dict[str, Callable[[], Replay]] = {
    "streaming": lambda: Streaming(num_rows=NUM_ROWS),
    "alternating": lambda: Alternating(num_steps=10, updates_per_round=10, batch_size=NUM_ROWS),
}
DTYPES = {"float64": torch.float64, "float32": torch.float32}
WIDTHS = {"network": (4, 32, 8), "wide network": (4, 512, 512, 512, 512, 8)}


@dataclass(frozen=True)
class Case:
    """A fit.

    Attributes:
        model: F: a network of tanh layers with random weights, narrow or wide, or the arm.
        replay: where points come from.
        dtype: of x, F and θ.
    """

    model: str
    replay: str
    dtype: str


class _Nudged(nn.Module):
    """F times 1 + ε of its dtype."""

    def __init__(self, forward_model: nn.Module) -> None:
        super().__init__()
        self.forward_model = forward_model

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.forward_model(x)
        return found * (1.0 + torch.finfo(found.dtype).eps)


def begun(case: Case, ranks: Ranks, nudged: bool = False) -> tuple[LandscapeInverter, Tensor]:
    """The inverter of a case, and its targets."""
    kind = DTYPES[case.dtype]
    if case.model == "arm":
        problem = arm()
        assert isinstance(problem.x_init, Tensor)
        assert isinstance(problem.train, Tensor)
        assert isinstance(problem.forward_model, nn.Module)
        model, x_init, targets, loss_fn = problem.forward_model, problem.x_init, problem.train, problem.loss_fn
    else:
        model, x_init, loss_fn = _network(WIDTHS[case.model]), torch.zeros(4), _squares
        with torch.no_grad():
            targets = model(0.7 * torch.randn(2048, 4, generator=torch.Generator().manual_seed(1)))
    model = model.to(kind)
    landscape = LearnedLandscape(_Nudged(model) if nudged else model, x_init.to(kind))
    inverter = LandscapeInverter(landscape, loss_fn, replay=REPLAYS[case.replay](), batch_size=NUM_ROWS, ranks=ranks)
    return inverter, targets.to(kind)


def _squares(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().sum(1)


def _network(widths: tuple[int, ...]) -> nn.Module:
    generator, layers = torch.Generator().manual_seed(0), []
    for fan_in, fan_out in itertools.pairwise(widths):
        layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(fan_out, fan_in, generator=generator) / fan_in**0.5)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1]).requires_grad_(False)


class _TwoRounds(Callback):
    """Leaves a file once two rounds are over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_round_end(self, *, fit: Any, **context: Any) -> None:
        """For who watches from outside."""
        if fit.num_rounds_done == 2:
            self.path.touch()


def _play(arguments: list[str]) -> None:
    """What one process does; rank 0 writes what came of it."""
    folder, case = Path(arguments[0]), Case(*arguments[6:9])
    rank, size, num_rounds = map(int, arguments[1:4])
    ranks: Ranks = Alone()
    if size > 1:
        store = FileStore(str(folder / "store"), size)
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
        ranks = OfGroup(timeout=float(arguments[4]))
    inverter, targets = begun(case, ranks, nudged=arguments[5] == "1")
    callbacks = [_TwoRounds(folder / "rounds")] if rank == 1 else []
    end: dict[str, Any] = {}
    try:
        inverter.fit(targets, num_rounds=num_rounds, callbacks=callbacks, progress=False)
    except RankError as error:
        end = {"at": time.monotonic(), "said": str(error)}
    end["θ"] = dict(inverter.landscape.mapping.state_dict())
    end["seconds"] = [record.seconds for record in inverter.history]
    if rank == 0:
        checkpoint.save(folder / "end", end)


if __name__ == "__main__":
    torch.set_num_threads(1)
    _play(sys.argv[1:])
