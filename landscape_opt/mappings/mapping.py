"""The interface of every mapping θ : Z → X."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .context import Context
from .metric import RowMetric, SharedMetric

LOWEST = 1e-7
"""Rows of a fit are done at this share of L₀: what follows is the solver's business."""
NEWEST = 0.02
"""Weight of the rows that end now in what rows have attained, on a logarithmic scale."""


@dataclass(frozen=True)
class MappingSpec:
    """What a mapping is built for.

    Attributes:
        x_init: the plain start, flat, (d,).
        num_target_features: m, the floats that can be read of one target; 0 where none can.
        num_prediction_features: the floats of one prediction.
        evaluation_cost: multiply-adds of one evaluation of F for one sample of a batch of 256; sets how wide θ may be.
        call_cost: what of that is the price of calls, the same for a batch of fewer rows.
    """

    x_init: Tensor
    num_target_features: int
    num_prediction_features: int
    evaluation_cost: float = 0.0
    call_cost: float = 0.0

    @property
    def dim(self) -> int:
        """d, the numbers in one x."""
        return self.x_init.numel()


@dataclass(frozen=True)
class Calibration:
    """The scales of a problem, from a few targets at the plain start.

    Attributes:
        step: η, the length of a gradient step in x that lowers the mean loss most.
        move: r = η · rms(∂L/∂x), what that step does to an element of x.
        loss: L₀, the mean loss at the plain start.
        distance: D, how far plain descent goes from the plain start, ‖x − x_init‖, for nine in ten targets.
        target_mean: of the target features, (m,); None where there are none.
        target_std: likewise.
    """

    step: float
    move: float
    loss: float
    distance: float
    target_mean: Tensor | None = None
    target_std: Tensor | None = None


class Mapping(nn.Module, ABC):
    """θ(z; context) → x, near the identity at birth.

    Laws: θ(0) = x_init before any fit, with J = ∂θ/∂z the identity, so that descent in Z is descent in X (law 3).

    Attributes:
        reanchors: whether every evaluation starts a new chart around the point evaluated, with z at 0 again.
        attained: the loss that about a quarter of the fit's rows ended below; infinity where none has.
    """

    reanchors: ClassVar[bool] = False

    x_init: Tensor
    step: Tensor
    move: Tensor
    loss: Tensor
    distance: Tensor
    attained: Tensor
    fitted: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.spec: MappingSpec | None = None

    @property
    def is_built(self) -> bool:
        """Whether the sizes of x and of the targets are known."""
        return self.spec is not None

    @property
    def dim_z(self) -> int:
        """Numbers in one z."""
        return self.x_init.numel()

    def build(self, spec: MappingSpec) -> None:
        """Make the weights, once the sizes are known. Weights take the dtype and device of ``spec.x_init``."""
        self.spec = spec
        self.register_buffer("x_init", spec.x_init.clone())
        scales = {"step": 1.0, "move": 1.0, "loss": 1.0, "distance": 1.0, "attained": math.inf, "fitted": 0.0}
        for name, value in scales.items():
            self.register_buffer(name, spec.x_init.new_tensor(value))
        self.register_buffer("target_mean", spec.x_init.new_zeros(spec.num_target_features))
        self.register_buffer("target_std", spec.x_init.new_ones(spec.num_target_features))
        self.make_layers(spec)
        self.to(spec.x_init)

    @abstractmethod
    def make_layers(self, spec: MappingSpec) -> None:
        """Create the submodules."""

    @abstractmethod
    def forward(self, z: Tensor, context: Context) -> Tensor:
        """x, flat, (B, d), of z (B, dim_z)."""

    def calibrate(self, calibration: Calibration) -> None:
        """Take the scales of the problem."""
        self.step.fill_(calibration.step)
        self.move.fill_(calibration.move)
        self.loss.fill_(calibration.loss)
        self.distance.fill_(calibration.distance)
        self.fitted.fill_(1.0)
        if calibration.target_mean is not None and calibration.target_std is not None:
            self.target_mean.copy_(calibration.target_mean)
            self.target_std.copy_(calibration.target_std)

    def attain(self, loss: Tensor) -> None:
        """Keep in mind what rows of the fit end with: ``attained``, the loss that about a quarter of them end below.

        The geometric mean of the lower quartiles of the last fifty times or so.

        Args:
            loss: of the rows that end now, (N,).
        """
        known = loss[loss.isfinite()].to(self.attained)
        if len(known) == 0:
            return
        quartile = known.quantile(0.25).clamp_min(LOWEST * self.loss)
        before = torch.where(self.attained.isfinite(), self.attained, quartile)
        self.attained.copy_(before * (quartile / before) ** NEWEST)

    @property
    def z_step(self) -> Tensor:
        """The length of a gradient step in Z."""
        return self.step

    def local(self, context: Context) -> LocalMapping:
        """θ with this context read."""
        return LocalMapping(self, context)

    def pull_back(self, z: Tensor, context: Context, grad_x: Tensor) -> Tensor:
        """∂L/∂z = Jᵀ ∂L/∂x at z, (B, dim_z)."""
        leaf = z.detach().requires_grad_(True)
        with torch.enable_grad():
            x = self(leaf, context)
            return torch.autograd.grad(x, leaf, grad_x)[0]

    def metric(self, z: Tensor, context: Context) -> RowMetric:
        """The learned metric v ↦ step · J Jᵀ v, (B, d) → (B, d), at z: what a solver in X inherits."""
        return _JacobianMetric(self, z.detach(), context)

    def standardised(self, context: Context, batch_size: int) -> Tensor:
        """Target features in their own units, clamped, zero where unknown, (B, m)."""
        if context.target is None or self.target_mean.numel() == 0:
            return self.x_init.new_zeros(batch_size, self.target_mean.numel())
        standard = ((context.target - self.target_mean) / self.target_std).clamp(-6, 6)
        if context.known is None:
            return standard
        return standard * (context.known[:, None] if context.known.ndim == 1 else context.known)

    def check_fits(self, num_target_features: int) -> None:
        """Refuse targets of another size than θ was built for."""
        built_for = self.target_mean.numel()
        if num_target_features != built_for:
            raise ValueError(
                f"these targets have {num_target_features} features per row, the landscape was built for {built_for}"
            )


