"""Take a state back, all of it or nothing: every part is checked and tried on a copy before the inverter changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .checkpoint import CheckpointError
from .guest import private_randomness
from .landscape import LearnedLandscape
from .mappings import Mapping
from .memory import Memory
from .persistence import COUNTERS, described, load_optimizer_state, new_optimizer
from .results import RoundRecord
from .schema import Part
from .state_checks import NOT_IN_OLD_FILES, Sizes, check_counts, check_memory, check_replay, check_weights, read_spec

if TYPE_CHECKING:
    from .inverter import LandscapeInverter

PARTS = ("mapping", "optimizer", "replay", "memory", "generator", "history", "counters")


def restore(inverter: LandscapeInverter, state: Any) -> None:
    """Give an inverter the state that ``state_dict`` gave, or raise and leave it bit for bit as it is.

    Args:
        inverter: made with the same settings.
        state: from ``state_dict`` or a file.

    Raises:
        CheckpointError: where a part is missing, is of another shape or type, or cannot be taken.
    """
    whole, landscape = Part(state, "state"), inverter.landscape
    whole.check_names(PARTS)
    theta = _theta(landscape, whole.at("mapping"))
    sizes = None if theta is None or theta.spec is None else Sizes(landscape, theta.dim_z, theta.spec)
    weights = list((landscape.mapping if landscape.mapping.is_built or theta is None else theta).parameters())
    optimizer = _optimizer(inverter, whole.at("optimizer"), weights, is_fitted=theta is not None)
    check_replay(inverter.replay, whole.at("replay"), sizes)
    replay = _tried(inverter.replay, whole.at("replay"))
    check_memory(whole.at("memory"), sizes, landscape.layout.dim)
    memory = _tried(inverter.memory, whole.at("memory"))
    memory.to(landscape.layout.device)  # a file brings its points on the CPU
    _check_generator(inverter.generator, whole.at("generator"))
    history = whole.at("history").value
    if not isinstance(history, list):
        whole.at("history").refuse("a list")
    records = [Part(record, f"state.history[{i}]").read(RoundRecord) for i, record in enumerate(history)]
    whole.at("counters").check_names(COUNTERS)
    check_counts(whole.at("counters"), COUNTERS)

    # Nothing has changed so far, and what follows was tried.
    if theta is not None:
        _take(landscape.mapping, theta)
    if optimizer is not None and optimizer is inverter.optimizer:
        load_optimizer_state(optimizer, state["optimizer"])
    inverter.optimizer = optimizer
    vars(inverter.replay).update(vars(replay))
    vars(inverter.memory).update(vars(memory))
    inverter.generator.set_state(state["generator"])
    inverter.history = records
    for name in COUNTERS:
        setattr(inverter, name, state["counters"][name])


def _theta(landscape: LearnedLandscape, part: Part) -> Mapping | None:
    """A mapping with the weights of the state; None where the state is of a landscape without."""
    mapping, device = landscape.mapping, landscape.layout.device
    if part.value is None:
        return part.refuse("that of a fitted landscape, as this one is") if mapping.is_built else None
    part.check_names(("spec", "weights"))
    spec, weights = read_spec(part.at("spec"), landscape), part.at("weights")
    for name, count in (("x_init", spec.dim), ("target_mean", spec.num_target_features)):
        weights.at(name).tensor((count,))
    widths = getattr(mapping, "widths", ())
    if len(widths) > len(weights.value):  # before layers without weights are made
        weights.refuse(f"those of {len(widths)} layers")
    theta = copy.deepcopy(mapping)
    with _as_checkpoint_error(part), private_randomness(0, device):
        if not mapping.is_built:
            is_own = described(mapping)["kind"] != "custom"
            # Shapes are known without making room for them. A mapping of the user's own may not be buildable so.
            sketch = _built(copy.deepcopy(mapping), replace(spec, x_init=_empty(landscape))) if is_own else None
            if sketch is not None:
                check_weights(weights, sketch.state_dict())
            _built(theta, replace(spec, x_init=landscape.layout.row))  # where x_init lies now
        check_weights(weights, theta.state_dict())
        unknown = {name: torch.full_like(theta.get_buffer(name), torch.inf) for name in NOT_IN_OLD_FILES}
        theta.load_state_dict(unknown | weights.value)
    return theta


def _empty(landscape: LearnedLandscape) -> Tensor:
    return torch.empty_like(landscape.layout.row, device="meta")


def _built(mapping: Mapping, spec: Any) -> Mapping:
    with torch.device(spec.x_init.device):
        mapping.build(spec)
    return mapping


def _take(mapping: Mapping, theta: Mapping) -> None:
    """Give the mapping the weights of another; its own Parameters stay the same objects where it has some."""
    if mapping.is_built:
        mapping.load_state_dict(theta.state_dict())
    else:
        vars(mapping).update(vars(theta))


def _optimizer(
    inverter: LandscapeInverter, part: Part, weights: list[nn.Parameter], is_fitted: bool
) -> torch.optim.Optimizer | None:
    """θ's optimizer, with its state where it is a new one."""
    if part.value is None:
        return None
    if not is_fitted:
        part.refuse("None, since its landscape has no weights")
    part.check_names(("state", "param_groups"))
    with _as_checkpoint_error(part):
        _try_optimizer(inverter, part, weights)
        if inverter.optimizer is not None:
            return inverter.optimizer
        optimizer = new_optimizer(inverter.theta_optimizer, weights)
        load_optimizer_state(optimizer, part.value)
    return optimizer


