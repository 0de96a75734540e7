"""What was measured of costs, as a JSON file beside the records of the benchmark: it takes minutes, and is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import atomic
from .compiling import EvaluationCost, ProblemCost
from .fit_costs import FitCost

NAME = "costs.json"


@dataclass(frozen=True)
class MeasuredCosts:
    """All that was timed, and how it came about.

    Attributes:
        settings: that the figures depend on.
        versions: of Python and the packages.
        where: the machine, and what else it did, in words.
        why_not: why nothing was compiled; None if F was.
        by_dim: fits by the dimension of x.
        by_targets: fits by the number of targets.
        evaluations: costs of an evaluation, one for each problem.
    """

    settings: dict[str, Any]
    versions: dict[str, str]
    where: str
    why_not: str | None
    by_dim: tuple[FitCost, ...]
    by_targets: tuple[FitCost, ...]
    evaluations: tuple[ProblemCost, ...]


def write(measured: MeasuredCosts, folder: Path) -> Path:
    """Write the file, whole or not at all."""
    path = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(measured), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    atomic.write({path: text.encode()})
    return path


def read(folder: Path) -> MeasuredCosts | None:
    """What was kept in a folder; None where nothing was.

    Raises:
        ValueError: if the file is not one; it may be deleted, and is then made again.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        for name in ("by_dim", "by_targets"):
            raw[name] = tuple(_fit_cost(one) for one in raw[name])
        raw["evaluations"] = tuple(_problem_cost(one) for one in raw["evaluations"])
        return MeasuredCosts(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no measured costs ({error}); delete it, and they are measured again") from error


def plain(settings: object) -> dict[str, Any]:
    """Settings as they come back from the file.

    Args:
        settings: a dataclass of numbers, words and tuples of them.
    """
    back: dict[str, Any] = json.loads(json.dumps(asdict(settings)))  # type: ignore[call-overload]
    return back


def _fit_cost(raw: dict[str, Any]) -> FitCost:
    by_count = {name: {int(count): loss for count, loss in raw[name].items()} for name in ("losses", "rival_losses")}
    return FitCost(**{**raw, **by_count})


def _problem_cost(raw: dict[str, Any]) -> ProblemCost:
    return ProblemCost(**{**raw, "costs": tuple(EvaluationCost(**one) for one in raw["costs"])})
