"""Checks at the door of LandscapeInverter: what was given, what was expected, what to do."""

from __future__ import annotations

from typing import Any

from .landscape import LearnedLandscape
from .replay import Replay, Streaming
from .theta_objective import DistanceToEnd, ThetaObjective


def check_parts(landscape: Any, loss_fn: Any, replay: Any, theta_objective: Any, batch_size: int | None, seed: int) -> None:
    """The arguments of the constructor."""
    if not isinstance(landscape, LearnedLandscape):
        raise TypeError(
            f"expected a LearnedLandscape, got {type(landscape).__name__}; wrap the forward model first: "
            "LearnedLandscape(forward_model, x_init)"
        )
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be a function (prediction, target) → (B,), got {type(loss_fn).__name__}")
    if replay is not None and not isinstance(replay, Replay):
        raise TypeError(f"replay must be a landscape_opt.replay.Replay, got {type(replay).__name__}")
    if theta_objective is not None and not isinstance(theta_objective, ThetaObjective):
        raise TypeError(f"theta_objective must be a ThetaObjective, got {type(theta_objective).__name__}")
    if isinstance(replay, Streaming | None) and isinstance(theta_objective, DistanceToEnd):
        raise ValueError("DistanceToEnd needs trajectories that have ended: use it with replay=Alternating(...)")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")


def check_length_of_fit(max_seconds: float | None, num_rounds: int | None) -> None:
    """How long to fit."""
    if max_seconds is None and num_rounds is None:
        raise ValueError("say how long to fit: fit(targets, max_seconds=60) or fit(targets, num_rounds=100)")
    if max_seconds is not None and not max_seconds > 0:
        raise ValueError(f"max_seconds must be positive, got {max_seconds}")
    if num_rounds is not None and num_rounds < 0:
        raise ValueError(f"num_rounds must not be negative, got {num_rounds}")


def check_fitted(is_fitted: bool, allow_unfitted: bool) -> None:
    """Whether there is a landscape to descend in."""
    if not is_fitted and not allow_unfitted:
        raise RuntimeError(
            "this landscape has not been fitted, so inverting is plain descent: call fit(targets, max_seconds=60) "
            "first, or invert(..., allow_unfitted=True) if plain descent is what you want"
        )
