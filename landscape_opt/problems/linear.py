"""A linear forward model: the one problem whose best landscape is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from landscape_opt.least_squares import LeastSquares
from landscape_opt.problems.metrics import relative_error
from landscape_opt.problems.problem import Metric, Problem, TargetSet

_TRAIN, _VALIDATION, _TEST = 2048, 512, 512
_FLAT = 0.25
"""Share of directions, the flattest, that unfamiliar solutions lie along."""


class MatrixProduct(nn.Module):
    """``F(x) = A x`` for every row of a batch.

    Args:
        matrix: ``A``, shape ``(outputs, inputs)``.

    Example:
        >>> MatrixProduct(2.0 * torch.eye(3))(torch.ones(4, 3)).shape
        torch.Size([4, 3])
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(B, inputs)`` to ``(B, outputs)``."""
        return x @ self.matrix.T


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearProblem(Problem):
    """A least-squares problem in ``x``, with its Hessian.

    Attributes:
        hessian: ``H = AᵀA``, the Hessian of the loss in ``x``, shape ``(dim, dim)``.

    Example:
        >>> problem = linear(dim=4)
        >>> problem.hessian.shape, problem.one_step_mapping().shape
        (torch.Size([4, 4]), torch.Size([4, 4]))
    """

    hessian: Tensor = field(repr=False)

    def one_step_mapping(self) -> Tensor:
        """Return ``H^(-1/2)``, shape ``(dim, dim)``.

        In the space ``x = x_init + H^(-1/2) z`` the loss is a sphere of curvature 1, so one
        gradient step of length 1 from ``z = 0`` solves the problem for every target.

        Example:
            >>> problem = linear(dim=4, dtype=torch.float64)
            >>> mapping = problem.one_step_mapping()
            >>> torch.allclose(mapping @ problem.hessian @ mapping, torch.eye(4, dtype=torch.float64))
            True
        """
        eigenvalues, directions = torch.linalg.eigh(self.hessian.double())
        mapping: Tensor = (directions * eigenvalues.rsqrt()) @ directions.T
        return mapping.to(self.hessian.dtype)


def half_squared_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Return ``0.5 ‖prediction - target‖²`` for each row; ``(B, dim)`` twice to ``(B,)``.

    Example:
        >>> half_squared_distance(torch.ones(2, 3), torch.zeros(2, 3))
        tensor([1.5000, 1.5000])
    """
    return 0.5 * (prediction - target).square().sum(dim=1)


def linear(
    dim: int = 32,
    condition: float = 1e3,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> LinearProblem:
    """Make the problem ``F(x) = A x`` with loss ``0.5 ‖A x - y‖²``.

    ``A = U diag(√λ) Vᵀ`` with random orthogonal ``U`` and ``V``, so that the Hessian in ``x`` is
    ``H = AᵀA = V diag(λ) Vᵀ``, with ``λ`` spaced evenly in the logarithm from ``1/condition`` to 1.
    The targets are ``y = A x*`` with ``x* ~ N(0, H⁻¹)``: ``y`` has identity covariance, and every
    eigen-direction of ``H`` holds the same share of the loss at the start, ``x = 0``.

    The landscape ``θ(z) = x_init + H^(-1/2) z`` is the best there is: the gradient at ``z = 0`` is
    ``-H^(-1/2) Aᵀy``, and one step of length 1 against it lands on ``x = H⁻¹ Aᵀ y = x*``.

    In ``partly`` half of the numbers of every target are lost, others for every one. The solutions of ``unfamiliar``
    lie along the flattest quarter of the directions alone, with targets as long as the others in the mean.

    Args:
        dim: Number of inputs, and of outputs.
        condition: Condition number of ``H``, at least 1.
        seed: Seed of the bases and of the targets. The global random state is not touched.
        dtype: Floating dtype of the matrix and the targets; all is built in float64 and then cast.

    Returns:
        The problem, with 2048 train, 512 validation and 512 test targets of shape ``(dim,)``.

    Raises:
        ValueError: If ``dim`` or ``condition`` is less than 1.

    Example:
        One gradient step in ``z`` takes every target to its solution:

        >>> problem = linear(dim=16, condition=1e4, dtype=torch.float64)
        >>> z = torch.zeros_like(problem.test, requires_grad=True)
        >>> def losses(z):
        ...     x = problem.x_init + z @ problem.one_step_mapping().T
        ...     return problem.loss_fn(problem.forward_model(x), problem.test)
        >>> (gradient,) = torch.autograd.grad(losses(z).sum(), z)
        >>> bool(losses(z).min() > 1.0), bool(losses(z - gradient).max() < 1e-16)
        (True, True)
    """
    if dim < 1:
        raise ValueError(f"dim is {dim}; it must be at least 1.")
    if not condition >= 1.0:
        raise ValueError(f"condition is {condition}; a condition number is at least 1.")
    generator = torch.Generator().manual_seed(seed)
    eigenvalues = torch.logspace(-1.0, 0.0, dim, base=condition, dtype=torch.float64)
    left = _random_orthogonal(dim, generator)
    right = _random_orthogonal(dim, generator)
    matrix = (left * eigenvalues.sqrt()) @ right.T

    white = torch.randn(_TRAIN + _VALIDATION + _TEST, dim, generator=generator, dtype=torch.float64)
    solutions = (white * eigenvalues.rsqrt()) @ right.T
    targets = (solutions @ matrix.T).to(dtype)
    test = targets[-_TEST:].clone()
    observed = torch.rand(test.shape, generator=generator).argsort(dim=1) >= dim // 2
    flattest = max(1, round(_FLAT * dim))
    along = torch.randn(_TEST, flattest, generator=generator, dtype=torch.float64) * (dim / flattest) ** 0.5
    unfamiliar = (along @ left[:, :flattest].T).to(dtype)
    return LinearProblem(
        name="linear",
        forward_model=MatrixProduct(matrix.to(dtype)),
        loss_fn=LeastSquares(torch.sub),
        x_init=torch.zeros(dim, dtype=dtype),
        train=targets[:_TRAIN].clone(),
        validation=targets[_TRAIN:-_TEST].clone(),
        test=test,
        hard_because=f"The Hessian has condition number {condition:g}, so a step that is safe in the "
        "steepest direction is tiny in the flattest.",
        partly=TargetSet(targets=test, observed=observed, described_as="half of the numbers are lost"),
        unfamiliar=TargetSet(
            targets=unfamiliar, described_as="the solutions lie along the flattest quarter of the directions"
        ),
        metric=Metric(name="relative error", unit="%", of=relative_error),
        hessian=(matrix.T @ matrix).to(dtype),
    )


def _random_orthogonal(dim: int, generator: torch.Generator) -> Tensor:
    gaussian = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    basis, triangular = torch.linalg.qr(gaussian)
    # Without the sign the distribution over bases depends on LAPACK's convention, and so does the problem.
    oriented: Tensor = basis * triangular.diagonal().sign()
    return oriented
