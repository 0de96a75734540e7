"""Processor time of a fit by whose it is: F, θ, or what stands around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import batches
from ..mappings.context import Context
from ..mappings.mapping import LocalMapping, Mapping
from ..objective import ForwardModel, LossFn, Objective
from ..replay.points import Points
from ..theta_objective import Judgement, ThetaObjective
from .turns import processor_seconds

F, LOSS, THETA = "F", "loss", "θ"


class Clock:
    """Adds up processor seconds of what is named; of two spans, one within the other, the inner one counts.

    Attributes:
        seconds: by name.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((F, LOSS, THETA), 0.0)
        self.running: list[str] = []
        self.since = 0.0

    def begin(self, name: str) -> None:
        """What follows is of this name."""
        self._settle()
        self.running.append(name)

    def end(self, name: str) -> None:
        """It was, up to here; nothing where it is not running."""
        self._settle()
        if name in self.running:
            del self.running[len(self.running) - 1 - self.running[::-1].index(name) :]

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """What is done inside is of this name."""
        self.begin(name)
        try:
            yield
        finally:
            self.end(name)

    def _settle(self) -> None:
        now = processor_seconds()
        if self.running:
            self.seconds[self.running[-1]] += now - self.since
        self.since = now


class _Mark(torch.autograd.Function):
    """The identity, whose backward begins or ends spans."""

    @staticmethod
    def forward(ctx: Any, marked: Callable[[], None], *leaves: Tensor) -> tuple[Tensor, ...]:
        ctx.marked = marked
        return tuple(leaf.view_as(leaf) for leaf in leaves)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        ctx.marked()
        return None, *gradients


def _marked(batch: Any, marked: Callable[[], None]) -> Any:
    leaves = [leaf for leaf in batches.float_leaves(batch) if leaf.requires_grad]
    marking: Any = _Mark.apply
    passed = iter(marking(marked, *leaves)) if leaves else iter(())
    return batches.map_leaves(lambda leaf: next(passed) if leaf.is_floating_point() and leaf.requires_grad else leaf, batch)


def timed_model(forward_model: ForwardModel, clock: Clock) -> ForwardModel:
    """F, with its forward and its backward timed: from where gradients enter its prediction to where they leave its x."""

    def timed(x: Any, *given: Any) -> Any:
        with clock.of(F):
            prediction = forward_model(_marked(x, partial(clock.end, F)), *given)
        return _marked(prediction, partial(clock.begin, F))

    return timed


def timed_loss(loss_fn: LossFn, clock: Clock) -> LossFn:
    """A loss whose forward is timed; it is the user's, too. Its backward counts with what stands around F."""

    def timed(prediction: Any, target: Any) -> Tensor:
        with clock.of(LOSS):
            return loss_fn(prediction, target)

    return timed


class TimedObjective(ThetaObjective):
    """θ's objective, with the backward through θ begun on the clock; :func:`timed_optimizer` ends it.

    Args:
        objective: that is timed.
        clock: that takes it.
    """

    def __init__(self, objective: ThetaObjective, clock: Clock) -> None:
        self.objective, self.clock = objective, clock

    def judge(self, points: Points, mapping: Mapping, objective: Objective) -> Judgement:
        """The same judgement."""
        judgement = self.objective.judge(points, mapping, objective)
        return Judgement(_marked(judgement.value, partial(self.clock.begin, THETA)), judgement.evaluation)


def timed_optimizer(
    make: Callable[[list[Tensor]], torch.optim.Optimizer], clock: Clock
) -> Callable[[list[Tensor]], torch.optim.Optimizer]:
    """θ's optimizer: from the backward through θ to the end of its step the time is θ's."""

    def made(weights: list[Tensor]) -> torch.optim.Optimizer:
        optimizer = make(weights)
        optimizer.register_step_post_hook(lambda *_: clock.end(THETA))
        return optimizer

    return made


class TimedLocal(LocalMapping):
    """θ with its context read, timed."""

    def __init__(self, local: LocalMapping, clock: Clock) -> None:
        super().__init__(local.mapping, local.context)
        self.local, self.clock = local, clock

    def __call__(self, z: Tensor) -> Tensor:
        """x of z, (B, d)."""
        with self.clock.of(THETA):
            return self.local(z)

    def pull_back(self, z: Tensor, grad_x: Tensor) -> Tensor:
        """∂L/∂z at z, (B, dim_z)."""
        with self.clock.of(THETA):
            return self.local.pull_back(z, grad_x)


def time_mapping(mapping: Mapping, clock: Clock) -> None:
    """Time θ wherever it is read, in place."""
    local, forward, pull_back = mapping.local, mapping.forward, mapping.pull_back

    def timed_local(context: Context) -> LocalMapping:
        with clock.of(THETA):
            return TimedLocal(local(context), clock)

    def timed_forward(z: Tensor, context: Context) -> Tensor:
        with clock.of(THETA):
            return forward(z, context)

    def timed_pull_back(z: Tensor, context: Context, grad_x: Tensor) -> Tensor:
        with clock.of(THETA):
            return pull_back(z, context, grad_x)

    for name, timed in (("local", timed_local), ("forward", timed_forward), ("pull_back", timed_pull_back)):
        setattr(mapping, name, timed)
