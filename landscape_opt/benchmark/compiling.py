"""What an evaluation costs, of F alone and of an inversion with all around it, as written and compiled."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch

from ..inverter import LandscapeInverter
from ..landscape import LearnedLandscape
from ..objective import ForwardModel
from ..problems.problem import Problem, TargetSet
from .sets import cycled
from .turns import Job, in_turns, seconds_of
from .ways import opened

NUM_EVALUATIONS = 10
"""Of every inversion that is timed."""
EAGER, COMPILED = "as written", "compiled"


@dataclass(frozen=True)
class EvaluationCost:
    """Processor seconds of one evaluation of one row, by how F is called.

    Attributes:
        batch_size: rows that go through F together.
        alone: of F alone, forward and backward.
        inverting: of ``invert`` on the default path: θ, bookkeeping, look-ups and F.
    """

    batch_size: int
    alone: dict[str, float]
    inverting: dict[str, float]


@dataclass(frozen=True)
class ProblemCost:
    """Costs of a problem.

    Attributes:
        problem: its name.
        costs: one for every batch size.
        first_calls: processor seconds of the first calls at all batch sizes, by how F is called: those that compile.
    """

    problem: str
    costs: tuple[EvaluationCost, ...]
    first_calls: dict[str, float]


def obstacle(backend: str) -> str | None:
    """Why ``torch.compile`` cannot be measured on this machine; None if it can.

    Args:
        backend: of ``torch.compile``.
    """
    if backend == "inductor" and shutil.which(os.environ.get("CXX", "g++")) is None:
        return "there is no C++ compiler (g++, or what CXX names) on this machine"
    try:
        with warnings.catch_warnings():
            # What the first call imports uses torch.jit, of which torch warns.
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
            torch.compile(torch.sin, backend=backend)(torch.zeros(2))
    except Exception as error:  # of whatever kind: a compiler without headers, a folder that cannot be written
        return f"torch.compile failed on this machine: {next(iter(str(error).splitlines()), type(error).__name__)}"
    return None


@contextmanager
def empty_cache() -> Iterator[None]:
    """Nothing is there that was compiled before, and nothing stays."""
    name, before = "TORCHINDUCTOR_CACHE_DIR", os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        torch.compiler.reset()
        try:
            yield
        finally:
            torch.compiler.reset()
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


def evaluation_costs(problem: Problem, batch_sizes: Sequence[int], num_rounds: int, backend: str | None) -> ProblemCost:
    """Fit F as it is written, and time its evaluations.

    Args:
        problem: to fit.
        batch_sizes: rows that go through F together.
        num_rounds: of the fit; more do not change what an evaluation costs.
        backend: of ``torch.compile``; None compiles nothing.
    """
    eager = LandscapeInverter(problem.landscape(), problem.loss_fn)
    eager.fit(problem.train, num_rounds=num_rounds, progress=False)
    inverters = {EAGER: eager}
    if backend is not None:
        inverters[COMPILED] = again(problem, eager, torch.compile(problem.forward_model, backend=backend))
    with empty_cache():
        first_calls = {
            name: sum(_first(problem, inverter, size) for size in batch_sizes) for name, inverter in inverters.items()
        }
        costs = tuple(_timed(problem, inverters, size) for size in batch_sizes)
    return ProblemCost(problem.name, costs, first_calls)


def again(problem: Problem, fitted: LandscapeInverter, forward_model: ForwardModel) -> LandscapeInverter:
    """What was fitted, with F in another form."""
    mapping = copy.deepcopy(fitted.landscape.mapping)
    landscape = LearnedLandscape(forward_model, problem.x_init, mapping, problem.given)
    return LandscapeInverter(landscape, problem.loss_fn, memory=fitted.memory)


def _jobs(problem: Problem, inverter: LandscapeInverter, size: int, within: ExitStack) -> dict[str, Job]:
    """An evaluation of F alone, and an inversion."""
    targets = cycled(problem.test, size)
    same = replace(problem, forward_model=inverter.landscape.forward_model)
    objective, target = within.enter_context(opened(same, TargetSet(targets=targets)))
    x = objective.layout.start(size)
    return {
        "alone": partial(objective.evaluate, x, target),
        "inverting": partial(inverter.invert, targets, NUM_EVALUATIONS),
    }


def _first(problem: Problem, inverter: LandscapeInverter, size: int) -> float:
    with ExitStack() as within:
        return sum(seconds_of(job) for job in _jobs(problem, inverter, size, within).values())


def _timed(problem: Problem, inverters: dict[str, LandscapeInverter], size: int) -> EvaluationCost:
    with ExitStack() as within:
        jobs = {
            (what, name): job
            for name, inverter in inverters.items()
            for what, job in _jobs(problem, inverter, size, within).items()
        }
        seconds = in_turns(jobs)
    alone = {name: seconds["alone", name] / size for name in inverters}
    inverting = {name: seconds["inverting", name] / (size * NUM_EVALUATIONS) for name in inverters}
    return EvaluationCost(size, alone, inverting)
