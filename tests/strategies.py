"""What the laws are tried on: forward models, inverters (fitted once, then shared), and Hypothesis strategies."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.mappings import AnchoredMapping, ConditionedMapping, Mapping, ResidualMapping
from landscape_opt.replay import Alternating, Streaming
from landscape_opt.theta_objective import DistanceToEnd, LossAtPoint

KINDS = ("linear", "mlp", "conv")
DTYPES = (torch.float32, torch.float64)
MAPPINGS: dict[str, Callable[[], Mapping]] = {
    "residual": lambda: ResidualMapping(widths=(32, 32)),
    "conditioned": lambda: ConditionedMapping(widths=(32, 32)),
    "anchored": lambda: AnchoredMapping(width=32),
}
METHODS = ("default", "published", "distance")


def squares(prediction: Tensor, target: Tensor) -> Tensor:
    return 0.5 * (prediction - target).square().flatten(1).sum(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Case:
    """A forward model with its loss, its plain start and its targets."""

    forward_model: nn.Module
    x_init: Tensor
    loss_fn: Callable[[Any, Any], Tensor]

    def targets(self, count: int, seed: int) -> Tensor:
        """Targets that F can reach, from an eval-mode copy."""
        x = 0.8 * torch.randn(count, *self.x_init.shape, generator=seeded(seed), dtype=self.x_init.dtype)
        with torch.no_grad():
            return copy.deepcopy(self.forward_model).eval()(self.x_init + x)

    def loss_at(self, x: Any, target: Any) -> Tensor:
        """The loss recomputed outside the library."""
        with torch.no_grad():
            return self.loss_fn(copy.deepcopy(self.forward_model).eval()(x), target)


def linear_model(dtype: torch.dtype) -> nn.Module:
    model = nn.Linear(6, 8, dtype=dtype)
    left, _ = torch.linalg.qr(torch.randn(8, 8, generator=seeded(1), dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(6, 6, generator=seeded(2), dtype=torch.float64))
    with torch.no_grad():
        model.weight.copy_((left[:, :6] * torch.linspace(0.2, 1.0, 6, dtype=torch.float64)) @ right.T)
        model.bias.copy_(torch.randn(8, generator=seeded(3), dtype=torch.float64))
    return model


def mlp_model(dtype: torch.dtype) -> nn.Module:
    """With BatchNorm and Dropout, in training mode: the library must neither use nor change that."""
    model = nn.Sequential(nn.Linear(4, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Dropout(0.5), nn.Linear(24, 10)).to(dtype)
    fill(model, 4)
    return model.train()


def conv_model(dtype: torch.dtype) -> nn.Module:
    """A small generator: 5 numbers → 1 × 8 × 8."""
    model = nn.Sequential(
        nn.Linear(5, 4 * 2 * 2), nn.Unflatten(1, (4, 2, 2)), nn.SiLU(),
        nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1), nn.BatchNorm2d(4), nn.SiLU(),
        nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1),
    ).to(dtype)  # fmt: skip
    fill(model, 5)
    return model.train()


def fill(model: nn.Module, seed: int) -> None:
    """Weights that do not depend on the global random state, and running statistics that are not trivial."""
    generator = seeded(seed)
    with torch.no_grad():
        for weight in model.parameters():
            fan_in = max(1, weight[0].numel())
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) / fan_in**0.5)
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.weight.copy_(1.0 + 0.1 * torch.rand(part.weight.shape, generator=generator))
                part.running_mean.copy_(0.1 * torch.randn(part.running_mean.shape, generator=generator))
                part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=generator))


@cache
def case(kind: str, dtype: torch.dtype = torch.float32) -> Case:
    model = {"linear": linear_model, "mlp": mlp_model, "conv": conv_model}[kind](dtype)
    dim = {"linear": 6, "mlp": 4, "conv": 5}[kind]
    return Case(model, 0.1 * torch.randn(dim, generator=seeded(7), dtype=dtype), squares)


def new_inverter(
    forward_model: Any,
    x_init: Any,
    loss_fn: Any = squares,
    *,
    mapping: str = "anchored",
    method: str = "default",
    given: Any = None,
    seed: int = 0,
) -> LandscapeInverter:
    """An inverter of one of the METHODS, small enough that a round takes milliseconds."""
    landscape = LearnedLandscape(forward_model, x_init, MAPPINGS[mapping](), given)
    if method == "default":
        settings: dict[str, Any] = {"replay": Streaming(num_rows=32, horizon=4)}
    else:
        settings = {"replay": Alternating(num_steps=4, updates_per_round=4, batch_size=32, capacity=512)}
        if method == "published":
            settings["theta_objective"] = LossAtPoint()
            settings["z_optimizer"] = partial(torch.optim.Adam, lr=0.1)
        else:
            settings["theta_objective"] = DistanceToEnd()
    return LandscapeInverter(landscape, loss_fn, batch_size=32, seed=seed, **settings)


@cache
def fitted(
    kind: str, dtype: torch.dtype, mapping: str, method: str, num_rounds: int = 6, loss_factor: float = 1.0
) -> LandscapeInverter:
    """An inverter after a short fit; inverting does not change it, so tests share it."""
    problem = case(kind, dtype)

    def loss_fn(prediction: Any, target: Any) -> Tensor:
        return loss_factor * problem.loss_fn(prediction, target)

    inverter = new_inverter(problem.forward_model, problem.x_init, loss_fn, mapping=mapping, method=method)
    return inverter.fit(problem.targets(128, 11), num_rounds=num_rounds, progress=False)


# ---------------------------------------------------------------------------------------------- guests that misbehave


class Noisy(nn.Module):
    """Draws from all three global random states in forward."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.rand(()) + np.random.rand() + random.random()  # noqa: NPY002
        return self.inner(x) * (1.0 + 1e-3 * noise.to(x.dtype))


