"""What of an inverter is saved, and how one is made again from it. Classes are chosen from a list, never imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, TypeAlias

import torch

from .layout import Layout
from .mappings import AnchoredMapping, ConditionedMapping, Mapping, MappingSpec, ResidualMapping
from .replay import Alternating, Streaming
from .theta_objective import DistanceToEnd, LossAtPoint, LossRatio

_Table: TypeAlias = dict[str, tuple[Callable[..., Any], tuple[str, ...]]]

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
    "alternating": (Alternating, ("num_steps", "updates_per_round", "batch_size", "capacity")),
}
_OBJECTIVES: _Table = {
    "loss_at_point": (LossAtPoint, ()),
    "loss_ratio": (LossRatio, ("share", "proximity")),
    "distance_to_end": (DistanceToEnd, ()),
}
_RENAMED = {"fixed_scale": "scale"}  # attributes whose constructor argument has another name


def described(part: Any) -> dict[str, Any]:
    """The name and settings of one of our own mappings, replays or objectives; {"kind": "custom"} for a user's."""
    for table in (_MAPPINGS, _REPLAYS, _OBJECTIVES):
        for kind, (maker, names) in table.items():
            if type(part) is maker:
                return {"kind": kind, "settings": {name: getattr(part, name) for name in names}}
    return {"kind": "custom"}


def made(description: dict[str, Any], given: Any, what: str) -> Any:
    """The part that was described, or the one given in its place."""
    if given is not None:
        return given
    for table in (_MAPPINGS, _REPLAYS, _OBJECTIVES):
        if description["kind"] in table:
            maker, names = table[description["kind"]]
            settings = {name: description["settings"][name] for name in names}
            return maker(**{_RENAMED.get(name, name): value for name, value in settings.items()})
    raise ValueError(f"the file was saved with a {what} of your own; pass it to load({what}=...)")


def mapping_state(mapping: Mapping) -> dict[str, Any] | None:
    """Sizes and weights of a mapping; None before it has any."""
    if mapping.spec is None:
        return None
    return {"spec": asdict(mapping.spec), "weights": dict(mapping.state_dict())}


def load_mapping_state(mapping: Mapping, state: dict[str, Any] | None, layout: Layout) -> None:
    """Give a mapping its sizes and weights back."""
    if state is None:
        return
    spec = MappingSpec(**state["spec"])
    if spec.dim != layout.dim:
        raise ValueError(f"the state is of a landscape with {spec.dim} numbers in x, this one has {layout.dim}")
    if not mapping.is_built:
        mapping.build(replace(spec, x_init=layout.row))  # where x_init lies now
    mapping.load_state_dict(state["weights"])


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
