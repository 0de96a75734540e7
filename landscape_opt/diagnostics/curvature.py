"""Eigenvalues of the Hessian of the loss in x, and of the Hessian as a metric sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..batches import Batch
from ..compiled import as_written
from ..objective import Objective

Product: TypeAlias = Callable[[Tensor], Tensor]

EXACT_UP_TO = 64
"""Numbers in x up to which all eigenvalues are computed, by as many products with the Hessian."""
NUM_PRODUCTS = 32
"""Of Lanczos' method, beyond that."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of symmetric matrices.

    Attributes:
        eigenvalues: ascending, (B, k), float64: all of them, or those that Lanczos' method has found, the extreme ones best.
        rounding: share of the largest ``|λ|`` below which an eigenvalue is not told from zero.

    Example:
        >>> spectrum = Spectrum(torch.tensor([[0.0, 1.0, 20.0]], dtype=torch.float64), rounding=1e-12)
        >>> spectrum.condition, spectrum.num_flat
        (tensor([20.], dtype=torch.float64), tensor([1]))
    """

    eigenvalues: Tensor
    rounding: float

    @property
    def condition(self) -> Tensor:
        """``max |λ| / min |λ|`` over the eigenvalues that are not zero, (B,); NaN where all are."""
        size = self.eigenvalues.abs()
        smallest = torch.where(self._is_flat, torch.inf, size).amin(1)
        return torch.where(smallest.isfinite(), size.amax(1) / smallest, torch.nan)

    @property
    def num_flat(self) -> Tensor:
        """Number of eigenvalues that are not told from zero, (B,). The loss says nothing in those directions."""
        return self._is_flat.sum(1)

    @property
    def is_convex(self) -> Tensor:
        """Whether no eigenvalue is negative, but for rounding, (B,)."""
        return ((self.eigenvalues >= 0) | self._is_flat).all(1)

    @property
    def _is_flat(self) -> Tensor:
        size = self.eigenvalues.abs()
        return size <= self.rounding * size.amax(1, keepdim=True)


def hessian(objective: Objective, x: Tensor, target: Batch) -> Product:
    """v ↦ ∂²L/∂x² v at x (B, d), row by row; a product is the gradient of ∂L/∂x · v. F is never vmapped.

    A compiled F runs as it was written: its graph is gone through more than once. One evaluation is counted now, and one
    for every product.

    Raises:
        RuntimeError: of torch, where F or the loss cannot be differentiated twice.
    """
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad(), as_written():
        loss = objective.losses(leaf, target)
        gradient = torch.autograd.grad(loss.sum(), leaf, create_graph=True)[0]
    _refuse_once_differentiable(gradient)

    def product(v: Tensor) -> Tensor:
        objective.num_evaluations += len(v)
        if not gradient.requires_grad:  # the loss is linear in x
            return torch.zeros_like(v)
        with torch.enable_grad():
            found: Tensor = torch.autograd.grad(gradient, leaf, v, retain_graph=True, materialize_grads=True)[0]
        return found.detach()

    return product


def _refuse_once_differentiable(gradient: Tensor) -> None:
    """Where a second derivative is missing torch puts a node that raises, but not on the way to x: zeros would come."""
    reached, seen = [gradient.grad_fn], set()
    while reached:
        node = reached.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().endswith("::Error"):
            raise RuntimeError("a part of it is a torch.autograd.Function marked once_differentiable")
        reached += [further for further, _ in node.next_functions]


def spectra(product: Product, metric: Product, like: Tensor) -> tuple[Spectrum, Spectrum]:
    r"""Eigenvalues of H and of M H, which are those of M^{1/2} H M^{1/2}.

    All of them up to 64 numbers in x, otherwise the Ritz values of 32 steps of Lanczos' method, whose ratio is a bound
    from below on that of the eigenvalues.

    Args:
        product: v ↦ H v, rows of (B, d).
        metric: v ↦ M v, M symmetric and positive.
        like: (B, d), of the dtype that F computes in.
    """
    rounding = float(torch.finfo(like.dtype).eps) * like.shape[1]
    if like.shape[1] > EXACT_UP_TO:
        in_x, learned = (lanczos(product, seen, like) for seen in (_itself, metric))
        return Spectrum(in_x, rounding), Spectrum(learned, rounding)
    h, m = _dense(product, like), _dense(metric, like)
    values, directions = torch.linalg.eigh(m)
    root = (directions * values.clamp_min(0.0).sqrt()[:, None]) @ directions.mT
    in_x, learned = (torch.linalg.eigvalsh(one) for one in (h, root @ h @ root))
    return Spectrum(in_x, rounding), Spectrum(learned, rounding)


def lanczos(product: Product, metric: Product, like: Tensor, num_steps: int = NUM_PRODUCTS) -> Tensor:
    r"""Ritz values of M H, (B, k), by Lanczos' method in the inner product of M (Parlett 1980, ch. 13 and 15).

    With vᵢᵀ M vⱼ = δᵢⱼ and w = H M vₖ, the coefficients wᵀ M vₖ and wᵀ M vₖ₋₁ form a tridiagonal matrix. All earlier
    directions are taken out of every new one, twice. Where nothing is left of it, the values that remain are zero.
    """
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(like.shape[1], generator=generator, dtype=torch.float64).to(like.device)
    w, count = first.expand(len(like), -1), min(num_steps, like.shape[1])
    seen = _in_double(metric, like)
    through = _in_double(product, like)
    left: list[Tensor] = []  # vᵢ, and M vᵢ beside it
    right: list[Tensor] = []
    projected = w.new_zeros(len(like), count, count)
    for step in range(count):
        length = (w * seen(w)).sum(1).clamp_min(0.0).sqrt()
        alive = length > (0.0 if step == 0 else 1e-10 * projected.abs().amax((1, 2)))
        if step > 0:
            length = torch.where(alive, length, 0.0)
            projected[:, step, step - 1] = projected[:, step - 1, step] = length
        v = torch.where(alive[:, None], w / torch.where(alive, length, 1.0)[:, None], 0.0)
        left.append(v)
        right.append(seen(v))
        w = through(right[-1])
        projected[:, step, step] = (w * right[-1]).sum(1)
        for _ in range(2):
            for one, other in zip(left, right, strict=True):
                w = w - (w * other).sum(1, keepdim=True) * one
    values: Tensor = torch.linalg.eigvalsh(projected)
    return values


def _itself(v: Tensor) -> Tensor:
    return v


def _in_double(function: Product, like: Tensor) -> Product:
    """F computes in its own dtype, sums are taken in float64."""
    return lambda v: function(v.to(like)).double()


def _dense(function: Product, like: Tensor) -> Tensor:
    """The symmetric matrices of a product, (B, d, d), in float64."""
    columns = [function(unit.expand_as(like)) for unit in torch.eye(like.shape[1]).to(like)]
    matrix = torch.stack(columns, dim=2).double()
    symmetric: Tensor = 0.5 * (matrix + matrix.mT)
    return symmetric
