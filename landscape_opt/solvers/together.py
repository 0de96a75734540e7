"""Several runs at a time, each with the rows that began together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..objective import Evaluation, Jacobian
from ..results import Status
from .solver import Run, Wanted


@dataclass
class _Group:
    """Where its rows stand in the batch, and their run. A fresh one has points that have not been evaluated."""

    positions: Tensor
    run: Run
    fresh_x: Tensor | None


class Together(Run):
    """Rows in groups: what a run is asked, each group is asked for its own rows.

    Args:
        run: of the first rows.
        x: where they begin, (B, d).
    """

    def __init__(self, run: Run, x: Tensor) -> None:
        everyone = torch.arange(len(x), device=x.device)
        self.groups = [_Group(everyone, run, None)]
        self.z = run.z
        self.like = x[:0]

    def __len__(self) -> int:
        return sum(len(group.positions) for group in self.groups)

    @property
    def device(self) -> torch.device:
        """Of the rows."""
        return self.like.device

    def begin(self, positions: Tensor, run: Run, x: Tensor | None = None) -> None:
        """A new group. Rows that stand in other groups leave them.

        Args:
            positions: of its rows in the batch.
            run: that moves them.
            x: points that are to be evaluated next; None where the run has seen its start already.
        """
        there = torch.ones(len(self), dtype=torch.bool, device=self.device)
        there[positions[positions < len(there)]] = False
        for group in self.groups:
            self._shrink(group, there[group.positions])
        self.groups = [group for group in self.groups if len(group.positions)]
        self.groups.append(_Group(positions, run, x))
        self.z = self._joined_z()

    @staticmethod
    def _shrink(group: _Group, staying: Tensor) -> None:
        if bool(staying.all()):
            return
        group.run.keep(staying.nonzero()[:, 0])
        group.positions = group.positions[staying]
        group.fresh_x = None if group.fresh_x is None else group.fresh_x[staying]

    @property
    def in_x(self) -> Tensor:  # type: ignore[override]  # groups are in different phases
        """Rows that are moved in X, (B,)."""
        where = torch.zeros(len(self), dtype=torch.bool, device=self.device)
        for group in self.groups:
            where[group.positions] = group.run.in_x
        return where

    def observe(self, evaluation: Evaluation) -> None:
        """To every group its rows."""
        if self._is_whole():
            self.groups[0].run.observe(evaluation)  # nothing is copied
            self.groups[0].fresh_x = None
            return
        evaluation = evaluation.without_prediction()  # nothing is moved by it, and it may be large
        for group in self.groups:
            group.run.observe(evaluation.rows(group.positions))
            group.fresh_x = None
        self._join_groups()

    def _join_groups(self) -> None:
        """Groups whose runs can be one become one: the small operations of a step cost the same for one row as for many."""
        apart: list[_Group] = []
        for group in self.groups:
            group.run = group.run.current
            into = next((one for one in apart if one.run.join(group.run)), None)
            if into is None:
                apart.append(group)
            else:
                into.positions = torch.cat([into.positions, group.positions])
        self.groups = apart
        if len(apart) == 1 and not self._is_whole():  # in their order, so that later on nothing has to be copied
            order = apart[0].positions.argsort()
            apart[0].run.keep(order)
            apart[0].positions = apart[0].positions[order]

    def _is_whole(self) -> bool:
        """Whether one group holds all rows in their order."""
        if len(self.groups) > 1:
            return False
        positions = self.groups[0].positions
        return torch.equal(positions, torch.arange(len(positions), device=self.device))

    def verdict(self) -> Tensor:
        """What the runs say of their rows, (B,)."""
        said = torch.full((len(self),), int(Status.MAX_EVALUATIONS), device=self.device)
        for group in self.groups:
            if group.fresh_x is None and (verdict := group.run.verdict()) is not None:
                said[group.positions] = verdict.to(said)
        return said

    def propose(self) -> Tensor:
        """The next point of every row."""
        if self._is_whole() and self.groups[0].fresh_x is None:
            x = self.groups[0].run.propose()
            self.z = self._joined_z()
            return x
        x = self.like.new_empty(len(self), self.like.shape[1])
        for group in self.groups:
            x[group.positions] = group.run.propose() if group.fresh_x is None else group.fresh_x
        self.z = self._joined_z()
        return x

    def _joined_z(self) -> Tensor | None:
        if self.z is None:
            return None
        z = self.z.new_zeros(len(self), self.z.shape[1])
        for group in self.groups:
            if group.run.z is not None:
                z[group.positions] = group.run.z
        return z

    @property
    def wanted(self) -> Wanted | None:
        """What the groups ask for, one after the other."""
        asked = [(group, group.run.wanted) for group in self.groups if group.fresh_x is None]
        several = [Wanted(group.positions[one.positions], one.x) for group, one in asked if one is not None]
        if not several:
            return None
        return Wanted(torch.cat([one.positions for one in several]), torch.cat([one.x for one in several]))

    def take(self, jacobian: Jacobian) -> None:
        """To every group its own."""
        begin = 0
        for group in self.groups:
            one = group.run.wanted if group.fresh_x is None else None
            if one is not None:
                part = slice(begin, begin + len(one.positions))
                group.run.take(Jacobian(jacobian.residual[part], jacobian.matrix[part]))
                begin = part.stop

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        place = torch.full((len(self),), -1, device=self.device)
        place[index] = torch.arange(len(index), device=self.device)
        for group in self.groups:
            self._shrink(group, place[group.positions] >= 0)
            group.positions = place[group.positions]
        self.groups = [group for group in self.groups if len(group.positions)]
        self.z = None if self.z is None else self.z[index]
