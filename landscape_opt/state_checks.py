"""What the parts of a fit's state have to look like: shapes and types, against the sizes of the landscape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import batches
from .batches import MAX_FEATURES
from .landscape import LearnedLandscape
from .mappings import MappingSpec
from .replay import Alternating, Replay, Streaming
from .schema import Part

_IS_FLAG = torch.bool
_IS_NUMBER = torch.long
NOT_IN_OLD_FILES = frozenset({"attained"})
"""Scales of a mapping that files may lack: nothing is known of them then."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that all parts of a state share.

    Attributes:
        landscape: whose features of targets are counted.
        dim_z: numbers in one z.
        spec: of θ.
    """

    landscape: LearnedLandscape
    dim_z: int
    spec: MappingSpec

    def check_features(self, part: Part, num_rows: int, wanted: int) -> None:
        """A batch of targets or predictions, of the size that θ was built for."""
        first = batches.map_leaves(lambda leaf: leaf[:1], part.batch(num_rows))
        seen = self.landscape.features(first)
        if num_rows and (0 if seen is None else seen.shape[1]) != wanted:
            part.refuse(f"a batch of {wanted} features")

    def check_evaluation(self, part: Part, num_rows: int) -> None:
        """What was seen at points: x, loss and gradients."""
        for name in ("x", "grad_x"):
            part.at(name).tensor((num_rows, self.spec.dim))
        part.at("loss").tensor((num_rows,))
        part.at("grad_prediction").tensor((num_rows, self.spec.num_prediction_features))


def read_spec(part: Part, landscape: LearnedLandscape) -> MappingSpec:
    """The sizes of θ, bounded before anything is made of them."""
    part.check_names(
        ("x_init", "num_target_features", "num_prediction_features", "evaluation_cost"), optional=("call_cost",)
    )
    part.at("x_init").tensor((landscape.layout.dim,))
    for name in ("num_target_features", "num_prediction_features"):
        part.at(name).whole(0, MAX_FEATURES)
    part.at("evaluation_cost").read(float)
    spec: MappingSpec = part.read(MappingSpec)
    return spec


def check_weights(part: Part, expected: dict[str, Any]) -> None:
    """The weights that a mapping has, and no others."""
    part.check_names(expected.keys() - NOT_IN_OLD_FILES, NOT_IN_OLD_FILES & expected.keys())
    for name, weight in expected.items():
        if isinstance(weight, Tensor) and name in part.value:
            part.at(name).tensor(tuple(weight.shape), None if weight.is_floating_point() else weight.dtype)


def check_horizon(description: Part, state: Part) -> None:
    """Refuse a horizon that the state does not have: a stream makes room for so many counts as soon as it is made."""
    settings = description.value.get("settings")
    if isinstance(settings, dict) and "horizon" in settings:
        horizon = description.at("settings").at("horizon").whole(1)
        state.at("replay").at("loss_sum").tensor((horizon + 1,), torch.float64)


def check_replay(replay: Replay, part: Part, sizes: Sizes | None) -> None:
    """The state of one of our own replays; None: of a landscape that was not fitted. A user's replay checks its own."""
    if type(replay) is Streaming:
        check_counts(part, ("num_rounds",))
        for name in ("loss_sum", "loss_count"):
            part.at(name).tensor((replay.horizon + 1,), torch.float64)
        if part.at("stream").value is not None:
            _check_stream(part.at("stream"), replay.num_rows, _fitted(part, sizes))
    if type(replay) is Alternating:
        if "first" in part.value:  # not in files of format 1
            part.at("first").whole()
        if part.at("buffer").value is not None:
            _check_buffer(part.at("buffer"), _fitted(part, sizes))


def _fitted(part: Part, sizes: Sizes | None) -> Sizes:
    return part.refuse("empty, since its landscape was not fitted") if sizes is None else sizes


def _check_stream(part: Part, wanted: int | None, sizes: Sizes) -> None:
    age = part.at("age").tensor((wanted,), _IS_NUMBER)
    num_rows = len(age)
    if num_rows == 0:
        part.refuse("a stream with rows, or None")
    sizes.check_features(part.at("target"), num_rows, sizes.spec.num_target_features)
    sizes.check_evaluation(part.at("evaluation"), num_rows)
    part.at("z").tensor((num_rows, sizes.dim_z))
    part.at("fixed_x").tensor((num_rows, sizes.spec.dim))
    part.at("known").tensor((num_rows,))
    part.at("is_fixed").tensor((num_rows,), _IS_FLAG)
    part.at("leave_at").tensor((num_rows,), _IS_NUMBER)
    if "caught_loss" in part.value:  # files from before have none
        part.at("caught_seen").tensor((num_rows, None))
        part.at("caught_x").tensor((num_rows, sizes.spec.dim))
        part.at("caught_loss").tensor((num_rows,))
    if bool((age < 0).any()):
        part.at("age").refuse("ages from 0 on")


def _check_buffer(part: Part, sizes: Sizes) -> None:
    num_rows = len(part.at("end").tensor((None, sizes.spec.dim)))
    if num_rows == 0:
        part.refuse("a buffer with rows, or None")
    sizes.check_features(part.at("target"), num_rows, sizes.spec.num_target_features)
    part.at("z").tensor((num_rows, None))
    part.at("loss_before").tensor((num_rows,))
    if "x" in part.value:
        sizes.check_evaluation(part, num_rows)


def check_memory(part: Part, sizes: Sizes | None, dim: int) -> None:
    """Points of the memory, and their predictions."""
    room = part.at("room").whole()
    check_counts(part, ("count",))
    if "escapes" in part.value:  # files from before have none
        _check_escapes(part.at("escapes"), dim)
    storage = part.at("storage")
    if storage.value is None:
        if room and part.value["count"]:
            storage.refuse("points, since some were counted")
        return
    if not isinstance(storage.value, tuple | list) or len(storage.value) != 2:
        storage.refuse("points and predictions")
    Part(storage.value[0], f"{storage.where}.x").tensor((room, dim))
    predictions = Part(storage.value[1], f"{storage.where}.prediction")
    predictions.batch(room)
    if sizes is not None:
        sizes.check_features(predictions, room, sizes.spec.num_prediction_features)


def _check_escapes(part: Part, dim: int) -> None:
    check_counts(part, ("first", "count", "judged_at"))
    error = part.at("error")
    if type(error.value) is not float or not error.value >= 0.0:
        error.refuse("a number from 0 on")
    if (ways := part.at("buffer")).value is not None:
        num_ways = len(ways.at("move").tensor((None, dim)))
        ways.at("seen").tensor((num_ways, None))
        if num_ways == 0 or part.value["first"] >= num_ways:
            part.refuse("ways in a ring")


def check_counts(part: Part, names: tuple[str, ...]) -> None:
    """Numbers of things."""
    for name in names:
        part.at(name).whole()
