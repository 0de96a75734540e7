"""Every public name has a place in the site, and a docstring with arguments, errors and an example that runs."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from abc import ABC, abstractmethod
from pathlib import Path

import pytest
from torch import Tensor

PATH = Path(__file__).parents[1] / "docs" / "coverage.py"
spec = importlib.util.spec_from_file_location("docs_coverage", PATH)
assert spec is not None
assert spec.loader is not None
coverage = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = coverage  # dataclasses look their module up there
spec.loader.exec_module(coverage)


def test_every_public_name_is_documented():
    names = coverage.counted()
    assert len(names) > 150
    assert not any(one.gaps for one in names), coverage.table([one for one in names if one.gaps])


def test_the_command_prints_the_table_and_says_whether_something_is_missing(capsys):
    code = coverage.main()
    printed = capsys.readouterr().out
    assert (code == 0) == ("\n0 gaps\n" in printed)
    assert all(package in printed for package in coverage.PACKAGES)


class Complete:
    """Has all.

    Args:
        x: (B, d).
        count: how many.

    Raises:
        ValueError: never.

    Example:
        >>> 1 + 1
        2
    """

    def __init__(self, x: Tensor, count: int) -> None:
        if count < 0:
            raise ValueError(f"got {count}")


class Shapeless(Complete):
    """Its Tensor has no shape.

    Args:
        x: a point.
        count: how many.

    Example:
        >>> 1 + 1
        2
    """


class Bare:
    """Has nothing."""

    def __init__(self, x: Tensor) -> None:
        if x.ndim == 0:
            raise TypeError("a scalar")


class Interface(ABC):
    """Cannot be made, so that an example of it cannot run."""

    @abstractmethod
    def verb(self) -> None:
        """Something."""


@dataclasses.dataclass(frozen=True)
class Record:
    """Is read.

    Attributes:
        count: how many.
    """

    count: int


@dataclasses.dataclass(frozen=True)
class Longer(Record):
    """Inherits a field, which is described where it was added.

    Attributes:
        loss: (B,).
    """

    loss: Tensor


@pytest.mark.parametrize(
    ("thing", "kind", "missing"),
    [
        (Complete, "class", set()),
        (Shapeless, "class", {"arguments"}),
        (Bare, "class", {"arguments", "raises", "example"}),
        (Interface, "interface", set()),
        (Record, "record", set()),
        (Longer, "record", set()),
    ],
)
def test_what_is_missing_is_noticed(thing, kind, missing):
    assert coverage._kind(thing) == kind
    assert set(coverage._gaps(thing, kind, has_entry=True)) == missing
    assert "entry" in coverage._gaps(thing, kind, has_entry=False)


def test_an_example_that_is_skipped_is_none():
    assert coverage._has_example("Example:\n    >>> 1 + 1\n    2")
    assert not coverage._has_example("Example:\n    >>> 1 + 1  # doctest: " + "+SKIP\n    3")
    assert not coverage._has_example("Example: see the page.")
