"""The first rung, the paper's: one space for all targets."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .context import Context
from .layers import NearIdentity, mlp, zeroed
from .mapping import Mapping, MappingSpec


class ResidualMapping(Mapping):
    """θ(z) = x_init + s (W z + MLP(z)): one learned space for all targets.

    W is the identity and the last layer of the MLP zero at birth, so θ(0) = x_init and J = s·1. The unit s of Z is
    2r once the scales of the problem are known (a first gradient step then has rms 1 in Z), or ``scale`` if given.

    The mapping of Liu et al., *Landscape Learning for Neural Network Inversion*, ICCV 2023 (a plain MLP there).

    Args:
        widths: of the hidden layers.
        scale: a fixed s; None takes it from the calibration.
        linear: whether W is learned or stays the identity.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> landscape = LearnedLandscape(torch.sinh, torch.zeros(2), mapping=ResidualMapping(widths=(16, 16)))
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> landscape = LandscapeInverter(landscape, squares).prepare(y)
        >>> torch.equal(landscape.x(torch.zeros(4, 2)), torch.zeros(4, 2))  # θ(0) = x_init before any update
        True
    """

    def __init__(self, widths: tuple[int, ...] = (256, 256), scale: float | None = None, linear: bool = True) -> None:
        super().__init__()
        self.widths, self.fixed_scale, self.linear = tuple(widths), scale, linear

    def make_layers(self, spec: MappingSpec) -> None:
        """W and the MLP."""
        self.skip = NearIdentity(spec.dim) if self.linear else nn.Identity()
        self.bend = zeroed(mlp(spec.dim, list(self.widths), spec.dim, partial(nn.LeakyReLU, 0.2)))

    @property
    def scale(self) -> Tensor:
        """s: the unit of Z in X."""
        if self.fixed_scale is not None:
            return self.x_init.new_tensor(self.fixed_scale)
        return 1.0 + self.fitted * (2.0 * self.move - 1.0)

    @property
    def z_step(self) -> Tensor:
        """2η/s²: in x this is twice the calibrated step, since W and the MLP bend it."""
        return self.step * (1.0 + self.fitted) / self.scale.square()

    def forward(self, z: Tensor, context: Context) -> Tensor:
        """x_init + s (W z + MLP(z))."""
        bent: Tensor = self.skip(z) + self.bend(z)
        return self.x_init + self.scale * bent
