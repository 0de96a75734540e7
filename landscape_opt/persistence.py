"""What of an inverter is saved, and how one is made again from it. Classes are chosen from a list, never imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints

import torch
from torch import nn

from .checkpoint import CheckpointError, fingerprint
from .layout import X
from .mappings import AnchoredMapping, ConditionedMapping, Mapping, ResidualMapping
from .memory import Memory
from .replay import Alternating, Streaming
from .schema import Part
from .theta_objective import DistanceToEnd, LossAtPoint, LossRatio

if TYPE_CHECKING:
    from .inverter import LandscapeInverter

_Table: TypeAlias = dict[str, tuple[Any, tuple[str, ...]]]

_MAPPINGS: _Table = {
    "residual": (ResidualMapping, ("widths", "fixed_scale", "linear")),
    "conditioned": (ConditionedMapping, ("widths",)),
    "anchored": (AnchoredMapping, ("width", "rank")),
}
_REPLAYS: _Table = {
    "streaming": (
        Streaming,
        ("num_rows", "horizon", "updates_per_round", "start_share", "elsewhere", "blind", "second_chances"),
    ),
    "alternating": (
        Alternating,
        ("num_steps", "updates_per_round", "batch_size", "capacity", "max_bytes", "device"),
    ),
}
_OBJECTIVES: _Table = {
    "loss_at_point": (LossAtPoint, ()),
    "loss_ratio": (LossRatio, ("share", "proximity")),
    "distance_to_end": (DistanceToEnd, ()),
}
_TABLES = {"mapping": _MAPPINGS, "replay": _REPLAYS, "theta_objective": _OBJECTIVES}
_RENAMED = {"fixed_scale": "scale"}
"""Settings whose constructor argument has another name."""
_HELD_AS = {"device": "buffer.device"}
"""Settings that are an attribute of another name."""


COUNTERS = ("num_batches", "num_updates", "num_evaluations")
"""Attributes of an inverter that are saved as numbers."""


@dataclass(frozen=True)
class Settings:
    """What an inverter is made of, but for code. Attributes as in its constructor.

    Attributes:
        x_init: the plain start.
        mapping: the description of it, as :func:`described` gives it.
        replay: likewise.
        theta_objective: likewise.
        memory: capacity and bytes.
        batch_size: targets of one round.
        seed: of everything random.
        has_given: whether F is told more than x.
        has_z_optimizer: whether a ``z_optimizer`` was chosen.
        fingerprint: of F.
    """

    x_init: Any
    mapping: Any
    replay: Any
    theta_objective: Any
    memory: Any
    batch_size: int
    seed: int
    has_given: bool
    has_z_optimizer: bool
    fingerprint: str

    @classmethod
    def of(cls, inverter: LandscapeInverter) -> Settings:
        """Those of an inverter."""
        landscape, memory = inverter.landscape, inverter.memory
        return cls(
            x_init=landscape.layout.x_init,
            mapping=described(landscape.mapping),
            replay=described(inverter.replay),
            theta_objective=described(inverter.theta_objective),
            memory={"capacity": memory.capacity, "max_bytes": memory.max_bytes},
            batch_size=inverter.batch_size,
            seed=inverter.seed,
            has_given=landscape.given is not None,
            has_z_optimizer=inverter.z_optimizer is not None,
            fingerprint=fingerprint(landscape.forward_model),
        )

    def saved(self) -> dict[str, Any]:
        """For a file."""
        return vars(self).copy()

    def missing(self, **given: Any) -> list[str]:
        """What of the user's own the file was saved with, and :func:`load` was not given."""
        own = [what for what in _TABLES if getattr(self, what).get("kind") == "custom" and given[what] is None]
        own += [what for what in ("given", "z_optimizer") if getattr(self, f"has_{what}") and given[what] is None]
        return [f"{what}: one of your own there, none here; pass it to load({what}=...)" for what in own]


def described(part: Any) -> dict[str, Any]:
    """The name and settings of one of our own mappings, replays or objectives; {"kind": "custom"} for a user's."""
    for table in _TABLES.values():
        for kind, (maker, names) in table.items():
            if type(part) is maker:
                return {"kind": kind, "settings": {name: _setting(part, name) for name in names}}
    return {"kind": "custom"}


def made(description: Any, given: Any, what: str) -> Any:
    """The part that was described, or the one given in its place.

    Raises:
        CheckpointError: if the description names no part of this library, or settings that it does not have.
    """
    if given is not None:
        return given
    table, part = _TABLES[what], Part(description, what)
    kind = part.at("kind").value
    if kind == "custom":
        raise CheckpointError(f"the file was saved with a {what} of your own; pass it to load({what}=...)")
    if not isinstance(kind, str) or kind not in table:
        part.at("kind").refuse(f"one of {sorted(table)}")
    maker, names = table[kind]
    return constructed(maker, part.at("settings"), names)


def constructed(maker: Any, settings: Part, names: Iterable[str]) -> Any:
    """An object from its settings; those that a file of an earlier release does not have are the defaults of then."""
    settings.check_names((), optional=names)
    hints = get_type_hints(maker.__init__)
    arguments = {_RENAMED.get(name, name): settings.at(name) for name in settings.value}
    try:
        return maker(**{name: part.read(hints[name]) for name, part in arguments.items()})
    except CheckpointError:
        raise
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{settings.where} cannot be used: {error}") from error


def read_settings(part: Part) -> Settings:
    """The settings of a file, each of the type that it has to have. Raises CheckpointError."""
    settings: Settings = part.read(Settings)
    for name in ("mapping", "replay", "theta_objective", "memory"):
        if not isinstance(getattr(settings, name), dict):
            part.at(name).refuse("a dict")
    part.at("batch_size").whole(1)
    part.at("seed").whole()
    return settings


def made_memory(settings: Settings) -> Memory:
    """A memory with the bounds of the settings."""
    memory: Memory = constructed(Memory, Part(settings.memory, "memory"), ("capacity", "max_bytes"))
    return memory


def on_device(x: X, device: torch.device) -> X:
    """x_init on a device."""
    return {name: part.to(device) for name, part in x.items()} if isinstance(x, dict) else x.to(device)


def mapping_state(mapping: Mapping) -> dict[str, Any] | None:
    """Sizes and weights of a mapping; None before it has any."""
    if mapping.spec is None:
        return None
    return {"spec": asdict(mapping.spec), "weights": dict(mapping.state_dict())}


def new_optimizer(factory: Callable[..., torch.optim.Optimizer], weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """θ's optimizer, which remembers the learning rate that it was made with."""
    optimizer = factory(weights)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return optimizer


def optimizer_state(optimizer: torch.optim.Optimizer | None) -> dict[str, Any] | None:
    """The state of θ's optimizer, with number keys as text."""
    if optimizer is None:
        return None
    state = optimizer.state_dict()
    groups = [{k: v for k, v in group.items() if not callable(v)} for group in state["param_groups"]]
    return {"state": {str(key): value for key, value in state["state"].items()}, "param_groups": groups}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take back what :func:`optimizer_state` gave."""
    numbered = {int(key): value for key, value in state["state"].items()}
    optimizer.load_state_dict({"state": numbered, "param_groups": state["param_groups"]})


def _setting(part: Any, name: str) -> Any:
    """A setting as a file takes it. Of devices the CPU alone is one that every machine has."""
    value = attrgetter(_HELD_AS.get(name, name))(part)
    return ("cpu" if value.type == "cpu" else None) if isinstance(value, torch.device) else value
