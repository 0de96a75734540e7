"""Coordinates in which a plane can be drawn: X itself, the chart of an anchored mapping, a mapping that keeps one chart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..batches import Batch
from ..inverter import LandscapeInverter
from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..objective import Evaluation


class Chart(ABC):
    """z ↦ x, for rows of points."""

    @abstractmethod
    def x(self, z: Tensor) -> Tensor:
        """The points of X, (K, d), of coordinates (K, dim_z)."""


@dataclass(frozen=True, eq=False)
class AffineChart(Chart):
    """x = offset + J z.

    Attributes:
        offset: (d,).
        jacobian: J, (d, dim_z); None is the identity.
    """

    offset: Tensor
    jacobian: Tensor | None = None

    def x(self, z: Tensor) -> Tensor:
        """(K, d)."""
        return self.offset + (z if self.jacobian is None else z @ self.jacobian.T)

    def z(self, x: Tensor) -> Tensor:
        """Coordinates (K, dim_z) of points (K, d): the shortest where J has no inverse."""
        return self.direction(x - self.offset)

    def direction(self, v: Tensor) -> Tensor:
        """Directions of Z, (K, dim_z), that J takes to directions of X, (K, d)."""
        if self.jacobian is None:
            return v
        inverse: Tensor = torch.linalg.pinv(self.jacobian.double())
        return (v.double() @ inverse.T).to(v)


@dataclass(frozen=True, eq=False)
class FixedChart(Chart):
    """x = θ(z; y), for a mapping that keeps one chart.

    Attributes:
        mapping: θ.
        context: what it is told, one row.
    """

    mapping: Mapping
    context: Context

    def x(self, z: Tensor) -> Tensor:
        """(K, d)."""
        with torch.no_grad():
            x: Tensor = self.mapping(z, self.context.rows(torch.zeros(len(z), dtype=torch.long, device=z.device)))
            return x


def first_chart(inverter: LandscapeInverter, evaluation: Evaluation, target: Batch) -> Chart:
    """The chart after the evaluation at the start of one target.

    For an anchored mapping θ(z; e₀) = θ(0; e₀) + J z, J read off by Jᵀ, a row for each unit vector of X.
    """
    landscape = inverter.landscape
    mapping, features = landscape.in_use(), landscape.features(target)
    if not mapping.reanchors:
        return FixedChart(mapping, Context(features))
    context = Context(features, None, evaluation)
    dim = landscape.layout.dim
    again = torch.zeros(dim, dtype=torch.long, device=evaluation.x.device)
    with torch.no_grad():
        offset = mapping(evaluation.x.new_zeros(1, mapping.dim_z), context)[0]
    units = torch.eye(dim, dtype=evaluation.x.dtype, device=evaluation.x.device)
    jacobian = mapping.pull_back(units.new_zeros(dim, mapping.dim_z), context.rows(again), units)
    return AffineChart(offset, jacobian.detach())