class _JacobianMetric(RowMetric):
    """v ↦ step · J Jᵀ v of any θ, by differentiating it."""

    def __init__(self, mapping: Mapping, z: Tensor, context: Context) -> None:
        self.mapping, self.z, self.context = mapping, z, context

    def __call__(self, v: Tensor) -> Tensor:
        # J w is the derivative of v ↦ Jᵀ v, pulled back by w: torch's forward mode warns of torch.jit when it loads.
        of_v = torch.func.vjp(self._pull, v)
        pushed: Tensor = of_v[1](of_v[0])[0]
        return (self.mapping.z_step * pushed).detach()

    def _pull(self, v: Tensor) -> Tensor:
        pulled: Tensor = torch.func.vjp(lambda at: self.mapping(at, self.context), self.z)[1](v)[0]
        return pulled

    def rows(self, index: Tensor) -> RowMetric:
        return _JacobianMetric(self.mapping, self.z[index], self.context.rows(index))


class LocalMapping:
    """θ with its context read: what a step needs, Jᵀ and then x, without reading the context twice.

    Args:
        mapping: θ.
        context: what it is told.

    Example:
        >>> from landscape_opt import LearnedLandscape
        >>> local = LocalMapping(LearnedLandscape(torch.sinh, torch.ones(2)).plain(), Context())
        >>> local(torch.zeros(1, 2)), local.pull_back(torch.zeros(1, 2), grad_x=torch.full((1, 2), 3.0))
        (tensor([[1., 1.]]), tensor([[3., 3.]]))
    """

    def __init__(self, mapping: Mapping, context: Context) -> None:
        self.mapping, self.context = mapping, context

    def __call__(self, z: Tensor) -> Tensor:
        """x of z, (B, d)."""
        x: Tensor = self.mapping(z, self.context)
        return x

    def pull_back(self, z: Tensor, grad_x: Tensor) -> Tensor:
        """∂L/∂z at z, (B, dim_z)."""
        return self.mapping.pull_back(z, self.context, grad_x)


class PlainMapping(Mapping):
    """θ(z) = x_k + z: no learning. Descent in Z is descent in X, from wherever the last evaluation was.

    Example:
        >>> mapping = PlainMapping()
        >>> mapping.build(MappingSpec(torch.ones(2), num_target_features=0, num_prediction_features=0))
        >>> mapping(torch.tensor([[0.5, -0.5]]), Context())
        tensor([[1.5000, 0.5000]])
    """

    reanchors = True

    def make_layers(self, spec: MappingSpec) -> None:
        """Nothing to make."""

    def forward(self, z: Tensor, context: Context) -> Tensor:
        """x_k + z, or x_init + z before the first evaluation."""
        return z + (self.x_init if context.evaluation is None else context.evaluation.x)

    def pull_back(self, z: Tensor, context: Context, grad_x: Tensor) -> Tensor:
        """The gradient itself."""
        return grad_x

    def metric(self, z: Tensor, context: Context) -> RowMetric:
        """v ↦ step · v."""
        return scaling(self)


def scaling(mapping: Mapping) -> RowMetric:
    """v ↦ step · v: where J is the identity."""
    step = mapping.step.detach()
    return SharedMetric(lambda v: step * v, owner=mapping)
