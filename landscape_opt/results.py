"""What the public verbs return: frozen records, and the status of every row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import torch
from torch import Tensor

from .hypotheses import Hypotheses


class Status(IntEnum):
    """How the inversion of one row ended. A failure inside a batch is a value, never an exception."""

    MAX_EVALUATIONS = 0
    CONVERGED = 1
    STALLED = 2
    NO_GRADIENT = 3
    NONFINITE_START = 4
    NONFINITE = 5
    TIMEOUT = 6
    INTERRUPTED = 7
    LEFT_BEHIND = 8
    DIVERGED = 9

    @property
    def advice(self) -> str:
        """What it means, and what to do."""
        return _ADVICE[self]


_ADVICE = {
    Status.MAX_EVALUATIONS: "the budget was spent before the tolerance was met; raise max_evaluations",
    Status.CONVERGED: "the loss met its tolerance",
    Status.STALLED: "no step along the search direction lowers the loss: a local minimum to machine precision, or a "
    "loss that is not smooth here",
    Status.NO_GRADIENT: "∂loss/∂x is zero while the loss is not at its tolerance: a stationary point, or F ignores x; "
    "try another x_init",
    Status.NONFINITE_START: "the loss or its gradient was not finite at the start; try another x_init, or look at F there",
    Status.NONFINITE: "the descent met a loss or gradient that is not finite; the best finite point is returned; "
    "a smaller learning rate helps",
    Status.TIMEOUT: "max_seconds ran out; the best point so far is returned",
    Status.LEFT_BEHIND: "given up for better hypotheses of the same target",
    Status.DIVERGED: "the budget ended at a loss a thousand times that at the start, or more; the best point is returned; "
    "a smaller learning rate helps, and so does the default, which never accepts a rise",
    Status.INTERRUPTED: "interrupted by the user; the best point so far is returned",
}


@dataclass(frozen=True)
class InversionHistory:
    """The losses along an inversion.

    Attributes:
        loss: at the point reached after k evaluations, (K + 1, B), k = 0 … K. A finished row keeps its last value.
        best: the lowest so far, (K + 1, B): what a budget of k evaluations would have returned.
        in_x: whether row b stood in X, after its hand-over, at point k, (K + 1, B).
    """

    loss: Tensor
    best: Tensor
    in_x: Tensor

    def rows(self, index: Tensor) -> Self:
        """The rows that ``index`` picks."""
        return type(self)(self.loss[:, index], self.best[:, index], self.in_x[:, index])


@dataclass(frozen=True)
class InversionResult:
    """The best point found for every target.

    Attributes:
        x: Tensor (B, …) or dict of them, in the format of ``x_init``.
        z: where it was found in the learned space, (B, dim_z): relative to its chart for an anchored mapping, and that
            of the best point before the hand-over for rows whose best point was found in X.
        prediction: F(x).
        loss: L(F(x), y), (B,).
        status: one :class:`Status` per row, (B,) of integers.
        num_evaluations: evaluations of F spent on each row, (B,).
        history: losses along the way.
        hypotheses: all answers where several were asked for; the fields above are then those of the best one, and
            ``num_evaluations`` counts all.
    """

    x: Any
    z: Tensor
    prediction: Any
    loss: Tensor
    status: Tensor
    num_evaluations: Tensor
    history: InversionHistory
    hypotheses: Hypotheses | None = None

    @property
    def success(self) -> Tensor:
        """Rows that met their tolerance, (B,)."""
        return self.status == Status.CONVERGED

    def messages(self) -> list[str]:
        """What happened to every row, after how many evaluations, and what to do."""
        ended = zip(self.statuses(), self.num_evaluations.tolist(), self.loss.tolist(), strict=True)
        return [
            f"row {row}: {status.name} after {count} evaluations, loss {loss:.3g}: {status.advice}"
            for row, (status, count, loss) in enumerate(ended)
        ]

    def statuses(self) -> list[Status]:
        """The status of every row, as the enum."""
        return [Status(int(status)) for status in self.status]


@dataclass(frozen=True)
class ValidationRecord:
    """Held-out targets, inverted with the landscape as it was after a round, and by plain descent.

    Attributes:
        budgets: evaluations.
        median: of the loss over rows, at every budget.
        mean: likewise.
        area: mean over budgets and rows of log₁₀(L / L₀), in decades: the lower, the better.
        plain_median: of L-BFGS in X from x_init, at the same budgets.
        plain_area: likewise.
        is_best: whether no earlier round of the fit had a smaller area.
        break_even: inversions after which the evaluations of the fit are saved, where both go on to the lowest median
            that plain descent reaches; None where the landscape does not get there sooner.
    """

    budgets: tuple[int, ...]
    median: tuple[float, ...]
    mean: tuple[float, ...]
    area: float
    plain_median: tuple[float, ...]
    plain_area: float
    is_best: bool
    break_even: float | None

    @property
    def pays(self) -> bool:
        """Whether the landscape does better than plain descent over the budgets."""
        return self.area < self.plain_area


@dataclass(frozen=True)
class RoundRecord:
    """What one round of fitting (collect, then update) did.

    Attributes:
        round: its number, from 0.
        seconds: its wall time.
        num_evaluations: evaluations of F spent, rows counted.
        objective: mean of θ's objective over the updates.
        trajectory_loss: mean loss at the start and after 1, 2, … evaluations along the trajectories seen.
        learning_rate: of θ.
        skipped_updates: updates left out because their gradient was not finite.
        validation: of the landscape after the round, where it was time for one.
    """

    round: int
    seconds: float
    num_evaluations: int
    objective: float
    trajectory_loss: tuple[float, ...]
    learning_rate: float
    skipped_updates: int = 0
    validation: ValidationRecord | None = None


def to_budget(table: Tensor, max_evaluations: int) -> Tensor:
    """(max_evaluations + 1, B): a table whose rows all finished early keeps their last values."""
    missing = max_evaluations + 1 - len(table)
    return table if missing <= 0 else torch.cat([table, table[-1:].expand(missing, -1)])
