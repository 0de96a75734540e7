"""What one of several ranks does in the tests of distribution: run as a script, it leaves what it found in a folder."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.fitting import RankError
from landscape_opt.fitting.process_group import OfGroup
from landscape_opt.mappings import AnchoredMapping
from landscape_opt.replay import Alternating, Streaming
from landscape_opt.theta_objective import DistanceToEnd

FOLDER = Path(sys.argv[1]) if __name__ == "__main__" else Path()
NUM_ROUNDS = 3
TIMEOUT = 6.0


def squares(prediction, target):
    return (prediction - target).square().sum(1)


def network(dtype=torch.float64):
    """F: 4 numbers to 8, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 8)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) / weight.shape[-1] ** 0.5)
    return model.to(dtype).requires_grad_(False)


def some_targets(count=96, dtype=torch.float64):
    x = 0.7 * torch.randn(count, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return network()(x).to(dtype)


def begun(replay, dtype=torch.float64, model=None, **settings):
    """A fresh inverter; 25 rows a round, so that two ranks take unequal shares."""
    kinds = {
        "streaming": lambda: Streaming(num_rows=25, updates_per_round=4),
        "alternating": lambda: Alternating(num_steps=4, updates_per_round=4, batch_size=25),
        "distance": lambda: Alternating(num_steps=4, updates_per_round=4, batch_size=25),
    }
    if replay == "distance":
        settings["theta_objective"] = DistanceToEnd()
    # The width follows the cost of F, to which the collectives of a sharded one would be added: it is set here.
    landscape = LearnedLandscape(model or network(dtype), torch.zeros(4, dtype=dtype), AnchoredMapping(width=64))
    return LandscapeInverter(landscape, squares, replay=kinds[replay](), batch_size=25, **{"seed": 0, **settings})


def fitted(replay, dtype=torch.float64, model=None, targets=None, **settings):
    targets = some_targets(dtype=dtype) if targets is None else targets
    return begun(replay, dtype, model, **settings).fit(targets, num_rounds=NUM_ROUNDS, progress=False)


def theta(inverter):
    return {name: value.clone() for name, value in inverter.landscape.mapping.state_dict().items()}


def answers(inverter, **request):
    """An inversion of eleven targets, as plain Tensors."""
    found = inverter.invert(some_targets(107)[96:].to(inverter.landscape.layout.dtype), 12, **request)
    parts = {name: getattr(found, name) for name in ("x", "z", "prediction", "loss", "status", "num_evaluations")}
    return {**parts, "history": found.history.loss, "in_x": found.history.in_x, "best": found.history.best}


REQUESTS = {
    "plain": {},
    "uneven": {"target_loss": 1e-4, "patience": 5},
    "masked": {"observed": (torch.arange(8) % 3 != 0).expand(11, 8)},
    "warm": {"warm_start": torch.linspace(-1, 1, 44, dtype=torch.float64).reshape(11, 4), "max_batch_size": 3},
    "several": {"num_hypotheses": 3},
    "gradient": {"differentiable": "implicit"},
}


def kinds_of_fit():
    return {
        **{kind: partial(fitted, kind) for kind in ("streaming", "alternating", "distance")},
        "float32": partial(fitted, "streaming", torch.float32),
        "one row": partial(fitted, "streaming", targets=some_targets()[:1]),
    }


def together(rank):
    """All that two ranks do in peace."""
    found = {"fits": {}, "evaluations": {}, "seconds": {}, "answers": {}}
    for name, fit in kinds_of_fit().items():
        inverter = fit()
        found["fits"][name] = theta(inverter)
        found["evaluations"][name] = [record.num_evaluations for record in inverter.history]
        found["seconds"][name] = [record.seconds for record in inverter.history]
        if name == "streaming":
            found["answers"] = {request: answers(inverter, **REQUESTS[request]) for request in REQUESTS}
            found["single"] = inverter.invert(some_targets()[:1], 5).x  # fewer rows than ranks
            found["first"] = inverter.ranks.is_first
    return found


def refused(rank):
    """What is not the same on all ranks, and the message."""
    said = {}

    def attempt(name, do):
        try:
            do()
        except ValueError as error:
            said[name] = str(error)

    attempt("seed", lambda: fitted("streaming", seed=rank))
    attempt("targets", lambda: fitted("streaming", targets=some_targets()[rank:]))
    attempt("doing", lambda: fitted("streaming") if rank else begun("streaming").invert(some_targets(), allow_unfitted=True))
    attempt("bad", lambda: fitted("streaming", targets=some_targets() * torch.nan))
    said["after"] = str(fitted("streaming").num_updates)  # they are still together
    return said


def sharded(rank):
    """F spread over the ranks by FSDP2, and F in a wrapper of DDP."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    found = {}
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = network()
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    inverter = fitted("alternating", model=model)
    found["fsdp"] = theta(inverter)
    found["fsdp answers"] = answers(inverter, max_seconds=60.0)
    wrapped = network().requires_grad_(True)
    wrapped.register_buffer("counts", torch.zeros(3))  # which DDP would broadcast in every forward
    inverter = fitted("streaming", model=torch.nn.parallel.DistributedDataParallel(wrapped))
    found["ddp"] = theta(inverter)
    found["ddp answers"] = answers(inverter)
    return found


def with_accelerate(rank):
    """A loop of the user's own, with F and θ's optimizer as accelerate prepares them."""
    from accelerate import Accelerator

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(dist.get_world_size()))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")  # looked for, and not used: there is a group already
    accelerator = Accelerator(cpu=True)
    inverter = begun("streaming", model=accelerator.prepare(network().requires_grad_(True)))
    in_own_loop(inverter, accelerator.prepare, accelerator.backward)
    return {"θ": theta(inverter), "is DDP": str(type(inverter.landscape.forward_model).__name__)}


def in_own_loop(inverter, prepare=lambda optimizer: optimizer, backward=None):
    parts = some_targets()[:75].split(25)
    optimizer = prepare(torch.optim.AdamW(inverter.prepare(parts[0]).parameters(), lr=1e-3))
    for part in parts:
        inverter.step(part, optimizer=optimizer, backward=backward)


class Failing(torch.nn.Module):
    """F that does something to its process after so many calls."""

    def __init__(self, calls, what):
        super().__init__()
        self.inner, self.left, self.what = network(), [calls], what

    def forward(self, x):
        self.left[0] -= 1
        if self.left[0] == 0:
            self.what()
        return self.inner(x)


def failing(rank, what):
    """Rank 1 fails in the middle of a fit; returns what rank 0 is told, and after how many seconds."""
    happened = time.monotonic()

    def fail():
        nonlocal happened
        happened = time.monotonic()
        if rank == 1:
            what()

    model = Failing(20, fail)
    ranks = OfGroup(timeout=TIMEOUT)
    try:
        fitted("streaming", model=model, ranks=ranks)
    except (RankError, KeyboardInterrupt) as error:
        return {"error": type(error).__name__, "said": str(error), "seconds": time.monotonic() - happened}
    return {"error": "none"}


def wait_until_given_up():
    while not (FOLDER / "slow-0.pt").exists():
        time.sleep(0.1)


def interrupt():
    raise KeyboardInterrupt


SCENES = {
    "together": together,
    "refused": refused,
    "sharded": sharded,
    "with_accelerate": with_accelerate,
    "slow": lambda rank: failing(rank, wait_until_given_up),
    "interrupted": lambda rank: failing(rank, interrupt),
    "killed": lambda rank: failing(rank, lambda: os.kill(os.getpid(), signal.SIGKILL)),
}


def main(rank, size, scenes):
    torch.set_num_threads(1)
    store = dist.FileStore(str(FOLDER / f"store-{scenes}"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    for scene in scenes.split(","):
        before = time.process_time()
        torch.save(SCENES[scene](rank), FOLDER / f"{scene}-{rank}.pt")
        print(scene, rank, round(time.process_time() - before, 2), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
