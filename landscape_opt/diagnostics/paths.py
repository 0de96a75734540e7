"""The points that a descent in the landscape goes through."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..descent import Descent, Limits, Visit, descend
from ..inversion import Inversion, Request
from ..inverter import LandscapeInverter
from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..objective import Evaluation, Objective
from ..solvers import Start

SAME = 1e-3
"""A point is that of z if θ(z) is no further from it than this share of what a first step does."""


_OF_POINTS = ("loss", "evaluations", "z", "is_of_z")


@dataclass(frozen=True, eq=False)
class Path:
    """The start of one target's descent, and every point that was better than all before.

    Attributes:
        x: (K, d).
        loss: (K,), descending.
        evaluations: spent before each was reached, (K,); the start comes after none.
        z: where they stand in the learned space, (K, dim_z); zeros for a mapping that makes a new chart every time.
        is_of_z: whether θ(z) is that point, (K,): neither where charts are new every time, nor after a hand-over to X.
        start: the evaluation at the start, one row.
        num_evaluations: of F, those included that led to no better point.
    """

    x: Tensor = field(repr=False)
    loss: Tensor = field(repr=False)
    evaluations: Tensor = field(repr=False)
    z: Tensor = field(repr=False)
    is_of_z: Tensor = field(repr=False)
    start: Evaluation = field(repr=False)
    num_evaluations: int

    def in_chart(self) -> Self:
        """The part in the learned space, with z in the place of x."""
        kept = self.is_of_z
        return replace(self, x=self.z[kept], **{name: getattr(self, name)[kept] for name in _OF_POINTS})


def descent_of(
    inverter: LandscapeInverter, objective: Objective, target: Batch, max_evaluations: int
) -> tuple[Descent, list[Visit]]:
    """The descent in the landscape alone, without jumps to remembered points, and every evaluation of it.

    It is that of ``inverter.invert(target, max_evaluations, restarts=False)``. Before any fit it is plain descent.

    Args:
        inverter: whose landscape, and way to move.
        objective: as ``inverter.opened`` gives it.
        target: a batch of B targets.
        max_evaluations: per row.
    """
    landscape = inverter.landscape
    mapping, features = landscape.in_use(), landscape.features(target)
    z = landscape.layout.row.new_zeros(batches.size(target), mapping.dim_z)
    with torch.no_grad():
        start = Start(mapping(z, Context(features)), features)
    inversion = Inversion(landscape, objective, inverter.memory, inverter.z_optimizer, Request(max_evaluations))
    visits: list[Visit] = []
    found = descend(objective, inversion.solver(mapping), start, target, Limits(max_evaluations), visits.append)
    return found, visits


def path_of(inverter: LandscapeInverter, objective: Objective, target: Batch, max_evaluations: int) -> Path:
    """The descent of one target, as :func:`descent_of` makes it.

    Raises:
        ValueError: if the loss is not finite at the start.
    """
    landscape = inverter.landscape
    mapping = landscape.in_use()
    found, visits = descent_of(inverter, objective, target, max_evaluations)
    start = visits[0].evaluation
    if not bool(start.finite.all()):
        raise ValueError("the loss or its gradient is not finite at the start of this target; take another row")
    better = [visits[0]]
    for visit in visits[1:]:
        if bool(visit.evaluation.loss < better[-1].evaluation.loss):
            better.append(visit)
    points = [(visit.evaluation.x, visit.evaluation.loss, visit.z) for visit in better]
    spent = [visit.step for visit in better]
    if bool(found.loss < better[-1].evaluation.loss):  # the last point, which was read without a gradient
        points.append((found.x, found.loss, found.z))
        spent.append(int(found.num_evaluations))
    x, loss = torch.cat([point[0] for point in points]), torch.cat([point[1] for point in points])
    in_chart = torch.zeros_like(loss, dtype=torch.bool)
    z = x.new_zeros(len(x), mapping.dim_z)
    if not mapping.reanchors:  # its z mean something beyond one evaluation
        z = torch.cat([z[:1] if point[2] is None else point[2] for point in points])
        told = Context(landscape.features(target)).rows(torch.zeros(len(x), dtype=torch.long, device=x.device))
        in_chart = stands_at(mapping, z, x, told)
    return Path(x, loss, torch.tensor(spent), z, in_chart, start, int(found.num_evaluations))


def stands_at(mapping: Mapping, z: Tensor, x: Tensor, context: Context) -> Tensor:
    """Whether θ(z) is x, for rows, (B,): for a mapping that keeps one chart, which is left at a hand-over."""
    with torch.no_grad():
        away = (mapping(z, context) - x).norm(dim=1)
    near: Tensor = away <= SAME * mapping.move * x.shape[1] ** 0.5
    return near
