"""The third rung, the default: what the last evaluation of F showed chooses the next chart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .context import Context
from .layers import FULL_LINEAR_UP_TO, LearnedStart, Linear, TargetCode, mlp, times, zeroed
from .mapping import LocalMapping, Mapping, MappingSpec, scaling
from .metric import RowMetric
from .seen import Seen

MAX_RANK = 16


@dataclass(frozen=True)
class Chart:
    """x = anchor + base + J z, with J = diag(1 + a) + U Vᵀ + S kept in factors.

    Attributes:
        base: the displacement at z = 0, (B, d).
        diagonal: 1 + a, (B, d).
        left: U, (B, d, rank).
        right: V, (d, rank), shared by all rows.
        shared: S, (d, d), shared by all rows; None for large d.
    """

    base: Tensor
    diagonal: Tensor
    left: Tensor
    right: Tensor
    shared: Tensor | None

    def push(self, z: Tensor) -> Tensor:
        """J z, (B, d)."""
        pushed = self.diagonal * z + (self.left @ times(z, self.right)[..., None])[..., 0]
        return pushed if self.shared is None else pushed + times(z, self.shared.T)

    def pull(self, v: Tensor) -> Tensor:
        """Jᵀ v, (B, d)."""
        pulled = self.diagonal * v + times((v[:, None] @ self.left)[:, 0], self.right.T)
        return pulled if self.shared is None else pulled + times(v, self.shared)

    def rows(self, index: Tensor | slice) -> Chart:
        """The rows that ``index`` picks."""
        return self.map(lambda part: part[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> Chart:
        """The function on every part that has a row for each sample."""
        return replace(self, base=function(self.base), diagonal=function(self.diagonal), left=function(self.left))

    def beside(self, other: Chart) -> Chart:
        """These rows and, behind them, those of another chart of the same θ."""
        return replace(
            self,
            base=torch.cat([self.base, other.base]),
            diagonal=torch.cat([self.diagonal, other.diagonal]),
            left=torch.cat([self.left, other.left]),
        )


class AnchoredMapping(Mapping):
    r"""θ(z; c_k) = x_k + base(c_k) + J(c_k) z, a new chart after every evaluation of F.

    The context c_k holds features of y and the last evaluation: x_k, L_k, ∂L/∂x and ∂L/∂prediction. With
    J = diag(1 + a) + U Vᵀ + S,

        base(c) = r · min(√(L_k/L₀), 3) · b₁(c) + η ‖∂L/∂x‖/√d · b₂(c)

    shrinks as the loss does, so that descent contracts instead of ending on a plateau. Before the first evaluation
    θ(z; y) = x_init + 3r · start(y) + z. At birth base = a = U = S = 0: θ(z) = x_k + z.

    Related: supervised descent (Xiong & De la Torre 2013), partially learned gradient schemes (Adler & Öktem 2017),
    learned gradient descent (Song et al. 2020). Here single steps are fitted on replayed states.

    Args:
        width: of the hidden layers; None follows the sizes of x and y and the cost of F.
        rank: of U Vᵀ; None takes at most 16 and less for large d.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> landscape = LearnedLandscape(torch.sinh, torch.zeros(2), mapping=AnchoredMapping(width=16))
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> landscape = LandscapeInverter(landscape, squares).prepare(y)
        >>> torch.equal(landscape.x(torch.zeros(4, 2), y[:4]), torch.zeros(4, 2))  # θ(0) = x_init before any update
        True
    """

    reanchors = True

    def __init__(self, width: int | None = None, rank: int | None = None) -> None:
        super().__init__()
        self.width, self.rank = width, rank

    def make_layers(self, spec: MappingSpec) -> None:
        """The start, the trunk that reads the context, and the heads of the chart."""
        dim, seen = spec.dim, spec.num_prediction_features
        width = self.width or affordable_width(spec)
        rank = min(dim, self.rank or max(1, min(MAX_RANK, 8192 // dim)))
        code = TargetCode(spec.num_target_features, width)
        self.start = LearnedStart(code, spec.num_target_features, width, dim)
        self.trunk = nn.Sequential(mlp(code.size + 2 * dim + seen + 2, [width, width], width), nn.SiLU())
        self.along_x = zeroed(Linear(width, dim))
        self.along_gradient = zeroed(Linear(width, dim))
        self.diagonal = zeroed(Linear(width, dim))
        self.left = zeroed(Linear(width, dim * rank))
        # U alone is zero at birth: with both factors at zero neither would ever get a gradient.
        self.right = nn.Parameter(torch.randn(dim, rank) / dim**0.5)
        dense = max(dim, seen) <= FULL_LINEAR_UP_TO
        self.from_residual = zeroed(Linear(seen, dim, bias=False)) if dense and seen else None
        self.from_gradient = zeroed(Linear(dim, dim, bias=False)) if dense else None
        self.shared = nn.Parameter(torch.zeros(dim, dim)) if dense else None

    def forward(self, z: Tensor, context: Context) -> Tensor:
        """x of z (B, d): around the last evaluation, or around the learned start before the first."""
        if context.evaluation is None:
            standardised = self.standardised(context, z.shape[0])
            start: Tensor = self.start(standardised)
            return self.x_init + 3.0 * self.move * start + z
        return _LocalChart(self, context)(z)

    def local(self, context: Context) -> LocalMapping:
        """The chart of this context, chosen once."""
        return LocalMapping(self, context) if context.evaluation is None else _LocalChart(self, context)

    def pull_back(self, z: Tensor, context: Context, grad_x: Tensor) -> Tensor:
        """Jᵀ ∂L/∂x: the same at every z of a chart."""
        return grad_x if context.evaluation is None else self.chart(context).pull(grad_x)

    def metric(self, z: Tensor, context: Context) -> RowMetric:
        """v ↦ η J Jᵀ v, in factors."""
        if context.evaluation is None:
            return scaling(self)
        with torch.no_grad():
            return _ChartMetric(self.step.detach(), self.chart(context))

    def chart(self, context: Context) -> Chart:
        """The chart that the context chooses."""
        evaluation = context.evaluation
        assert evaluation is not None
        dim = self.x_init.numel()
        seen = Seen.of(evaluation, self)
        code = self.start.code(self.standardised(context, evaluation.x.shape[0]))
        features = self.trunk(seen.beside(code))
        along_x, along_gradient = self.along_x(features), self.along_gradient(features)
        if self.from_residual is not None:
            along_x = along_x + self.from_residual(seen.residual)
        if self.from_gradient is not None:
            along_gradient = along_gradient + self.from_gradient(seen.gradient)
        return Chart(
            base=self.move * seen.reach * along_x + seen.stride * along_gradient,
            diagonal=1.0 + self.diagonal(features),
            left=self.left(features).reshape(-1, dim, self.right.shape[1]),
            right=self.right,
            shared=self.shared,
        )


class _ChartMetric(RowMetric):
    """v ↦ η J Jᵀ v of a chart for every row."""

    def __init__(self, step: Tensor, chart: Chart) -> None:
        self.step, self.chart = step, chart

    def __call__(self, v: Tensor) -> Tensor:
        with torch.no_grad():  # V and S are parameters: a graph would follow the solver into the buffer
            return self.step * self.chart.push(self.chart.pull(v))

    def rows(self, index: Tensor) -> RowMetric:
        return _ChartMetric(self.step, self.chart.rows(index))

    def beside(self, other: RowMetric) -> RowMetric | None:
        if not isinstance(other, _ChartMetric) or other.chart.right is not self.chart.right:
            return None
        return _ChartMetric(self.step, self.chart.beside(other.chart))


class _LocalChart(LocalMapping):
    """A chart around the last evaluation."""

    def __init__(self, mapping: AnchoredMapping, context: Context) -> None:
        super().__init__(mapping, context)
        self.chart = mapping.chart(context)

    def __call__(self, z: Tensor) -> Tensor:
        evaluation, trust = self.context.evaluation, self.context.trust
        assert evaluation is not None
        base = self.chart.base if trust is None else trust[:, None] * self.chart.base
        return evaluation.x + base + self.chart.push(z)

    def pull_back(self, z: Tensor, grad_x: Tensor) -> Tensor:
        return self.chart.pull(grad_x)


def affordable_width(spec: MappingSpec) -> int:
    """A width at which one reading of θ costs about as much as one evaluation of F, between 64 and 256."""
    inputs = spec.dim * 6 + spec.num_prediction_features + spec.num_target_features
    for width in (256, 192, 128, 96):
        if width * (inputs + 4 * width) <= 4.0 * spec.evaluation_cost:
            return width
    return 64