def _try_optimizer(inverter: LandscapeInverter, part: Part, weights: list[nn.Parameter]) -> None:
    """Compare with what a step would leave behind, on weights of the same shapes: torch itself does not look at shapes."""
    like = [nn.Parameter(torch.zeros_like(weight), weight.requires_grad) for weight in weights]
    trial = new_optimizer(inverter.theta_optimizer, like)
    load_optimizer_state(trial, {"state": {}, "param_groups": part.at("param_groups").value})
    for weight in like:
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    trial.step()
    expected = {str(key): value for key, value in trial.state_dict()["state"].items()}
    saved = part.at("state")
    saved.check_names((), optional=expected)
    is_plain = type(trial).__module__.startswith("torch.optim")  # others may change what they keep from step to step
    for key, values in saved.value.items():
        slot, wanted = saved.at(key), expected[key]
        slot.check_names(wanted if is_plain else (), optional=slot.value if isinstance(slot.value, dict) else ())
        for name in wanted.keys() & slot.value.keys():
            if isinstance(wanted[name], Tensor):
                slot.at(name).tensor(tuple(wanted[name].shape), None if wanted[name].is_floating_point() else torch.long)
        if is_plain and (surplus := values.keys() - wanted.keys()):
            slot.refuse(f"without {sorted(surplus)}")
    load_optimizer_state(trial, part.value)


def _tried(owner: Any, part: Part) -> Any:
    """A copy of a replay or memory with the state taken; the one that was copied is as it was."""
    try:
        # Ours are given new Tensors and write none of the old ones; what else they hold is copied one level deep.
        is_own = described(owner)["kind"] != "custom" or type(owner) is Memory
        twin = _shallow(owner) if is_own else copy.deepcopy(owner)
    except Exception:  # a lock or a file in a user's replay
        twin = _shallow(owner)
    with _as_checkpoint_error(part):
        twin.load_state_dict(part.value)
    return twin


def _shallow(owner: Any) -> Any:
    twin = copy.copy(owner)
    for name, value in vars(owner).items():
        if hasattr(value, "load_state_dict"):
            setattr(twin, name, copy.copy(value))
    return twin


def _check_generator(generator: torch.Generator, part: Part) -> None:
    part.tensor((None,), torch.uint8)
    with _as_checkpoint_error(part):
        torch.Generator(generator.device).set_state(part.value)


@contextmanager
def _as_checkpoint_error(part: Part) -> Iterator[None]:
    """Whatever a part of the user's own, or torch, says of a state that it cannot take."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{part.where} cannot be taken: {type(error).__name__}: {error}; nothing was changed"
        ) from error
