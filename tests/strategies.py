"""What the laws are tried on: forward models, inverters (fitted once, then shared), and Hypothesis strategies."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from landscape_opt import InversionResult, LandscapeInverter, LearnedLandscape, LeastSquares
from landscape_opt.mappings import AnchoredMapping, ConditionedMapping, Mapping, ResidualMapping
from landscape_opt.replay import Alternating, Streaming
from landscape_opt.solvers import LBFGS, Backtracking, BestOf, LevenbergMarquardt, Solver, TorchOptim
from landscape_opt.solvers.adaptive import AdaptiveStep
from landscape_opt.solvers.torch_optim import OptimizerFactory
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
            return copy.deepcopy(self.forward_model).eval()(self.x_init + x.to(self.x_init))

    def on(self, device: torch.device) -> Case:
        """The same on another device."""
        return Case(copy.deepcopy(self.forward_model).to(device), self.x_init.to(device), self.loss_fn)

    def prediction_at(self, x: Any) -> Any:
        """F(x) outside the library."""
        with torch.no_grad():
            return copy.deepcopy(self.forward_model).eval()(x)

    def loss_at(self, x: Any, target: Any) -> Tensor:
        """The loss recomputed outside the library."""
        with torch.no_grad():
            return self.loss_fn(self.prediction_at(x), target)


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


# ------------------------------------------------------------------------------------------------- ways to move points

FAILS_AT_START, FAILS_NEARBY = 1e9, 2e9
"""The first element of a target whose row is to fail: everywhere, or where its other errors are small."""


def residuals(factor: float) -> LeastSquares:
    """The loss `squares` times factor², as residuals; NaN with their gradient where a row is to fail."""

    def of(prediction: Tensor, target: Tensor) -> Tensor:
        mark, errors = target.flatten(1)[:, :1], (prediction - target).flatten(1)
        errors = torch.cat([torch.where(mark >= FAILS_AT_START, 0.0, errors[:, :1]), errors[:, 1:]], dim=1)
        is_near = errors.square().sum(1, keepdim=True) < 0.1
        fails = (mark == FAILS_AT_START) | ((mark == FAILS_NEARBY) & is_near)
        return factor * errors * torch.where(fails, torch.nan, 1.0).to(errors)

    return LeastSquares(of)


OPTIMIZERS: dict[str, OptimizerFactory] = {
    "SGD": partial(torch.optim.SGD, lr=0.05),
    "momentum": partial(torch.optim.SGD, lr=0.02, momentum=0.9),
    "Adam": partial(torch.optim.Adam, lr=0.05),
}


def best_of_three(landscape: LearnedLandscape, num_rows: int) -> Solver:
    """The plain start and two points beside it, the same for every row."""
    beside = 0.3 * torch.randn(3, landscape.layout.dim, generator=seeded(8)).to(landscape.layout.row)
    beside[0] = 0.0
    return BestOf((landscape.layout.row + beside).expand(num_rows, -1, -1), LBFGS())


# What takes a landscape and a number of rows, since some hold a mapping or points of their own.
SOLVERS: dict[str, Callable[[LearnedLandscape, int], Solver]] = {
    "L-BFGS": lambda landscape, num_rows: LBFGS(),
    "L-BFGS of two pairs": lambda landscape, num_rows: LBFGS(memory=2, first_step=0.3),
    "Levenberg-Marquardt": lambda landscape, num_rows: LevenbergMarquardt(),
    "backtracking": lambda landscape, num_rows: Backtracking(),
    "adaptive steps": lambda landscape, num_rows: AdaptiveStep(landscape.plain(), first_length=1.0),
    **{
        name: lambda landscape, num_rows, factory=factory: TorchOptim(landscape.plain(), factory)
        for name, factory in OPTIMIZERS.items()
    },
}


@dataclass(frozen=True)
class Way:
    """A way to move points: what an inverter is made with, and what an inversion is asked for.

    Attributes:
        solver: what moves x, one of the SOLVERS by name.
        z_optimizer: one of the OPTIMIZERS by name.
        is_scale_free: whether the path is to be the same whatever the unit of the loss.
        max_evaluations: enough for something of everything to happen.
        others: further arguments of `invert`.
    """

    solver: str | None = None
    z_optimizer: str | None = None
    is_fitted: bool = True
    mapping: str = "anchored"
    refine: bool | None = None
    restarts: bool = True
    num_hypotheses: int = 1
    is_scale_free: bool = True
    max_evaluations: int = 10

    def inverter(self, kind: str, dtype: torch.dtype, factor: float = 1.0) -> LandscapeInverter:
        """With the loss times factor²."""
        return _inverter(kind, dtype, self.mapping, self.is_fitted, self.z_optimizer, factor)

    def ask(self, inverter: LandscapeInverter, target: Tensor, budget: int | None = None, **options: Any) -> InversionResult:
        """An inversion in this way, with further options."""
        asked: dict[str, Any] = {
            "solver": None if self.solver is None else SOLVERS[self.solver](inverter.landscape, len(target)),
            "refine": self.refine,
            "restarts": self.restarts,
            "num_hypotheses": self.num_hypotheses,
            "allow_unfitted": not self.is_fitted,
        }
        return inverter.invert(target, self.max_evaluations if budget is None else budget, **(asked | options))

    def invert(self, kind: str, dtype: torch.dtype, target: Tensor, budget: int | None = None) -> InversionResult:
        """The same, with the inverter of a case."""
        return self.ask(self.inverter(kind, dtype), target, budget)

    @property
    def has_jacobians(self) -> bool:
        """Whether some evaluations are charged for products with a Jacobian."""
        return self.solver == "Levenberg-Marquardt"


@cache
def _inverter(
    kind: str, dtype: torch.dtype, mapping: str, is_fitted: bool, z_optimizer: str | None, factor: float
) -> LandscapeInverter:
    """The landscape and the memory of `fitted`, in an inverter whose loss shows its residuals."""
    problem, factory = case(kind, dtype), None if z_optimizer is None else OPTIMIZERS[z_optimizer]
    if not is_fitted:
        plain = LearnedLandscape(problem.forward_model, problem.x_init)
        return LandscapeInverter(plain, residuals(factor), z_optimizer=factory)
    scale = () if factor == 1.0 else (6, factor**2)  # as others write it, so that the fit is shared
    done = fitted(kind, dtype, mapping, "default", *scale)
    return LandscapeInverter(done.landscape, residuals(factor), z_optimizer=factory, memory=done.memory)


NOT_SCALE_FREE = ("L-BFGS of two pairs", *OPTIMIZERS)  # they take a length in the unit of the loss
WAYS: dict[str, Way] = {
    **{
        f"{name}, {when}": Way(
            name, is_fitted=is_fitted, is_scale_free=name not in NOT_SCALE_FREE,
            max_evaluations=25 if name == "Levenberg-Marquardt" else 10,
        )
        for when, is_fitted in (("before any fit", False), ("after the hand-over", True))
        for name in SOLVERS
    },
    "best of three points, before any fit": Way("best of three points", is_fitted=False),
    **{f"{name} in Z": Way(z_optimizer=name, is_scale_free=False) for name in OPTIMIZERS},
    "Adam in Z, then L-BFGS": Way(z_optimizer="Adam", refine=True, is_scale_free=False),
    "the default": Way(max_evaluations=12),  # restarts look at a row after eight evaluations
    "the default without restarts": Way(restarts=False),
    "landscape steps": Way(refine=False, restarts=False),
    "θ(z), then Levenberg-Marquardt": Way("Levenberg-Marquardt", mapping="residual", max_evaluations=25),
    "three hypotheses": Way(num_hypotheses=3),  # the weaker half is given up after eight evaluations
    "three hypotheses before any fit": Way(num_hypotheses=3, is_fitted=False),
    "three hypotheses of θ(z)": Way(num_hypotheses=3, mapping="residual"),
    "three hypotheses by Levenberg-Marquardt": Way("Levenberg-Marquardt", num_hypotheses=3, max_evaluations=25),
}  # fmt: skip
SOLVERS["best of three points"] = best_of_three  # its points are of the rows that it begins with: before any fit alone


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
    """A forward hook that counts calls and rows; hung into a module by ``with counter.of(module)``."""

    def __init__(self) -> None:
        self.calls, self.rows = 0, 0

    @contextmanager
    def of(self, module: nn.Module) -> Iterator[Counter]:
        handle = module.register_forward_hook(self)
        try:
            yield self
        finally:
            handle.remove()

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
