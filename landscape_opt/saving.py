"""An inverter to a file with its card beside it, and from there."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from .atomic import write
from .card import LandscapeCard, card_path, shapes
from .checkpoint import CheckpointError, packed, warn_if_other
from .checkpoint import load as load_state
from .landscape import LearnedLandscape
from .layout import Layout
from .objective import ForwardModel, LossFn
from .persistence import Settings, made, made_memory, on_device, read_settings
from .restore import restore
from .schema import Part
from .state_checks import check_horizon

if TYPE_CHECKING:
    from .inverter import LandscapeInverter

_Inverter = TypeVar("_Inverter", bound="LandscapeInverter")


class MismatchError(CheckpointError):
    """A file that does not go with what it was to be loaded with.

    Attributes:
        differences: one line each.
    """

    def __init__(self, path: str | os.PathLike[str], differences: list[str]) -> None:
        self.differences = tuple(differences)
        lines = "\n".join(f"  {line}" for line in differences)
        super().__init__(f"{os.fspath(path)!r} was saved with something else than it is loaded with:\n{lines}")


def saved(inverter: LandscapeInverter) -> dict[str, Any]:
    """What a file holds of an inverter: its settings, and its state."""
    return {"settings": Settings.of(inverter).saved(), "state": inverter.state_dict()}


def save(inverter: LandscapeInverter, path: str | os.PathLike[str]) -> LandscapeCard:
    """Write an inverter to a file, and its card to the same name with ``.json`` behind it: both or neither.

    Raises:
        NotWrittenError: an ``OSError``; what was there before is unchanged.
    """
    content = packed(saved(inverter))
    card = LandscapeCard.of(inverter, Path(path).name, content)
    write({Path(path): content, card_path(path): card.to_json().encode()})
    return card


def load(
    make: type[_Inverter],
    path: str | os.PathLike[str],
    forward_model: ForwardModel,
    loss_fn: LossFn,
    *,
    device: torch.device | str | None = None,
    stacklevel: int = 3,
    **own: Any,
) -> _Inverter:
    """An inverter from a file. Everything in it is checked first, and the user's own parts are as they were if that fails.

    Args:
        make: the class of the inverter.
        path: of the file.
        forward_model: F.
        loss_fn: as at saving.
        device: where x and θ are to lie; None is where the weights of F lie, and the CPU for an F without.
        stacklevel: of warnings.
        own: ``given``, ``mapping``, ``z_optimizer``, ``theta_optimizer``, ``replay``, ``theta_objective`` and
            ``precision`` of the user's.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is not a landscape file, or was damaged.
        MismatchError: where a part of the user's own is missing, or the card speaks of another x.
    """
    whole = Part(load_state(path), os.fspath(path))
    settings = read_settings(whole.at("settings"))
    try:
        Layout(settings.x_init)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{os.fspath(path)!r} cannot be loaded: {error}") from error
    parts = ("given", "mapping", "z_optimizer", "theta_optimizer", "replay", "theta_objective", "precision")
    given: dict[str, Any] = {**dict.fromkeys(parts), **own}
    differences, remarks = _compared(path, settings.x_init)
    if differences := settings.missing(**given) + differences:
        raise MismatchError(path, differences)
    if given["replay"] is None:
        check_horizon(whole.at("settings").at("replay"), whole.at("state"))
    inverter = _made(make, settings, forward_model, loss_fn, given, device)
    restore(inverter, whole.at("state").value)
    for remark in remarks:
        warnings.warn(remark, UserWarning, stacklevel=stacklevel)
    warn_if_other(settings.fingerprint, forward_model, stacklevel + 1)
    return inverter


def _made(
    make: type[_Inverter],
    settings: Settings,
    forward_model: ForwardModel,
    loss_fn: LossFn,
    given: dict[str, Any],
    device: torch.device | str | None,
) -> _Inverter:
    """An inverter with these settings, before any state."""
    home = _home(forward_model) if device is None else torch.device(device)
    x_init = settings.x_init if home is None else on_device(settings.x_init, home)
    mapping, replay, objective = (
        made(getattr(settings, what), given[what], what) for what in ("mapping", "replay", "theta_objective")
    )
    return make(
        LearnedLandscape(forward_model, x_init, mapping, given["given"], given["precision"]),
        loss_fn,
        z_optimizer=given["z_optimizer"],
        theta_optimizer=given["theta_optimizer"],
        replay=replay,
        theta_objective=objective,
        memory=made_memory(settings),
        batch_size=settings.batch_size,
        seed=settings.seed,
    )


def matching_card(path: str | os.PathLike[str]) -> LandscapeCard:
    """The card beside a weights file. Raises CheckpointError where it is missing, or speaks of other bytes."""
    try:
        card = LandscapeCard.read(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{os.fspath(path)!r} comes without its card: {error}") from error
    if not card.is_of(path):
        raise CheckpointError(f"{os.fspath(path)!r} is not the file that its card speaks of: their sha256 differ")
    return card


def _compared(path: str | os.PathLike[str], x_init: Any) -> tuple[list[str], list[str]]:
    """What the card says that the file does not: reasons to refuse it, and remarks."""
    if not card_path(path).exists():
        return [], []
    try:
        card = matching_card(path)
    except CheckpointError as error:
        return [], [f"the card is ignored: {error}"]
    differences, remarks = [], []
    if card.x != shapes(x_init):
        differences.append(f"x: {card.x} on the card, {shapes(x_init)} in the file")
    then, now = (_release(version) for version in (card.versions.get("torch", ""), str(torch.__version__)))
    if then != now:
        remarks.append(
            f"this landscape was saved with torch {then}, and this is {now}: inversions may differ in their last digits, "
            "and a fit that goes on will not be bit for bit the one that was begun"
        )
    return differences, remarks


def _release(version: str) -> str:
    """Major and minor."""
    return ".".join(str(version).split("+")[0].split(".")[:2])


def _home(forward_model: Any) -> torch.device | None:
    owner = getattr(forward_model, "__self__", forward_model)
    weights = [*owner.parameters(), *owner.buffers()] if isinstance(owner, nn.Module) else []
    return weights[0].device if weights else None
