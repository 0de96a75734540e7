"""Processor times of several jobs that take turns: other work on the machine hardly adds to them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeAlias, TypeVar

Job: TypeAlias = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)
LEAST = 0.01
"""Seconds that a job is repeated for, at least: shorter ones say more of the clock than of the job."""


def processor_seconds() -> float:
    """Of this process and all of its threads so far, and of the processes that it has waited for, compilers among them.

    On one thread and a quiet machine they are the seconds of a clock; where others use the machine too, a clock goes on.
    """
    done = os.times()
    return time.process_time() + done.children_user + done.children_system


def seconds_of(job: Job, num_calls: int = 1) -> float:
    """Processor time of one call, the mean of so many in a row."""
    began = processor_seconds()
    for _ in range(num_calls):
        job()
    return (processor_seconds() - began) / num_calls


def enough_calls(job: Job, least: float = LEAST) -> int:
    """Calls in a row that take about ``least`` seconds, after a warm-up."""
    job()
    return max(1, math.ceil(least / max(seconds_of(job), 1e-7)))


def in_turns(jobs: Mapping[Name, Job], repeats: int = 3, least: float = LEAST) -> dict[Name, float]:
    """Processor seconds of one call of each job, in the fastest of its turns: what disturbs a turn only adds to it.

    Args:
        jobs: by name.
        repeats: turns of each.
        least: seconds of a turn, about.

    Example:
        >>> taken = in_turns({"a": lambda: sum(range(10)), "b": lambda: sum(range(100_000))}, least=1e-3)
        >>> sorted(taken)
        ['a', 'b']
    """
    calls = {name: enough_calls(job, least) for name, job in jobs.items()}
    turns = [{name: seconds_of(job, calls[name]) for name, job in jobs.items()} for _ in range(repeats)]
    return {name: min(turn[name] for turn in turns) for name in jobs}
