"""One way of inverting, with nothing left to choose, on any set of targets; all go through the package's one loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..guest import frozen, private_randomness
from ..inversion import Request
from ..inverter import LandscapeInverter
from ..layout import Layout, X
from ..objective import Objective
from ..problems.problem import Problem, TargetSet
from ..results import to_budget
from .pool import side_by_side
from .rivals import Curves, Rival
from .sets import first, hidden, pieces

Begin: TypeAlias = Callable[[TargetSet], X]
"""Where a descent begins: x (B, …) in the format of ``x_init``."""
PIECE_SIZES = (128, 256, 512)
WORTH_IT = 0.85
"""Larger pieces are taken where they cost less than this share: small ones share the cores better."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a set of targets.

    Attributes:
        best: lowest loss so far after k evaluations, (K + 1, B).
        x: of the lowest, in the format of ``x_init``.
        prediction: F(x).
    """

    best: Tensor = field(repr=False)
    x: Any = field(repr=False)
    prediction: Any = field(repr=False)


class Invert(Protocol):
    """Inverts a set of targets."""

    def __call__(self, some: TargetSet, most: int, enough: float | None = None, /) -> Outcome:
        """So many evaluations at most.

        Args:
            some: the targets.
            most: evaluations of each.
            enough: a loss at which a target is done with; None goes on to the end.
        """


@dataclass(frozen=True, eq=False)
class Way:
    """A method with all of its numbers set.

    Attributes:
        name: as in a report.
        invert: as it does.
    """

    name: str
    invert: Invert = field(repr=False)


def by_inverter(name: str, inverter: LandscapeInverter, **options: Any) -> Way:
    """The public verb, with its defaults but for ``options``."""

    def invert(some: TargetSet, most: int, enough: float | None = None, /) -> Outcome:
        asked: Any = {"observed": some.observed, "extra_terms": some.extra_terms, "target_loss": enough, **options}
        result = inverter.invert(hidden(some), most, **asked)
        return Outcome(to_budget(result.history.best, most), result.x, result.prediction)

    return Way(name, invert)


def in_x(rival: Rival, problem: Problem, begin: Begin | None = None) -> Way:
    """A method in X, from the plain start or from where ``begin`` says."""
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)

    def invert(some: TargetSet, most: int, enough: float | None = None, /) -> Outcome:
        solver = rival.make_solver(inverter.landscape)
        options: dict[str, Any] = {"solver": solver, "allow_unfitted": True}
        if begin is not None:
            options["warm_start"] = begin(some)
        return by_inverter(rival.name, inverter, **options).invert(some, most, enough)

    return Way(rival.name, invert)


def answer_alone(name: str, problem: Problem, begin: Begin) -> Way:
    """An answer that no evaluation improves: the same at every budget."""
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)

    def invert(some: TargetSet, most: int, enough: float | None = None, /) -> Outcome:  # noqa: ARG001  # one signature for all
        at_start = by_inverter(name, inverter, warm_start=begin(some), allow_unfitted=True).invert(some, 0)
        return Outcome(to_budget(at_start.best, most), at_start.x, at_start.prediction)

    return Way(name, invert)


@contextmanager
def opened(problem: Problem, some: TargetSet, most: int = 0) -> Iterator[tuple[Objective, Batch]]:
    """What is minimised on a set, and its targets as the objective takes them."""
    request = Request(most, observed=some.observed, extra_terms=some.extra_terms)
    layout = Layout(problem.x_init)
    with frozen(problem.forward_model) as forward_model, frozen(problem.loss_fn) as loss_fn:
        objective = Objective(forward_model, loss_fn, layout, problem.given, request.terms(layout))
        yield objective, request.bundled(hidden(some))


@dataclass(frozen=True, eq=False)
class Task:
    """Targets to invert.

    Attributes:
        some: the targets.
        enough: a loss at which one of them is done with.
    """

    some: TargetSet = field(repr=False)
    enough: float | None = None


def curves(
    ways: Sequence[Way], lengths: Sequence[int], problem: Problem, tasks: Sequence[Task], piece_size: int
) -> list[tuple[Curves, ...]]:
    """Every way's best losses up to its length, task by task: ways, tasks and pieces of targets side by side.

    Args:
        ways: to run.
        lengths: evaluations, of each.
        problem: whose F stays frozen meanwhile.
        tasks: sets of targets.
        piece_size: rows that go through F together.
    """

    def one(way: Way, length: int, part: TargetSet, enough: float | None) -> Tensor:
        return way.invert(part, length, enough).best

    parts = [pieces(task.some, piece_size) for task in tasks]
    jobs = [
        [partial(one, way, length, part, task.enough) for part in some]
        for task, some in zip(tasks, parts, strict=True)
        for way, length in zip(ways, lengths, strict=True)
    ]
    # Both are restored once all jobs are done: what jobs restore in turn may be what another has set.
    with frozen(problem.forward_model), frozen(problem.loss_fn), private_randomness(0, torch.device("cpu")):
        found = iter(side_by_side([job for together in jobs for job in together]))
    joined = iter([torch.cat([next(found) for _ in together], dim=1) for together in jobs])
    return [tuple(Curves(way.name, next(joined)) for way in ways) for _ in tasks]


@dataclass(frozen=True)
class Cost:
    """What an evaluation costs in plain gradient descent.

    Attributes:
        piece_size: rows at a time at which it is cheapest.
        seconds: of one evaluation of one row, on one thread.
    """

    piece_size: int
    seconds: float


def cost(problem: Problem) -> Cost:
    """Time an evaluation of F at some batch sizes."""
    whole, num_threads = TargetSet(targets=problem.validation), torch.get_num_threads()
    seconds = {}
    try:
        torch.set_num_threads(1)
        for size in PIECE_SIZES:
            some = first(whole, size)
            with opened(problem, some) as (objective, target):
                rows = batches.size(some.targets)
                x = objective.layout.start(rows)
                objective.evaluate(x, target)
                began = time.perf_counter()
                objective.evaluate(x, target)
                seconds[size] = (time.perf_counter() - began) / rows
    finally:
        torch.set_num_threads(num_threads)
    best = PIECE_SIZES[0]
    for size in PIECE_SIZES[1:]:
        best = size if seconds[size] < WORTH_IT * seconds[best] else best
    return Cost(best, seconds[best])
