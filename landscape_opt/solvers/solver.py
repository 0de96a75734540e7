"""The interface of every method that moves points: it proposes, F answers, it observes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..mappings.context import Context
from ..objective import Evaluation, Jacobian


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Attributes:
        x: (B, d), flat.
        target: features of the targets for the mapping, (B, m), or None.
        known: those that are to be believed, (B, m) of 0 and 1; None believes all.
        row_ids: which rows of the whole batch of targets these are, (B,); None: all of them, in order.
    """

    x: Tensor
    target: Tensor | None = None
    known: Tensor | None = None
    row_ids: Tensor | None = None

    @property
    def ids(self) -> Tensor:
        """Which rows of the whole batch of targets these are, (B,)."""
        return torch.arange(len(self.x), device=self.x.device) if self.row_ids is None else self.row_ids

    def rows(self, index: Tensor) -> Start:
        """The rows that ``index`` picks."""
        told = self.context.rows(index)
        return Start(self.x[index], told.target, told.known, self.ids[index])

    @property
    def context(self) -> Context:
        """What a mapping is told before the first evaluation."""
        return Context(self.target, self.known)


@dataclass(frozen=True)
class Wanted:
    """Rows whose Jacobian a method asks for.

    Attributes:
        positions: in the batch, (b,).
        x: where, (b, d).
    """

    positions: Tensor
    x: Tensor


class Solver(ABC):
    """Settings of a per-sample method; :meth:`start` begins a run on a batch."""

    @abstractmethod
    def start(self, start: Start) -> Run:
        """A run of this method from the given points."""


class Run(ABC):
    """The state of a method on a batch: a row per sample, and no row ever looks at another (law 1).

    Attributes:
        z: the last z of every row, (B, dim_z), where the method moves in a learned space; else None.
        in_x: whether the rows are moved in X; one answer, or one a row, (B,).
    """

    z: Tensor | None = None
    in_x: bool | Tensor = True

    @property
    def wanted(self) -> Wanted | None:
        """The Jacobians that this method needs before it can propose; None for those that need gradients alone."""
        return None

    def take(self, jacobian: Jacobian) -> None:
        """The Jacobians asked for, in the order of ``wanted``."""
        raise NotImplementedError(f"{type(self).__name__} has not asked for a Jacobian")

    @property
    def current(self) -> Run:
        """The run that moves the rows from now on, itself or the one that it has handed all of them to."""
        return self

    def join(self, other: Run) -> bool:
        """Take in all rows of another run, behind one's own; False, and nothing done, where the two cannot be one.

        Both have observed an evaluation and not yet proposed the next point. The other is not used any more.
        """
        return False

    @abstractmethod
    def observe(self, evaluation: Evaluation) -> None:
        """Take in the evaluation at the point proposed last (at the start point, the first time)."""

    @abstractmethod
    def propose(self) -> Tensor:
        """The next point to evaluate, (B, d)."""

    @abstractmethod
    def keep(self, index: Tensor) -> None:
        """Go on with these rows alone; the others have finished."""

    def verdict(self) -> Tensor | None:
        """The rows that this method has ended by itself; None while all go on.

        A :class:`~landscape_opt.results.Status` per row, (B,) of integers, MAX_EVALUATIONS for those that go on.
        """
        return None
