"""The second rung: the mapping is told the target."""

from __future__ import annotations

import torch
from torch import Tensor

from .context import Context
from .layers import LearnedStart, NearIdentity, TargetCode, mlp, zeroed
from .mapping import Mapping, MappingSpec


class ConditionedMapping(Mapping):
    """θ(z; y) = x_init + 3r start(y) + s (W z + MLP(z, code(y))).

    At z = 0 it is an encoder; around that, a learned space of its own for every target. The code of the target is
    shared by both parts. s = 2r as in :class:`ResidualMapping`.

    Args:
        widths: of the hidden layers.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> landscape = LearnedLandscape(torch.sinh, torch.zeros(2), mapping=ConditionedMapping(widths=(16, 16)))
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> landscape = LandscapeInverter(landscape, squares).prepare(y)
        >>> torch.equal(landscape.x(torch.zeros(4, 2), y[:4]), torch.zeros(4, 2))  # an encoder that knows nothing yet
        True
    """

    def __init__(self, widths: tuple[int, ...] = (256, 256)) -> None:
        super().__init__()
        self.widths = tuple(widths)

    def make_layers(self, spec: MappingSpec) -> None:
        """The start, W, and the MLP."""
        code = TargetCode(spec.num_target_features, self.widths[0])
        self.start = LearnedStart(code, spec.num_target_features, self.widths[0], spec.dim)
        self.skip = NearIdentity(spec.dim)
        self.bend = zeroed(mlp(spec.dim + code.size, list(self.widths), spec.dim))

    @property
    def scale(self) -> Tensor:
        """s: the unit of Z in X."""
        return 1.0 + self.fitted * (2.0 * self.move - 1.0)

    @property
    def z_step(self) -> Tensor:
        """2η/s², as in the residual mapping."""
        return self.step * (1.0 + self.fitted) / self.scale.square()

    def forward(self, z: Tensor, context: Context) -> Tensor:
        """x of z (B, d) for the targets of the context."""
        standardised = self.standardised(context, z.shape[0])
        bent: Tensor = self.skip(z) + self.bend(torch.cat([z, self.start.code(standardised)], dim=1))
        start: Tensor = self.start(standardised)
        return self.x_init + 3.0 * self.move * start + self.scale * bent
