"""The card of a landscape: what it was fitted for, how, and how well it does, in JSON that people read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .batches import Batch
from .checkpoint import CheckpointError
from .persistence import Settings
from .schema import Part

if TYPE_CHECKING:
    from .inverter import LandscapeInverter

FORMAT = "landscape_opt.card/1"
_NUMBERS = re.compile(r'\[\n\s*([^\[\]{}"]*?)\n\s*\]')


@dataclass(frozen=True)
class WeightsFile:
    """The file that a card speaks of.

    Attributes:
        name: of the file, beside the card.
        sha256: of its bytes.
        num_bytes: how many.
    """

    name: str
    sha256: str
    num_bytes: int


@dataclass(frozen=True)
class FitSummary:
    """What a fit took.

    Attributes:
        rounds: how many.
        seconds: in all rounds.
        evaluations: of F, rows counted.
        updates: of θ.
        skipped_updates: left out because their gradient was not finite.
        objective: mean of θ's objective in the last round; None before any, or where it was not finite.
    """

    rounds: int
    seconds: float
    evaluations: int
    updates: int
    skipped_updates: int
    objective: float | None


@dataclass(frozen=True)
class LandscapeCard:
    """What a landscape was fitted for, how, and how well it does.

    Attributes:
        format: of the card.
        date: of saving, or SOURCE_DATE_EPOCH.
        weights: the file that the card stands beside.
        forward_model: name and fingerprint of F.
        x: dtype and shape of x, without the batch dimension; of every part of a dict.
        y: likewise of one target; None before any fit, or where a replay of the user's own keeps no targets.
        num_target_features: floats that θ reads of one target; None before any fit.
        settings: of the mapping, replay, objective of θ, its optimizer, memory, batch size and seed.
        calibration: η, r, L₀ and D; None before any fit.
        fit: what it took.
        validation: held-out losses after some rounds, as ``ValidationRecord`` has them, with the number of the round.
        versions: of Python, torch and this library.
        platform: where it was saved.

    Example:
        >>> import tempfile, torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(2)), squares)
        >>> card = LandscapeCard.of(inverter, "arm.landscape", b"the bytes of the file")
        >>> card.x, card.y, card.fit.rounds
        ('float32 (2)', None, 0)
        >>> LandscapeCard.of_json(card.to_json()) == card
        True
    """

    format: str
    date: str
    weights: WeightsFile
    forward_model: Any
    x: Any
    y: Any
    num_target_features: int | None
    settings: Any
    calibration: Any
    fit: FitSummary
    validation: Any
    versions: Any
    platform: str

    @classmethod
    def of(cls, inverter: LandscapeInverter, name: str, content: bytes) -> LandscapeCard:
        """The card of an inverter whose file has that name and content."""
        mapping, history = inverter.landscape.mapping, inverter.history
        scales = {each: float(getattr(mapping, each)) for each in ("step", "move", "loss", "distance") if mapping.is_built}
        return cls(
            format=FORMAT,
            date=_date(),
            weights=WeightsFile(name, hashlib.sha256(content).hexdigest(), len(content)),
            forward_model=_named(inverter),
            x=shapes(inverter.landscape.layout.x_init),
            y=_target_shapes(inverter.replay.state_dict()),
            num_target_features=None if mapping.spec is None else mapping.spec.num_target_features,
            settings=_finite(_settings(inverter)),
            calibration=_finite(scales) or None,
            fit=FitSummary(
                rounds=len(history),
                seconds=round(sum(record.seconds for record in history), 3),
                evaluations=inverter.num_evaluations,
                updates=inverter.num_updates,
                skipped_updates=sum(record.skipped_updates for record in history),
                objective=_finite(history[-1].objective) if history else None,
            ),
            validation=[{"round": one.round, **_finite(asdict(one))["validation"]} for one in history if one.validation],
            versions=versions(),
            platform=platform.platform(),
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> LandscapeCard:
        """The card at a path, or beside the weights file at a path.

        Raises:
            FileNotFoundError: if there is none.
            CheckpointError: if it is no card.
        """
        place = Path(path) if os.fspath(path).endswith(".json") else card_path(path)
        if not place.is_file():
            raise FileNotFoundError(f"there is no landscape card at {os.fspath(place)!r}; save() writes one")
        try:
            return cls.of_json(place.read_bytes().decode())
        except ValueError as error:
            raise CheckpointError(f"{os.fspath(place)!r} is no landscape card: {error}") from error

    @classmethod
    def of_json(cls, text: str) -> LandscapeCard:
        """The card of its JSON. Raises CheckpointError where that is no card, or of a later release."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"its JSON cannot be read ({error})") from error
        part = Part(found, "card")
        if part.at("format").value != FORMAT:
            part.at("format").refuse(f"{FORMAT!r}, which is what this release reads")
        for name in ("forward_model", "settings", "versions"):
            part.at(name).check_names(("kind", "fingerprint") if name == "forward_model" else (), part.at(name).value or ())
        checked = part.at("validation").value
        if not isinstance(checked, list) or not all(isinstance(one, dict) for one in checked):
            part.at("validation").refuse("a list of records")
        card: LandscapeCard = part.read(cls)
        return card

    def to_json(self) -> str:
        """JSON, lists of numbers on one line. The same card gives the same text."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        return _NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n"

    def is_of(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file is the one that the card speaks of: the same bytes, under whatever name."""
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.weights.sha256


