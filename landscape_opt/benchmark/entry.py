"""A group of methods that is ready to invert, and what it may know before."""

from __future__ import annotations

from dataclasses import dataclass

from ..problems.problem import Problem
from .grids import Family


@dataclass(frozen=True, eq=False)
class Entry:
    """The methods of a group, ready to invert.

    Attributes:
        families: of the group.
        fit_seconds: of training.
        fit_evaluations: of F in training, rows counted.
    """

    families: tuple[Family, ...]
    fit_seconds: float = 0.0
    fit_evaluations: int = 0


@dataclass(frozen=True)
class Preparation:
    """What a group may know before it meets a target to invert.

    Attributes:
        problem: its training targets alone are for fitting.
        seed: of everything random in fitting.
        seconds: of fitting.
        quick: few numbers to tune.
    """

    problem: Problem
    seed: int = 0
    seconds: float = 150.0
    quick: bool = False
