"""θ fine-tuned at inversion time: a copy learns from the very targets of the request, and inverts them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .differentiable import Differentiable
from .fitting.round import Updater, play
from .inversion import Request
from .landscape import LearnedLandscape
from .look_up import StoredPoints
from .memory import Memory
from .objective import Evaluation, Objective
from .replay import Guide, Streaming
from .results import InversionResult
from .solvers import LandscapeStep
from .terms import given_target
from .theta_objective import LossRatio

if TYPE_CHECKING:
    from .inverter import LandscapeInverter

MAX_ROWS = 256


@dataclass(frozen=True)
class Adaptation:
    """How a copy of θ learns from the targets of one request before it inverts them.

    A round evaluates F at ``num_rows`` points, ``updates_per_round`` times, as a fit does. What that costs is taken from
    the budget of the request: with a row for every target, a round of one update is one evaluation of each. The points at
    which trajectories end go into a copy of the memory, where the inversion finds them: what one target has found serves
    those like it. The loss learned from is that of the request, with its mask, terms and bounds.

    Args:
        num_rounds: of learning.
        learning_rate: of AdamW on θ's weights, a quarter of that of a fit.
        updates_per_round: evaluations, and updates of θ, in one round.
        num_rows: trajectories on the way at a time; None takes one for every target, 256 at most.
        horizon: evaluations after which a trajectory ends.

    Raises:
        ValueError: for a number below 1, or a learning rate that is not positive.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> y = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(2)), squares)
        >>> inverter = inverter.fit(y, num_rounds=5, progress=False)
        >>> result = inverter.invert(y[:64] + 9.0, 20, adapt=Adaptation(num_rounds=8))
        >>> bool((result.num_evaluations > 8).all()), bool((result.num_evaluations <= 20).all())
        (True, True)
    """

    num_rounds: int = 20
    learning_rate: float = 5e-4
    updates_per_round: int = 1
    num_rows: int | None = None
    horizon: int = 8

    def __post_init__(self) -> None:
        for name in ("num_rounds", "updates_per_round", "num_rows", "horizon"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")

    @classmethod
    def of(cls, adapt: Adaptation | bool | None) -> Adaptation | None:
        """What ``invert(adapt=...)`` was given: True is the default, False and None are no adaptation."""
        if isinstance(adapt, Adaptation):
            return adapt
        if adapt is None or isinstance(adapt, bool):
            return cls() if adapt else None
        raise TypeError(f"adapt must be True, False or a landscape_opt.Adaptation, got {type(adapt).__name__}")

    def run(self, inverter: LandscapeInverter, target: Batch, request: Request, objective: Objective) -> Adapted:
        """Learn from the targets of a request, until the rounds or its time are over.

        Args:
            inverter: fitted; is left as it is.
            target: a batch of targets.
            request: what is asked for.
            objective: with the terms of the request.

        Raises:
            ValueError: if learning would leave nothing of the budget, or the answer is to be differentiated through the
                steps.
        """
        began, size = time.monotonic(), batches.size(target)
        num_rows = min(self.num_rows or MAX_ROWS, size, request.max_batch_size or size)
        self._refuse(request, self._cost(self.num_rounds, num_rows, size))
        twin, generator = _twin(inverter), torch.Generator().manual_seed(inverter.seed)
        mapping = twin.landscape.mapping
        within = _WithinBounds.like(objective)
        told: Batch = _with_features(twin, within, batches.detached(request.bundled(target)), request.restarts)
        features = _features_of if within.terms.bundled else twin.landscape.features
        guide = Guide(within, mapping, features, partial(LandscapeStep, mapping), generator, twin.memory)
        replay = Streaming(num_rows, self.horizon, self.updates_per_round, start_share=0.0)
        optimizer = torch.optim.AdamW(mapping.parameters(), lr=self.learning_rate)
        updater = Updater(optimizer, factor=None, num_updates=inverter.num_updates)
        num_done = 0
        while num_done < self.num_rounds and _seconds_left(request, began) > 0:
            order = torch.randperm(size, generator=generator)
            play(batches.rows(told, order), guide, replay, LossRatio(), updater)
            num_done += 1
        if not all(bool(weight.isfinite().all()) for weight in mapping.parameters()):
            twin.landscape = inverter.landscape  # θ ran away: what went into the memory is all that was learned
        spent = self._cost(num_done, num_rows, size)
        seconds = None if request.max_seconds is None else max(1e-6, _seconds_left(request, began))
        return Adapted(twin, replace(request, max_evaluations=request.max_evaluations - spent, max_seconds=seconds), spent)

    def _cost(self, num_rounds: int, num_rows: int, size: int) -> int:
        """Evaluations for every target, rounded up."""
        return math.ceil(num_rounds * self.updates_per_round * num_rows / size)

    @staticmethod
    def _refuse(request: Request, cost: int) -> None:
        if cost >= request.max_evaluations:
            raise ValueError(
                f"adaptation takes {cost} of {request.max_evaluations} evaluations and leaves none for the inversion; raise "
                "max_evaluations, or give adapt=Adaptation(num_rounds=...) fewer rounds"
            )
        if request.differentiable is Differentiable.UNROLLED:
            raise ValueError(
                "differentiable='unrolled' would leave out how the targets changed θ; with adapt use 'implicit', which "
                "depends on the answer alone"
            )


@dataclass(frozen=True)
class Adapted:
    """What learning from a request gave.

    Attributes:
        inverter: a twin of the one that was asked, with a θ and a memory of its own.
        request: what is left to ask for, of evaluations and of time.
        num_evaluations: spent on every target, rounded up.
    """

    inverter: LandscapeInverter
    request: Request
    num_evaluations: int

    def charged(self, result: InversionResult) -> InversionResult:
        """The twin's answer, with what learning has cost."""
        return replace(result, num_evaluations=result.num_evaluations + self.num_evaluations)


