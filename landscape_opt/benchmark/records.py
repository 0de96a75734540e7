"""What a unit of work found, as a small JSON file that says how it came about."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import atomic
from .table import Row

FORMAT = 1
DIGITS = 5
SAME_FIGURE = 1e-3


@dataclass(frozen=True)
class MethodRecord:
    """How one method fared.

    Attributes:
        name: of the method.
        fit_seconds: of training, shared by the methods of its group.
        fit_evaluations: of F in training, rows counted.
        validation: the row on the validation targets, by which methods are chosen.
        sets: the row on every set of targets.
        choices: by statistic and budget, the number that was chosen on the validation targets.
        seconds: wall time of one row of a batch after so many evaluations, by their number.
        metric: median of the problem's metric, by set and budget.
    """

    name: str
    fit_seconds: float
    fit_evaluations: int
    validation: Row
    sets: dict[str, Row]
    choices: dict[str, dict[int, str]] = field(default_factory=dict, repr=False)
    seconds: dict[int, float] = field(default_factory=dict)
    metric: dict[str, dict[int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class UnitRecord:
    """What one unit of work found: a problem, a seed and a group of methods.

    Attributes:
        problem: its name.
        seed: of the fit.
        group: of methods.
        settings: that the figures depend on.
        versions: of Python and the packages.
        machine: that it ran on.
        facts: numbers by which the problem is known again: its sizes, its losses at the plain start.
        about: what is said of it in a report.
        methods: one record each; none where the problem is not for this group.
        seconds: wall time of the unit.
    """

    problem: str
    seed: int
    group: str
    settings: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]
    facts: dict[str, Any]
    about: dict[str, Any]
    methods: tuple[MethodRecord, ...]
    seconds: float

    @property
    def place(self) -> Path:
        """Where it lies in the folder of results."""
        return place(self.problem, self.group, self.seed)


def place(problem: str, group: str, seed: int) -> Path:
    """Where the record of a unit lies in the folder of results."""
    return Path(problem) / f"{group}-{seed}.json"


def versions() -> dict[str, str]:
    """Of what the figures depend on.

    Example:
        >>> sorted(versions())
        ['landscape_opt', 'numpy', 'python', 'torch']
    """
    from .. import __version__

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # with the build, which the metadata of the wheel may lack
        "numpy": np.__version__,
        "landscape_opt": __version__,
    }


def machine() -> dict[str, Any]:
    """The processor, and the threads that torch may use."""
    return {"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system()}


def write(record: UnitRecord, folder: Path) -> Path:
    """Write a record, whole or not at all."""
    path = folder / record.place
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {"format": FORMAT, **_plain(asdict(record))}, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    atomic.write({path: (text.replace('{"name":', '\n{"name":') + "\n").encode()})
    return path


def read(path: Path) -> UnitRecord:
    """A record from its file.

    Raises:
        ValueError: if the file is not one, or of another format; it may be deleted, and is then made again.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format") != FORMAT:
            raise ValueError("another format")
        raw["methods"] = tuple(_method(one) for one in raw["methods"])
        return UnitRecord(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no record of this benchmark ({error}); delete it, and it is made again") from error


def read_all(folder: Path, problem: str | None = None) -> list[UnitRecord]:
    """All records of a folder of results, or those of one problem, in order."""
    return [read(path) for path in sorted(folder.glob(f"{problem or '*'}/*.json"))]


def is_same_work(record: UnitRecord, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether running the unit again would give the same figures, but for the clock: same settings, versions, problem."""
    return (
        record.settings == _plain(dict(settings))
        and record.versions == versions()
        and _alike(record.facts, _plain(dict(facts)))
    )


def are_comparable(one: UnitRecord, other: UnitRecord) -> bool:
    """Whether two records of a problem can stand in one table: the same problem, budgets and, for fits, seconds."""
    shared = (one.settings.keys() & other.settings.keys()) - {"threads"}
    return all(one.settings[name] == other.settings[name] for name in shared) and _alike(one.facts, other.facts)


def _alike(one: Any, other: Any) -> bool:
    """Equal, numbers up to the rounding of another processor."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME_FIGURE)
    return bool(one == other)


def _plain(part: Any) -> Any:
    """What JSON can hold: keys are strings, numbers short, and infinity is null."""
    if isinstance(part, dict):
        return {str(key): _plain(value) for key, value in part.items()}
    if isinstance(part, tuple | list):
        return [_plain(value) for value in part]
    if isinstance(part, float):
        return float(f"{part:.{DIGITS}g}") if math.isfinite(part) else None
    return part


def _method(raw: dict[str, Any]) -> MethodRecord:
    known: dict[str, Any] = {one.name: raw[one.name] for one in fields(MethodRecord)}
    known["validation"] = _row(raw["validation"])
    known["sets"] = {name: _row(row) for name, row in raw["sets"].items()}
    known["choices"] = {kind: _by_budget(names) for kind, names in raw["choices"].items()}
    known["seconds"] = _by_budget(raw["seconds"])
    known["metric"] = {name: _by_budget(values) for name, values in raw["metric"].items()}
    return MethodRecord(**known)


def _row(raw: dict[str, Any]) -> Row:
    losses = {name: tuple(math.inf if loss is None else loss for loss in raw[name]) for name in ("median", "mean", "p90")}
    return Row(raw["name"], tuple(raw["budgets"]), **losses)


def _by_budget(raw: dict[str, Any]) -> dict[int, Any]:
    return {int(budget): value for budget, value in raw.items()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