class NoCopy(nn.Module):
    """Refuses to be deep-copied, writes a buffer in every forward, and holds layers with train-mode behaviour."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def __deepcopy__(self, memo: Any) -> NoCopy:
        raise RuntimeError("this module cannot be copied")

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x)


class Fuse(nn.Module):
    """Raises in the n-th forward after it was armed."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.countdown = [10**9]  # shared with copies
        self.error: type[BaseException] = ZeroDivisionError

    def __deepcopy__(self, memo: Any) -> Fuse:
        twin = Fuse(copy.deepcopy(self.inner, memo))
        twin.countdown, twin.error = self.countdown, self.error
        return twin

    def forward(self, x: Tensor) -> Tensor:
        self.countdown[0] -= 1
        if self.countdown[0] <= 0:
            raise self.error("burnt")
        return self.inner(x)


class Poisoned(nn.Module):
    """F(x, poison): rows with poison 1 give NaN, rows with poison 2 give NaN once x has left the plain start."""

    def __init__(self, inner: nn.Module, x_init: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("x_init", x_init.clone())

    def forward(self, x: Tensor, poison: Tensor) -> Tensor:
        prediction = self.inner(x)
        away = (x - self.x_init).flatten(1).norm(dim=1) > 0.05
        bad = (poison == 1) | ((poison == 2) & away)
        return torch.where(bad.reshape(-1, *[1] * (prediction.ndim - 1)), torch.nan, prediction)


def poisonable_loss(prediction: Tensor, target: dict[str, Tensor]) -> Tensor:
    return squares(prediction, target["y"])


@cache
def poisonable(kind: str, dtype: torch.dtype, mapping: str, method: str) -> LandscapeInverter:
    """As `fitted`, for dict targets whose "poison" marks the rows that F fails on."""
    problem = case(kind, dtype)
    inverter = new_inverter(
        Poisoned(problem.forward_model, problem.x_init), problem.x_init, poisonable_loss,
        mapping=mapping, method=method, given=lambda target: target["poison"],
    )  # fmt: skip
    targets = {"y": problem.targets(128, 11), "poison": torch.zeros(128, dtype=torch.long)}
    return inverter.fit(targets, num_rounds=3, progress=False)


class Wrapper:
    """Not a module: holds one, as users' renderers and simulators do."""

    def __init__(self, inner: nn.Module) -> None:
        self.parts = {"inner": [inner]}

    def render(self, x: Tensor) -> Tensor:
        return self.parts["inner"][0](x)

    def __call__(self, x: Tensor) -> Tensor:
        return self.render(x)


def call(inner: nn.Module, x: Tensor) -> Tensor:
    return inner(x)


WRAPPINGS: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "closure": lambda inner: lambda x: inner(x),
    "closure in a closure": lambda inner: lambda x: (lambda: inner(x))(),
    "default": lambda inner: lambda x, inner=inner: inner(x),
    "partial": lambda inner: partial(call, inner),
    "module method": lambda inner: inner.forward,
    "object": Wrapper,
    "object method": lambda inner: Wrapper(inner).render,
    "partial of an object method": lambda inner: partial(Wrapper(inner).render),
}


class Counter:
    """A forward hook that counts calls and rows."""

    def __init__(self) -> None:
        self.calls, self.rows = 0, 0

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.calls += 1
        self.rows += len(output)


# ------------------------------------------------------------------------------------------------------- strategies

kinds = st.sampled_from(KINDS)
dtypes = st.sampled_from(DTYPES)
target_seeds = st.integers(min_value=100, max_value=10_000)
batch_sizes = st.integers(min_value=2, max_value=7)
budgets = st.integers(min_value=0, max_value=12)
optimizers = st.sampled_from(
    [
        partial(torch.optim.SGD, lr=0.05),
        partial(torch.optim.SGD, lr=0.02, momentum=0.9),
        partial(torch.optim.SGD, lr=0.02, momentum=0.9, nesterov=True),
        partial(torch.optim.Adam, lr=0.05),
        partial(torch.optim.Adam, lr=0.2, betas=(0.5, 0.9)),
        partial(torch.optim.RMSprop, lr=0.01),
    ]
)