class _WithinBounds(Objective):
    """Evaluates at the nearest point within the bounds, as a descent does; the gradient is pulled back from there."""

    def evaluate(self, x: Tensor, target: Batch) -> Evaluation:
        return super().evaluate(self.terms.feasible(x), target)


def _twin(inverter: LandscapeInverter) -> LandscapeInverter:
    """The same inverter with a copy of θ and of the memory."""
    twin, landscape, memory = copy.copy(inverter), inverter.landscape, inverter.memory
    mapping = copy.deepcopy(landscape.mapping)
    twin.landscape = LearnedLandscape(
        landscape.forward_model, landscape.layout.x_init, mapping, landscape.given, landscape.precision
    )
    twin.memory = Memory(memory.capacity, memory.max_bytes)
    twin.memory.load_state_dict(memory.state_dict())
    return twin


def _with_features(twin: LandscapeInverter, objective: Objective, bundle: Any, uses_memory: bool) -> Any:
    """The batch as the objective takes it, with what θ is told of it where that is not the batch itself.

    What a mask hides is filled in from the memory, as in an inversion; where that says nothing, with the mean of the fit,
    which is what θ takes an unknown feature for.
    """
    terms, landscape, mapping = objective.terms, twin.landscape, twin.landscape.mapping
    if not terms.bundled:
        return bundle
    target, whole = given_target(bundle, terms), None
    if uses_memory and len(twin.memory) > 0 and landscape.given is None and mapping.spec is not None:
        level, cost = float(mapping.loss), mapping.spec.evaluation_cost
        whole = StoredPoints(
            twin.memory, bundle, objective.loss_of, mapping.x_init, level, cost, terms
        ).completed()  # fmt: skip
    features = landscape.features(target if whole is None else whole)
    if features is None:
        return bundle
    if terms.masked and whole is None:
        known = landscape.known_features(target, bundle["observed"])
        features = features if known is None else torch.where(known > 0, features, mapping.target_mean)
    return {**bundle, "features": features}


def _features_of(bundle: Any) -> Tensor | None:
    return bundle.get("features") if isinstance(bundle, Dict) else None


def _seconds_left(request: Request, began: float) -> float:
    return math.inf if request.max_seconds is None else request.max_seconds - (time.monotonic() - began)