def card_path(path: str | os.PathLike[str]) -> Path:
    """Where the card of a weights file is: ``model.landscape.json`` beside ``model.landscape``."""
    return Path(f"{os.fspath(path)}.json")


def shapes(batch: Batch, skip: int = 0) -> Any:
    """Dtype and shape of a Tensor in a few words, of every part of a batch; without the first ``skip`` dimensions."""
    if isinstance(batch, Tensor):
        size = ", ".join(str(length) for length in batch.shape[skip:])
        return f"{str(batch.dtype).removeprefix('torch.')} ({size})"
    if isinstance(batch, Mapping):
        return {str(key): shapes(part, skip) for key, part in batch.items()}
    return [shapes(part, skip) for part in batch]


def versions() -> dict[str, str]:
    """Of what decides about the last digits of a fit."""
    from . import __version__  # here, because the package is still being imported when this file is

    return {"python": platform.python_version(), "torch": str(torch.__version__), "landscape_opt": __version__}


def _settings(inverter: LandscapeInverter) -> dict[str, Any]:
    """Settings as in the weights file, and of the optimizer what it says of itself."""
    kept = Settings.of(inverter).saved()
    settings = {name: value for name, value in kept.items() if name not in ("x_init", "fingerprint")}
    optimizer = inverter.optimizer
    if optimizer is not None:
        plain = {
            k: v for k, v in optimizer.param_groups[0].items() if isinstance(v, bool | int | float | str | tuple | None)
        }
        settings["theta_optimizer"] = {"kind": type(optimizer).__name__, **plain}
    return settings


def _named(inverter: LandscapeInverter) -> dict[str, str]:
    forward_model = inverter.landscape.forward_model
    kind = type(forward_model) if isinstance(forward_model, torch.nn.Module) else forward_model
    name = getattr(kind, "__qualname__", type(kind).__qualname__)
    return {"kind": name, "fingerprint": Settings.of(inverter).fingerprint}


def _target_shapes(state: Any) -> Any:
    """Of one target, where a replay keeps some."""
    for name in ("stream", "buffer"):
        part = state.get(name) if isinstance(state, dict) else None
        if isinstance(part, dict) and "target" in part:
            return shapes(part["target"], skip=1)
    return None


def _finite(value: Any) -> Any:
    """A value as JSON has it: tuples as lists, None for what is not finite."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _date() -> str:
    """Now, or what SOURCE_DATE_EPOCH says, so that a build can be made again to the byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    return now.isoformat(timespec="seconds")
