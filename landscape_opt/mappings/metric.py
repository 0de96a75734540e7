"""The learned metric: what a solver in X inherits of θ, a linear map for every row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor


class RowMetric(ABC):
    """v ↦ H v of every row, H symmetric and positive: an initial inverse Hessian."""

    @abstractmethod
    def __call__(self, v: Tensor) -> Tensor:
        """H v, (B, d), of v (B, d)."""

    @abstractmethod
    def rows(self, index: Tensor) -> RowMetric:
        """That of the rows that ``index`` picks."""

    def beside(self, other: RowMetric) -> RowMetric | None:
        """That of these rows and, behind them, the other's; None where the two are not of one kind."""
        return None


class SharedMetric(RowMetric):
    """The same H for every row.

    Args:
        apply: v ↦ H v.
        owner: whose it is: metrics of one owner are the same.

    Example:
        >>> import torch
        >>> double = SharedMetric(lambda v: 2.0 * v, owner=None)
        >>> double.rows(torch.tensor([1]))(torch.ones(1, 2))
        tensor([[2., 2.]])
    """

    def __init__(self, apply: Callable[[Tensor], Tensor], owner: object) -> None:
        self.apply, self.owner = apply, owner

    def __call__(self, v: Tensor) -> Tensor:
        """H v, (B, d)."""
        return self.apply(v)

    def rows(self, index: Tensor) -> RowMetric:
        """Itself."""
        return self

    def beside(self, other: RowMetric) -> RowMetric | None:
        """Itself, where the other has the same owner."""
        return self if isinstance(other, SharedMetric) and other.owner is self.owner else None


class WholeMetric(RowMetric):
    """A function that knows all of its rows and none of fewer: what a user gives.

    Args:
        apply: v ↦ H v, (size, d) → (size, d).
        size: its rows.
        index: those that are asked for, (B,); None is all. The others are fed zeros.

    Example:
        >>> import torch
        >>> scales = torch.tensor([[1.0], [2.0], [3.0]])
        >>> WholeMetric(lambda v: v * scales, 3).rows(torch.tensor([2]))(torch.ones(1, 2))
        tensor([[3., 3.]])
    """

    def __init__(self, apply: Callable[[Tensor], Tensor], size: int, index: Tensor | None = None) -> None:
        self.apply, self.size, self.index = apply, size, index

    def __call__(self, v: Tensor) -> Tensor:
        """H v, (B, d)."""
        if self.index is None:
            return self.apply(v)
        return self.apply(v.new_zeros(self.size, v.shape[1]).index_put((self.index,), v))[self.index]

    def rows(self, index: Tensor) -> RowMetric:
        """The same function, asked for these rows."""
        return WholeMetric(self.apply, self.size, index if self.index is None else self.index[index])
