"""Two processes that fit and invert together, beside one that does it alone; and what happens when one of them is lost.

What each rank does is in ``ranks_worker.py``. The processes are started once: to import torch is most of what they do.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest
import ranks_worker as worker
import torch

from landscape_opt.fitting import Alone, Ranks, ranks_of
from landscape_opt.fitting.packed_rows import packed, unpacked
from landscape_opt.fitting.parting import described
from landscape_opt.fitting.shared_objective import is_sharded

HERE = pathlib.Path(__file__).parent
SIZE = 2
DOUBLE, SINGLE = 1e-6, 1e-4
"""Relative differences of θ. 1e-6 is what is promised, of float64; in float32 the order of summing shows."""


class Launch:
    """Some scenes played by two processes, which go on while this one does the same alone."""

    def __init__(self, folder, scenes):
        self.folder = folder
        paths = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        script = [sys.executable, "-W", "error", str(HERE / "ranks_worker.py"), str(folder)]
        self.processes = [
            subprocess.Popen([*script, str(rank), str(SIZE), scenes], env=settings, stderr=subprocess.PIPE, text=True)
            for rank in range(SIZE)
        ]
        self.said = []

    def end(self):
        """Wait until all have ended."""
        if not self.said:
            self.said = [process.communicate(timeout=500)[1] for process in self.processes]

    def of(self, scene, rank=0):
        """What a rank left."""
        self.end()
        path = self.folder / f"{scene}-{rank}.pt"
        assert path.exists(), "\n".join(self.said)
        return torch.load(path)


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    scenes = ["together", "refused", "sharded", "slow", "interrupted", "killed"]
    if importlib.util.find_spec("accelerate"):
        scenes.insert(3, "with_accelerate")
    launch = Launch(tmp_path_factory.mktemp("ranks"), ",".join(scenes))
    yield launch
    launch.end()


@pytest.fixture(scope="module")
def alone(launch):
    """The same fits by this process, which has as many rows in its batch as the two have together."""
    return {name: fit() for name, fit in worker.kinds_of_fit().items()}


def difference(found, wanted):
    """The largest relative difference of any tensor of θ."""
    assert found.keys() == wanted.keys()
    return max(
        float((found[name] - value).abs().max() / value.abs().max().clamp_min(1e-30)) for name, value in wanted.items()
    )


@pytest.mark.parametrize("kind", list(worker.kinds_of_fit()))
def test_two_ranks_fit_as_one_process(launch, alone, kind):
    mine, theirs = worker.theta(alone[kind]), [launch.of("together", rank)["fits"][kind] for rank in range(SIZE)]
    assert all(torch.equal(theirs[0][name], theirs[1][name]) for name in mine)  # bit for bit the same on both
    assert difference(theirs[0], mine) < (SINGLE if kind == "float32" else DOUBLE)


def test_rows_are_counted_as_by_one_process(launch, alone):
    for kind in ("streaming", "alternating", "one row"):
        theirs, mine = launch.of("together")["evaluations"][kind], alone[kind].history
        assert theirs[1:] == [record.num_evaluations for record in mine[1:]]  # the first calibrates, to rounding


def test_clocks_are_those_of_rank_0(launch):
    assert launch.of("together", 0)["seconds"] == launch.of("together", 1)["seconds"]
    assert [launch.of("together", rank)["first"] for rank in range(SIZE)] == [True, False]


def compare_answers(theirs, mine):
    assert theirs.keys() == mine.keys()
    for name, value in mine.items():
        assert theirs[name].shape == value.shape, name
        assert torch.allclose(theirs[name].double(), value.double(), rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("request_name", list(worker.REQUESTS))
def test_two_ranks_invert_as_one_process(launch, alone, request_name):
    mine = worker.answers(alone["streaming"], **worker.REQUESTS[request_name])
    for rank in range(SIZE):
        compare_answers(launch.of("together", rank)["answers"][request_name], mine)


def test_fewer_targets_than_ranks(launch, alone):
    mine = alone["streaming"].invert(worker.some_targets()[:1], 5)
    assert torch.allclose(launch.of("together", 1)["single"], mine.x, rtol=1e-6)


def test_ranks_that_differ_are_refused_and_stay_together(launch):
    for rank in range(SIZE):
        said = launch.of("refused", rank)
        assert "seed: 0 on rank 0, 1 on rank 1" in said["seed"]
        assert "targets" not in said["seed"].split("Give all")[0]
        assert "targets: " in said["targets"]
        assert "on rank 1" in said["targets"]
        assert "doing: an inversion on rank 0, a fit on rank 1" in said["doing"]
        assert "NaN or infinity in 25 of 25 rows" in said["bad"]
        assert said["after"] == str(worker.NUM_ROUNDS * 4)


def test_f_may_be_sharded_over_the_ranks(launch, alone):
    assert difference(launch.of("sharded")["fsdp"], worker.theta(alone["alternating"])) < DOUBLE


def test_inversions_with_a_sharded_f(launch, alone):
    for rank in range(SIZE):
        compare_answers(launch.of("sharded", rank)["fsdp answers"], worker.answers(alone["alternating"]))


def test_f_in_a_wrapper_of_ddp(launch, alone):
    assert difference(launch.of("sharded")["ddp"], worker.theta(alone["streaming"])) < DOUBLE
    compare_answers(launch.of("sharded")["ddp answers"], worker.answers(alone["streaming"]))


def test_accelerate(launch):
    pytest.importorskip("accelerate")
    mine = worker.begun("streaming")
    worker.in_own_loop(mine)
    assert launch.of("with_accelerate")["is DDP"] == "DistributedDataParallel"
    assert difference(launch.of("with_accelerate")["θ"], worker.theta(mine)) < DOUBLE


def test_a_slow_rank_ends_in_an_error_within_the_time_out(launch):
    slow = launch.of("slow")
    assert slow["error"] == "RankError"
    assert slow["said"].startswith("rank 1 does not answer (it has ended, hangs, or is too slow). Rank 0 waited")
    assert slow["seconds"] < worker.TIMEOUT + 2.0  # the point of a time-out; two seconds for a machine that is busy
    assert launch.of("slow", 1)["error"] == "RankError"  # also for the rank that woke too late


def test_an_interrupted_rank_ends_the_others(launch):
    assert launch.of("interrupted", 1)["error"] == "KeyboardInterrupt"
    assert launch.of("interrupted")["error"] == "RankError"
    assert launch.of("interrupted")["said"].startswith("rank 1 left the fit with KeyboardInterrupt.")


def test_a_killed_rank_ends_the_other_in_an_error(launch):
    killed = launch.of("killed")
    assert killed["error"] == "RankError"
    assert killed["said"].startswith("rank 1 does not answer")
    assert killed["seconds"] < worker.TIMEOUT  # at once, in fact: the connection is closed
    assert [process.returncode for process in launch.processes] == [0, -9]


@pytest.mark.slow
def test_the_example_runs_under_torchrun_and_resumes(tmp_path):
    script = str(HERE.parent / "examples" / "fit_on_many_ranks.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(SIZE), script]
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    for rounds in (2, 3):
        command = [*torchrun, str(tmp_path / "run"), "--rounds", str(rounds)]
        ended = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=500, check=False)
        assert ended.returncode == 0, ended.stderr
        assert f"2 ranks, {rounds} rounds, median loss of 512 targets" in ended.stdout
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"last.landscape"}


def test_one_process_pays_nothing():
    alone, batch = ranks_of(), {"a": torch.ones(3, 2)}
    assert isinstance(alone, Alone)
    assert alone.share(batch) is batch
    assert alone.gathered(batch, 3) is batch
    assert alone.summed([batch["a"]])[0] is batch["a"]
    alone.same(lambda: pytest.fail("nobody to compare with"))
    assert not is_sharded(worker.network())


class OneOfFive(Alone):
    """A rank of five, for its arithmetic."""

    size = 5

    def __init__(self, rank):
        self.rank = rank


@pytest.mark.parametrize("num_rows", [1, 3, 4, 5, 6, 12, 13])
def test_every_row_is_somebodys_and_nobody_goes_without(num_rows):
    ranks: list[Ranks] = [OneOfFive(rank) for rank in range(5)]
    taken = [rank.rows(num_rows) for rank in ranks]
    assert all(len(rows) >= 1 for rows in taken)
    owned = torch.cat([rows for rank, rows in zip(ranks, taken, strict=True) if not rank.is_spare(num_rows)])
    assert torch.equal(owned, torch.arange(num_rows))
    assert max(map(len, taken)) <= -(-num_rows // 5)


def test_rows_travel_bit_for_bit():
    parts = (
        torch.tensor([[True], [False]]),
        {"half": torch.randn(2, 3).half(), "none": torch.zeros(2, 0), "one": torch.tensor([3, -(2**40)])},
        torch.tensor([[torch.nan, -0.0], [torch.inf, 5e-324]], dtype=torch.float64),
        torch.randn(2, 1, 2, dtype=torch.complex64),
    )
    message = packed(parts, 5)
    assert message.shape[0] == 5
    for found, wanted in zip(leaves_of(unpacked(message[:2], parts)), leaves_of(parts), strict=True):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert torch.equal(found.contiguous().view(torch.uint8), wanted.contiguous().view(torch.uint8))


def leaves_of(parts):
    first, middle, third, last = parts
    return [first, *middle.values(), third, last]


def test_what_is_said_of_those_who_are_lost():
    assert described({0: None, 2: ""}) == "rank 0 does not answer (it has ended, hangs, or is too slow)"
    assert described({0: None, 1: None}).startswith("ranks 0, 1 do not answer")
    assert described({0: "left the fit with OSError: full"}) == "rank 0 left the fit with OSError: full"
    assert described({0: ""}) == "all others answer now, but one of them came too late"
