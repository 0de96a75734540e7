"""Held-out targets: what the landscape does with them at several budgets, beside descent that learned nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..batches import Batch
from ..results import RoundRecord, ValidationRecord
from ..targets import refuse_empty, refuse_nonfinite
from .callbacks import Callback, weights_of

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter
    from .loop import FitLoop

SMALLEST = 1e-14
MAX_CHANGE_OF_SCALE = 10.0


@dataclass(frozen=True)
class Curve:
    """Losses at the budgets.

    Attributes:
        loss: of every row at every budget, (number of budgets, B).
        level: the mean loss at the plain start, which is the unit.
    """

    loss: Tensor
    level: float

    @property
    def area(self) -> float:
        """Mean over budgets and rows of log₁₀(L / L₀), no lower than -14: the area under the curve, in decades."""
        shares = (self.loss / self.level).clamp_min(SMALLEST).log10()
        return float(shares.mean()) if bool(shares.isfinite().all()) else float("inf")

    @property
    def median(self) -> tuple[float, ...]:
        """Over rows."""
        return tuple(float(row.median()) for row in self.loss)

    @property
    def mean(self) -> tuple[float, ...]:
        """Over rows."""
        return tuple(float(row.mean()) for row in self.loss)


class Validation(Callback):
    """Inverts held-out targets every so many rounds, and writes what came of it into the round's record.

    The area under the curve of budgets is what early stopping and the best checkpoint go by. Once, the same targets are
    inverted by plain descent (L-BFGS in X from x_init): a fit that ends no better than that has not paid, and says so.

    Args:
        targets: that take no part in fitting.
        budgets: evaluations at which losses are read.
        every: rounds between two validations; the last round of a fit is always validated.
        keep_best: end with the best θ among those validated, rather than with the last.

    Raises:
        ValueError: for targets that are empty or not finite, budgets that do not ascend from 0 on or end below 1, or
            ``every`` below 1.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> y = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(2)), squares)
        >>> checks = Validation(y[:64], budgets=(1, 5), every=10)
        >>> inverter = inverter.fit(y[64:], num_rounds=20, validation=checks, progress=False)
        >>> record = inverter.history[-1].validation
        >>> record.budgets, record.area < record.plain_area
        ((1, 5), True)
    """

    def __init__(
        self, targets: Batch, budgets: Sequence[int] = (0, 1, 2, 5, 10, 20), every: int = 50, keep_best: bool = True
    ) -> None:
        if not budgets or list(budgets) != sorted(set(budgets)) or budgets[0] < 0:
            raise ValueError(f"budgets must be whole numbers from 0 on, ascending, got {tuple(budgets)}")
        if budgets[-1] < 1:
            raise ValueError("one of the budgets must be at least 1: without an evaluation there is nothing to compare")
        if every < 1:
            raise ValueError(f"every must be at least 1 round, got {every}")
        self.targets = refuse_nonfinite(refuse_empty(targets))
        self.budgets, self.every, self.keep_best = tuple(budgets), every, keep_best
        self.plain: Curve | None = None
        self.best: ValidationRecord | None = None
        self.best_weights: dict[str, Any] | None = None

    def on_fit_begin(self, *, inverter: LandscapeInverter, **context: Any) -> None:
        """Learn what plain descent reaches, and refuse targets of another size."""
        if inverter.landscape.is_fitted:
            inverter.landscape.check_fits(self.targets)
        self._compared_with(inverter)

    def on_round_end(self, *, inverter: LandscapeInverter, record: RoundRecord, fit: FitLoop, **context: Any) -> None:
        """Validate, where it is time."""
        if fit.num_rounds_done == 1:
            self._check_scale(inverter)
        if fit.num_rounds_done % self.every == 0:
            inverter.history[-1] = replace(record, validation=self.check(inverter))

    def on_fit_end(self, *, inverter: LandscapeInverter, **context: Any) -> None:
        """Validate what came of it, go back to the best, and say so where the fit has not paid."""
        if not inverter.history:
            return
        if inverter.history[-1].validation is None:
            inverter.history[-1] = replace(inverter.history[-1], validation=self.check(inverter))
        checked = self.best
        assert checked is not None
        if self.keep_best and self.best_weights is not None:
            inverter.landscape.mapping.load_state_dict(self.best_weights)
        if not checked.pays:
            warnings.warn(
                f"this fit has not paid: on the validation targets the landscape reaches {_shown(checked.median)} at "
                f"{checked.budgets} evaluations, plain descent {_shown(checked.plain_median)}. Fit longer, or see "
                "whether an inversion is already cheap without it",
                UserWarning,
                stacklevel=4,
            )

    def check(self, inverter: LandscapeInverter) -> ValidationRecord:
        """The landscape on the validation targets as it is now."""
        plain = self._compared_with(inverter)
        curve = replace(self._curve(inverter), level=plain.level)
        record = ValidationRecord(
            budgets=self.budgets,
            median=curve.median,
            mean=curve.mean,
            area=curve.area,
            plain_median=plain.median,
            plain_area=plain.area,
            is_best=self.best is None or curve.area < self.best.area,
            break_even=_break_even(inverter.num_evaluations, self.budgets, curve.median, plain.median),
        )
        if record.is_best:
            self.best, self.best_weights = record, weights_of(inverter) if self.keep_best else None
        return record

    def _compared_with(self, inverter: LandscapeInverter) -> Curve:
        """Plain descent, run once."""
        if self.plain is None:
            self.plain = self._curve(inverter.unfitted())
        return self.plain

    def _curve(self, inverter: LandscapeInverter) -> Curve:
        result = inverter.invert(self.targets, self.budgets[-1], allow_unfitted=True)
        best = result.history.best.double().cpu()
        places = torch.tensor(self.budgets).clamp_max(len(best) - 1)  # all rows may have ended early
        return Curve(best[places], float(best[0][best[0].isfinite()].mean()))

    def _check_scale(self, inverter: LandscapeInverter) -> None:
        """Whether the calibration, made on the first targets of the fit, holds for these."""
        assert self.plain is not None
        fitted = float(inverter.landscape.mapping.loss)
        change = max(fitted / self.plain.level, self.plain.level / fitted)
        if not change < MAX_CHANGE_OF_SCALE:
            warnings.warn(
                f"the mean loss at x_init is {self.plain.level:.3g} on the validation targets and {fitted:.3g} on those "
                "that the steps were calibrated on: the two are not alike. Shuffle the targets of the fit, or validate "
                "on targets like them",
                UserWarning,
                stacklevel=4,
            )

    def state_dict(self) -> dict[str, Any]:
        """The plain curve, and the best so far."""
        plain = None if self.plain is None else {"loss": self.plain.loss, "level": self.plain.level}
        best = None if self.best is None else asdict(self.best)
        return {"plain": plain, "best": best, "best_weights": self.best_weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.plain = None if state["plain"] is None else Curve(**state["plain"])
        self.best = None if state["best"] is None else ValidationRecord(**state["best"])
        self.best_weights = state["best_weights"]


def _break_even(spent: int, budgets: tuple[int, ...], mine: Sequence[float], plain: Sequence[float]) -> float | None:
    """Inversions after which the evaluations of the fit are saved, at the best level that plain descent reaches."""
    arrived = [budget for budget, loss in zip(budgets, mine, strict=True) if loss <= plain[-1]]
    needed = [budget for budget, loss in zip(budgets, plain, strict=True) if loss <= plain[-1]]
    saved = needed[0] - arrived[0] if arrived else 0
    return spent / saved if saved > 0 else None


def _shown(losses: Sequence[float]) -> str:
    return "(" + ", ".join(f"{loss:.3g}" for loss in losses) + ")"
