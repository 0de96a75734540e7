"""The benchmark's problems by name; a module is imported when its problem is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec

from ..problems.problem import Problem

PROBLEMS = (
    "linear", "digits", "arm", "panda", "skeleton", "phase", "wave", "camera", "attack", "style", "frequencies",
)  # fmt: skip
"""Each is the function of this name in the module ``landscape_opt.problems.<name>``."""
CONTROL = "frequencies"
"""The problem that nobody should use this library for; it is left out where problems are counted."""
CHOSEN_ON = ("digits", "arm", "panda", "skeleton", "phase", "wave", "camera", "style")
"""Problems on whose validation targets the landscape's defaults were chosen. The others confirm them, or do not."""


def problem_named(name: str) -> Problem:
    """The problem, with its targets as they are drawn by default.

    Raises:
        ValueError: if there is no such problem, or none so far.

    Example:
        >>> problem_named("linear").dim
        32
    """
    if name not in PROBLEMS:
        raise ValueError(f"there is no problem {name!r}; choose from {', '.join(PROBLEMS)}")
    module = f"landscape_opt.problems.{name}"
    if find_spec(module) is None:
        raise ValueError(f"the problem {name!r} has not been written yet: {module} is missing")
    make: Callable[[], Problem] = getattr(importlib.import_module(module), name)
    return make()


def available() -> tuple[str, ...]:
    """The names whose modules exist."""
    return tuple(name for name in PROBLEMS if find_spec(f"landscape_opt.problems.{name}") is not None)
