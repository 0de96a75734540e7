"""A plane in a space of many dimensions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

SMALLEST = 1e-6
"""Share of a length under which what is left of it is rounding."""


@dataclass(frozen=True, eq=False)
class Plane:
    """origin + a · first + b · second.

    Attributes:
        origin: (k,).
        axes: two orthonormal rows, (2, k).

    Example:
        >>> plane = Plane.through(torch.zeros(3), torch.tensor([2.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 5.0]))
        >>> plane.coordinates(torch.tensor([[1.0, 7.0, 3.0]]))
        tensor([[1., 3.]])
    """

    origin: Tensor = field(repr=False)
    axes: Tensor = field(repr=False)

    @classmethod
    def through(cls, origin: Tensor, end: Tensor, second: Tensor) -> Self:
        """The first axis from origin to end, the second towards ``second``; where that is along the first, any other.

        Raises:
            ValueError: if space has one dimension, or the end is the origin.
        """
        if len(origin) < 2:
            raise ValueError("a plane needs an x of at least two numbers")
        length = (end - origin).norm()
        if not bool(length > 0) or not bool(length.isfinite()):
            raise ValueError("the descents of this target end where they began: there is nothing to draw; take another row")
        first = (end - origin) / length
        rest = _across(second, first)
        if not bool(rest.norm() > SMALLEST * second.norm()):
            unit = torch.zeros_like(first)
            unit[first.abs().argmin()] = 1.0
            rest = _across(unit, first)
        return cls(origin, torch.stack([first, rest / rest.norm()]))

    def coordinates(self, points: Tensor) -> Tensor:
        """(a, b) of the projections of points (K, k), (K, 2)."""
        return (points - self.origin) @ self.axes.T

    def points(self, coordinates: Tensor) -> Tensor:
        """Points (K, k) of coordinates (K, 2)."""
        return self.origin + coordinates @ self.axes

    def share(self, points: Tensor) -> float:
        """Share of the squared lengths of the steps between points (K, k) that lies in the plane; 1 without steps."""
        steps = points.diff(dim=0)
        total = steps.square().sum()
        return float((steps @ self.axes.T).square().sum() / total) if bool(total > 0) else 1.0


def principal(points: Tensor, origin: Tensor, end: Tensor) -> Tensor:
    """The direction in which points (K, k) stray most from the line through origin and end, (k,); zero if none does."""
    first = (end - origin) / (end - origin).norm().clamp_min(torch.finfo(points.dtype).tiny)
    away = torch.stack([_across(point - origin, first) for point in points])
    strongest: Tensor = away.norm() * torch.linalg.svd(away, full_matrices=False).Vh[0]
    return strongest


def _across(v: Tensor, first: Tensor) -> Tensor:
    """What is orthogonal to the first axis; twice, because once leaves rounding."""
    for _ in range(2):
        v = v - (v @ first) * first
    return v
