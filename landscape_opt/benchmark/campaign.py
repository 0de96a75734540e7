"""Units of work, one after the other: what is there already is not run again, and one may stop after any of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import batches
from ..problems.problem import Problem, TargetSet
from .contestants import Group
from .entry import Preparation
from .records import UnitRecord, is_same_work, machine, place, read, versions, write
from .sets import reported_sets, validation_set
from .trial import BUDGETS, VALIDATION, Trial
from .ways import Cost, cost, opened

QUICK_BUDGETS = (0, 1, 2, 5, 10, 20)
WORK = {
    "gd": (5.0, 1.6), "momentum": (5.0, 1.6), "adam": (5.0, 1.6), "lbfgs": (2.0, 1.0), "lm": (1.5, 0.7),
    "restarts": (8.0, 1.5), "encoder": (6.0, 2.2), "nearest": (2.0, 0.8), "unrolled": (3.0, 1.5),
    "parts": (5.0, 5.0),
}  # fmt: skip
"""How many times a group inverts all validation targets, and all test targets, to the end, roughly; the others once."""
OVERHEAD = 1e-5
"""Seconds that a method takes beside an evaluation of F, roughly."""


def silent(line: str) -> None:
    """Shows nothing."""


@dataclass(frozen=True)
class Plan:
    """How large a benchmark is.

    Attributes:
        seconds: of fitting, for everyone who trains.
        budgets: evaluations.
        num_validation: targets that methods are tuned on.
        num_test: targets of every reported set, at most.
        quick: few numbers to tune.
    """

    seconds: float = 150.0
    budgets: tuple[int, ...] = BUDGETS
    num_validation: int = 128
    num_test: int = 512
    quick: bool = False

    def settings(self, group: Group) -> dict[str, Any]:
        """What the figures of a group depend on."""
        common: dict[str, Any] = {
            "budgets": list(self.budgets),
            "num_validation": self.num_validation,
            "num_test": self.num_test,
            "quick": self.quick,
        }
        return {**common, "seconds": self.seconds, "threads": torch.get_num_threads()} if group.trains else common


QUICK = Plan(2.0, QUICK_BUDGETS, 32, 48, quick=True)


@dataclass(frozen=True)
class Unit:
    """What is run, or found to be there, as a whole."""

    seed: int
    group: Group


@dataclass(frozen=True)
class Progress:
    """How far a campaign on one problem has come.

    Attributes:
        records: of all units that are done.
        num_run: units of them that were run now.
        remaining: units that are not done.
    """

    records: tuple[UnitRecord, ...] = field(repr=False)
    num_run: int
    remaining: tuple[Unit, ...]


@dataclass
class Campaign:
    """All units of one problem.

    Attributes:
        name: of the problem, in the folder of results.
        problem: F, loss and targets.
        plan: how large it is.
        folder: of the results.
        show: takes a line of text for every unit.
        again: run what is there already.
    """

    name: str
    problem: Problem
    plan: Plan
    folder: Path
    show: Callable[[str], None] = silent
    again: bool = False

    def __post_init__(self) -> None:
        self.sets = reported_sets(self.problem, self.plan.num_test)
        self.validation = validation_set(self.problem, self.plan.num_validation)
        self.facts = _facts(self.problem, {**self.sets, VALIDATION: self.validation})
        self.cost: Cost | None = None

    def run(self, units: Sequence[Unit], deadline: float | None = None, at_least_one: bool = True) -> Progress:
        """Run what is not there, in order, and stop before a unit that would probably end after the deadline.

        Args:
            units: in order.
            deadline: of ``time.monotonic()``.
            at_least_one: whether the first of them is run in any case, so that a campaign of short pieces ends.
        """
        done: list[UnitRecord] = []
        remaining: list[Unit] = []
        num_run = 0
        for unit in units:
            found = None if self.again else self._found(unit)
            if found is not None:
                done.append(found)
                continue
            late = deadline is not None and time.monotonic() + self.estimate(unit) > deadline
            if remaining or (late and not (at_least_one and num_run == 0)):
                remaining.append(unit)
                continue
            done.append(self._run(unit))
            num_run += 1
        return Progress(tuple(done), num_run, tuple(remaining))

    def estimate(self, unit: Unit) -> float:
        """Seconds that a unit will take: as another seed did, or from the cost of an evaluation."""
        for path in sorted((self.folder / self.name).glob(f"{unit.group.name}-*.json")):
            before = read(path)
            if before.settings == self.plan.settings(unit.group):
                return before.seconds
        one = self.known_cost()
        tuning, testing = WORK.get(unit.group.name, (1.0, 1.0))
        num_test = sum(batches.size(some.targets) for some in self.sets.values())
        rows = tuning * self.plan.num_validation + testing * num_test
        seconds = (one.seconds + OVERHEAD) * max(self.plan.budgets) * rows / torch.get_num_threads()
        return seconds + (self.plan.seconds if unit.group.trains else 0.0)

    def missing(self, units: Iterable[Unit]) -> list[Unit]:
        """The units that are not there."""
        return [unit for unit in units if self.again or self._found(unit) is None]

    def _found(self, unit: Unit) -> UnitRecord | None:
        path = self.folder / place(self.name, unit.group.name, unit.seed)
        if not path.exists():
            return None
        record = read(path)
        return record if is_same_work(record, self.plan.settings(unit.group), self.facts) else None

    def _run(self, unit: Unit) -> UnitRecord:
        began = time.monotonic()
        preparation = Preparation(self.problem, unit.seed, self.plan.seconds, self.plan.quick)
        entry = unit.group.prepare(preparation)
        at_start = {name: losses["median"] for name, losses in self.facts["start"].items()}
        piece_size = self.known_cost().piece_size
        trial = Trial(self.problem, self.validation, self.sets, at_start, self.plan.budgets, piece_size)
        record = UnitRecord(
            problem=self.name,
            seed=unit.seed,
            group=unit.group.name,
            settings=self.plan.settings(unit.group),
            versions=versions(),
            machine=machine(),
            facts=self.facts,
            about=_about(self.problem, self.known_cost()),
            methods=() if entry is None else trial.run(entry),
            seconds=time.monotonic() - began,
        )
        record = read(write(record, self.folder))  # as it will be found again, rounded
        what = "not for this problem" if entry is None else f"{record.seconds:.0f} s"
        self.show(f"{self.name}, seed {unit.seed}, {unit.group.name}: {what}")
        return record

    def known_cost(self) -> Cost:
        """What an evaluation costs, timed once."""
        self.cost = cost(self.problem) if self.cost is None else self.cost
        return self.cost


def units_of(groups: Sequence[Group], seeds: Sequence[int], once: Sequence[str] = ()) -> tuple[Unit, ...]:
    """Seed by seed; what does not train is run once, as seed 0.

    Args:
        groups: of methods.
        seeds: of fitting.
        once: names of groups that train with the first seed alone, which then stands for all.

    Example:
        >>> from landscape_opt.benchmark.contestants import groups_named
        >>> [(unit.seed, unit.group.name) for unit in units_of(groups_named(("gd", "affine")), (0, 1))]
        [(0, 'gd'), (0, 'affine'), (1, 'affine')]
    """
    return tuple(
        Unit(seed if group.trains else 0, group)
        for number, seed in enumerate(seeds)
        for group in groups
        if number == 0 or (group.trains and group.name not in once)
    )


def _facts(problem: Problem, sets: dict[str, TargetSet]) -> dict[str, Any]:
    start = {}
    for name, some in sets.items():
        with opened(problem, some) as (objective, target):
            loss = objective.read(objective.layout.start(batches.size(some.targets)), target).loss
        start[name] = {"median": float(loss.median()), "mean": float(loss.mean())}
    sizes = {name: batches.size(some.targets) for name, some in sets.items()}
    return {"dim": problem.dim, "num_train": batches.size(problem.train), "sizes": sizes, "start": start}


def _about(problem: Problem, one: Cost) -> dict[str, Any]:
    metric = problem.metric
    return {
        "hard_because": problem.hard_because,
        "metric": None if metric is None else {"name": metric.name, "unit": metric.unit},
        "described_as": {name: some.described_as for name, some in problem.test_sets().items()},
        "seconds_of_an_evaluation": one.seconds,
    }
