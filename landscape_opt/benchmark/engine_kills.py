"""Fits that are killed at random instants and resumed, beside one that was left alone."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..checkpoint import load
from ..fingerprints import of_callable
from ..fitting import Checkpoints, Validation
from ..fitting.run_folder import LAST
from ..inverter import LandscapeInverter
from ..problems import arm
from .campaign import silent

NUM_ROUNDS = 20
ENDED = "ended"
"""The file in which a fit leaves the hash of its end."""


@dataclass(frozen=True)
class Kill:
    """A fit that was killed once.

    Attributes:
        seed: of the instant.
        seconds: between its first state and its end by SIGKILL.
        rounds: that the checkpoint it left had behind it.
        is_same: whether the resumed fit ended bit for bit as the one that was left alone.
    """

    seed: int
    seconds: float
    rounds: int
    is_same: bool


@dataclass(frozen=True)
class KillReport:
    """What came of all.

    Attributes:
        text: the sum of it; the lines of the kills were shown one by one.
        kills: one by one.
    """

    text: str
    kills: tuple[Kill, ...]


def fit_in(folder: Path, num_rounds: int = NUM_ROUNDS) -> str:
    """The fit that is killed: the arm, a checkpoint after every round; returns a hash of all that it ended with."""
    problem = arm()
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, batch_size=32)
    validation = Validation(problem.validation[:32], budgets=(1, 5), every=4)
    checkpoint = Checkpoints(folder, every_seconds=0.0)
    inverter.fit(problem.train, num_rounds=num_rounds, validation=validation, checkpoint=checkpoint, progress=False)
    state = inverter.state_dict()
    for record in state["history"]:
        del record["seconds"]  # all else is to be the same, to the last bit
    end = of_callable(state_of(state))
    (folder / ENDED).write_text(end)
    return end


def state_of(part: object) -> object:
    """A state whose lists of records are text: hashes look no deeper than a few levels."""
    if isinstance(part, dict):
        return {str(key): state_of(value) for key, value in part.items()}
    if isinstance(part, list):
        return repr(part)
    return part


def run_kills(
    num_kills: int = 20, first_seed: int = 0, num_rounds: int = NUM_ROUNDS, show: Callable[[str], None] = silent
) -> KillReport:
    """Kill fits with SIGKILL, each once, at an instant that is random in its life; resume them, and compare.

    Args:
        num_kills: fits.
        first_seed: of the first instant; the others count on.
        num_rounds: of each fit.
        show: takes a line for every fit.
    """
    with tempfile.TemporaryDirectory() as place:
        alone = _begun(Path(place) / "alone", num_rounds)
        began = time.monotonic()
        alone.wait()
        life = time.monotonic() - began
        wanted = (Path(place) / "alone" / ENDED).read_text()
        kills = []
        for seed in range(first_seed, first_seed + num_kills):
            kills.append(_killed(Path(place) / str(seed), seed, life, num_rounds, wanted))
            show(_line(kills[-1]))
    same = sum(kill.is_same for kill in kills)
    text = (
        f"A fit of {num_rounds} rounds in {life:.1f} s, killed at a random instant and resumed.\n"
        + f"{same} of {len(kills)} ended bit for bit as the fit that was left alone.\n"
    )
    return KillReport(text, tuple(kills))


def _killed(folder: Path, seed: int, life: float, num_rounds: int, wanted: str) -> Kill:
    draw = random.Random(seed)
    while True:  # a process may end before its instant: then it is begun anew, with another
        seconds = draw.uniform(0.0, life)
        process = _begun(folder, num_rounds)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            break
        shutil.rmtree(folder)
    rounds = int(load(folder / LAST)["fit"]["state"]["num_rounds_done"])
    _process(folder, num_rounds).wait()
    return Kill(seed, seconds, rounds, (folder / ENDED).exists() and (folder / ENDED).read_text() == wanted)


def _begun(folder: Path, num_rounds: int) -> subprocess.Popen[bytes]:
    """A process whose fit has written its first state."""
    process = _process(folder, num_rounds)
    while not (folder / LAST).exists() and process.poll() is None:
        time.sleep(0.01)
    return process


def _process(folder: Path, num_rounds: int) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen([sys.executable, "-m", __name__, str(folder), str(num_rounds)])


def _line(kill: Kill) -> str:
    end = "the same" if kill.is_same else "ANOTHER END"
    return f"seed {kill.seed:3d}: killed after {kill.seconds:5.2f} s, {kill.rounds:2d} rounds written, resumed: {end}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit_in(Path(sys.argv[1]), int(sys.argv[2]))
