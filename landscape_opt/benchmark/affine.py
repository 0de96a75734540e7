"""The simplest landscape: a start that is an affine function of the target, and one metric for all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..mappings.context import Context
from ..mappings.layers import FULL_LINEAR_UP_TO, NearIdentity, zeroed
from ..mappings.mapping import Mapping, MappingSpec
from ..mappings.metric import RowMetric, SharedMetric

MAX_WEIGHTS = 4 * FULL_LINEAR_UP_TO**2


class AffineMapping(Mapping):
    """θ(z; y) = x_init + 3r (A y + b) + J z before the first evaluation, x_k + J z after it; J a constant d × d matrix.

    What is left of the anchored landscape when nothing of it may depend on what F shows but the gradient. A is left out
    where it would have more than a million entries, and J is diagonal for large d.
    """

    reanchors = True

    def make_layers(self, spec: MappingSpec) -> None:
        """A, b and J."""
        features = spec.num_target_features
        dense = 0 < features * spec.dim <= MAX_WEIGHTS
        self.linear = zeroed(nn.Linear(features, spec.dim, bias=False)) if dense else None
        self.constant = nn.Parameter(torch.zeros(spec.dim))
        self.jacobian = NearIdentity(spec.dim)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        """x of z (B, d)."""
        moved: Tensor = self.jacobian(z)
        if context.evaluation is not None:
            return context.evaluation.x + moved
        displacement = self.constant
        if self.linear is not None:
            displacement = displacement + self.linear(self.standardised(context, z.shape[0]))
        return self.x_init + 3.0 * self.move * displacement + z

    def pull_back(self, z: Tensor, context: Context, grad_x: Tensor) -> Tensor:
        """Jᵀ ∂L/∂x."""
        weight = self.jacobian.weight
        return grad_x @ weight if self.jacobian.dense else grad_x * weight

    def metric(self, z: Tensor, context: Context) -> RowMetric:
        """v ↦ η J Jᵀ v."""
        step = self.step.detach()

        def apply(v: Tensor) -> Tensor:
            with torch.no_grad():
                pushed: Tensor = step * self.jacobian(self.pull_back(z, context, v))
            return pushed

        return SharedMetric(apply, owner=self)
