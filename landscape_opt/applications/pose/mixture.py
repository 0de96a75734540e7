"""A mixture of Gaussians over poses, fitted by expectation and maximisation: which poses people take."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...memory import farthest_first

_FLOOR = 0.03  # rad; standard deviations are kept above it in every direction


class PoseMixture(nn.Module):
    r"""Pose prior: a mixture of K Gaussians, read as a sum of squares.

    The component with the largest posterior speaks alone, as in SMPLify (Bogo et al., 2016),

    .. math:: E(\theta) = \min_k\, \tfrac12 \lVert L_k^\top (\theta - \mu_k) \rVert^2 + c_k, \qquad
              c_k = \tfrac12 \log\det\Sigma_k - \log w_k + \text{const}, \quad L_k L_k^\top = \Sigma_k^{-1},

    with the constant such that the least :math:`c_k` is zero. The residuals :math:`L_k^\top(\theta - \mu_k)` and
    :math:`\sqrt{2 c_k}` make it a part of a :class:`~landscape_opt.LeastSquares` loss.

    Args:
        weights: w, (K,), positive, with sum 1.
        means: μ, (K, d).
        covariances: Σ, (K, d, d).

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> poses = torch.cat([torch.randn(200, 2, generator=generator) - 5, torch.randn(200, 2, generator=generator) + 5])
        >>> mixture = PoseMixture.fit(poses, 2)
        >>> likely, unlikely = mixture.residuals(torch.tensor([[5.0, 5.0], [0.0, 0.0]])).square().sum(1)
        >>> bool(likely < 2), bool(unlikely > 20)
        (True, True)
    """

    weights: Tensor
    means: Tensor
    precision_factors: Tensor
    constants: Tensor

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        super().__init__()
        if covariances.shape != (*means.shape, means.shape[-1]) or weights.shape != means.shape[:1]:
            raise ValueError(
                "expected weights (K,), means (K, d) and covariances (K, d, d), got "
                f"{tuple(weights.shape)}, {tuple(means.shape)} and {tuple(covariances.shape)}"
            )
        factors = torch.linalg.cholesky(covariances.double())
        eye = torch.eye(means.shape[1], dtype=factors.dtype, device=factors.device)
        inverse = torch.linalg.solve_triangular(factors, eye.expand_as(factors), upper=False)
        level = factors.diagonal(dim1=1, dim2=2).log().sum(1) - weights.double().log()
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("precision_factors", inverse.to(means))  # L with L (θ − μ) white
        self.register_buffer("constants", (2.0 * (level - level.min())).sqrt().to(means))

    @property
    def num_residuals(self) -> int:
        """d and one."""
        return int(self.means.shape[1]) + 1

    def residuals(self, poses: Tensor) -> Tensor:
        """Residuals of the component that speaks, (B, d) to (B, d + 1); half their squared sum is E."""
        away = poses[:, None] - self.means
        white = torch.einsum("kij,bkj->bki", self.precision_factors, away)
        energy = white.detach().square().sum(2) + self.constants.square()
        speaks = energy.argmin(1)
        rows = torch.arange(len(poses), device=poses.device)
        return torch.cat([white[rows, speaks], self.constants[speaks, None]], dim=1)

    @property
    def most_usual(self) -> Tensor:
        """The mean of all poses, (d,)."""
        return self.weights @ self.means

    @classmethod
    def fit(cls, poses: Tensor, num_components: int = 8, num_steps: int = 30) -> PoseMixture:
        """Expectation and maximisation from means far from one another; the same poses give the same mixture.

        Args:
            poses: (N, d), in rad; flattened if they have more dimensions.
            num_components: K.
            num_steps: of expectation and maximisation.

        Raises:
            ValueError: if there are fewer than ten poses for every component.
        """
        x = poses.flatten(1).double()
        if len(x) < 10 * num_components:
            raise ValueError(f"{len(x)} poses are too few for {num_components} components; give {10 * num_components}")
        seeds = x[farthest_first(x[None, :: max(1, len(x) // 512)], num_components)[0] * max(1, len(x) // 512)]
        share = torch.nn.functional.one_hot(torch.cdist(x, seeds).argmin(1), num_components).double()
        for _ in range(num_steps):
            weights, means, covariances = _maximised(x, share)
            share = _log_densities(x, weights, means, covariances).softmax(1)
        weights, means, covariances = _maximised(x, share)
        return cls(weights.to(poses), means.to(poses), covariances.to(poses))


def _maximised(x: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and covariances that fit the shares (N, K) of the components in every pose."""
    counts = share.sum(0).clamp_min(1e-6)
    means = (share.T @ x) / counts[:, None]
    away = x[None] - means[:, None]
    covariances = torch.einsum("nk,kni,knj->kij", share, away, away) / counts[:, None, None]
    floor = _FLOOR**2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return counts / counts.sum(), means, covariances + floor


def _log_densities(x: Tensor, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """log w_k N(x; μ_k, Σ_k) up to one constant, (N, K)."""
    factors = torch.linalg.cholesky(covariances)
    white = torch.linalg.solve_triangular(factors, (x[None] - means[:, None]).mT, upper=False)
    volume = factors.diagonal(dim1=1, dim2=2).log().sum(1)
    density: Tensor = weights.log() - volume - 0.5 * white.square().sum(1).T - 0.5 * x.shape[1] * math.log(2 * math.pi)
    return density
