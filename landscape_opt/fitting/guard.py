"""What ends a fit early, or takes it back: no progress on held-out targets, and a θ that runs away."""

from __future__ import annotations

import math
import warnings
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ..persistence import load_optimizer_state, optimizer_state
from ..results import RoundRecord
from .callbacks import Callback, weights_of

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter
    from .loop import FitLoop

NUM_KNOWN = 10
"""Rounds whose mean is worth comparing with."""
TOO_MUCH = 3
"""Rounds in trouble."""
CALM = 4
"""Rounds in a row without trouble that clear those before: where every other round trains the start alone, one half may go
well while the other does not."""


class EarlyStopping(Callback):
    """Ends a fit when the area under the validation curve has not fallen for a while.

    Args:
        patience: validations without a fall.
        min_delta: decades that count as a fall.

    Raises:
        ValueError: if ``patience`` is below 1, or ``min_delta`` negative.

    Example:
        >>> EarlyStopping(patience=3).patience
        3
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.01) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        if not min_delta >= 0:
            raise ValueError(f"min_delta must not be negative, got {min_delta}")
        self.patience, self.min_delta = patience, min_delta
        self.best, self.waited = math.inf, 0

    def on_round_end(self, *, record: RoundRecord, **context: Any) -> bool:
        """True where patience has run out."""
        if record.validation is None:
            return False
        if record.validation.area < self.best - self.min_delta:
            self.best, self.waited = record.validation.area, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and how long ago that was."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.best, self.waited = state["best"], state["waited"]


class DivergenceGuard(Callback):
    """Takes θ and its optimizer back to where they were well, with half the learning rate, when θ runs away.

    θ runs away where its weights or its objective are not finite, and after three rounds in trouble: every update was left
    out, or the objective was more than ``factor`` times its mean in the rounds before. Four rounds in a row without trouble
    clear what was before. Part of every fit; while all is well it only keeps a copy.

    Args:
        factor: by which the objective may rise.
        every: rounds between two copies.
        max_returns: after so many the fit ends, with a warning.

    Example:
        >>> DivergenceGuard().num_returns  # how often θ has been taken back so far
        0
    """

    def __init__(self, factor: float = 10.0, every: int = 25, max_returns: int = 3) -> None:
        self.factor, self.every, self.max_returns = factor, every, max_returns
        self.mean, self.num_seen, self.num_troubled, self.num_calm, self.num_returns = 0.0, 0, 0, 0, 0
        self.weights: dict[str, Any] | None = None
        self.optimizer: dict[str, Any] | None = None

    def on_round_end(self, *, inverter: LandscapeInverter, record: RoundRecord, fit: FitLoop, **context: Any) -> bool:
        """Look at the round; True where nothing helped."""
        idle = record.skipped_updates == inverter.replay.updates_per_round
        risen = self.num_seen >= NUM_KNOWN and record.objective > self.factor * self.mean
        troubled = idle or risen
        self.num_calm = 0 if troubled else self.num_calm + 1
        self.num_troubled = 0 if self.num_calm == CALM else self.num_troubled + troubled
        gone = not _is_finite(inverter) or not (idle or math.isfinite(record.objective))
        if gone or self.num_troubled == TOO_MUCH:
            return self._go_back(inverter, fit)
        if not troubled:
            self._all_is_well(inverter, record.objective)
        return False

    def _all_is_well(self, inverter: LandscapeInverter, objective: float) -> None:
        if self.num_seen % self.every == 0 and self.num_troubled == 0:
            self.weights, self.optimizer = weights_of(inverter), deepcopy(optimizer_state(inverter.optimizer))
        self.num_seen += 1
        weight = max(1.0 / self.num_seen, 1.0 / self.every)
        self.mean += weight * (objective - self.mean)

    def _go_back(self, inverter: LandscapeInverter, fit: FitLoop) -> bool:
        self.num_returns, self.num_troubled = self.num_returns + 1, 0
        if self.weights is None:  # the very first round: there is nothing to go back to
            warnings.warn("θ ran away in the first round: lower the learning rate of theta_optimizer", RuntimeWarning,
                          stacklevel=4)  # fmt: skip
            return True
        inverter.landscape.mapping.load_state_dict(self.weights)
        if inverter.optimizer is not None and self.optimizer is not None:
            load_optimizer_state(inverter.optimizer, deepcopy(self.optimizer))
        inverter.replay.restart()
        fit.rate_scale *= 0.5
        ends = self.num_returns >= self.max_returns
        warnings.warn(
            f"θ ran away in round {len(inverter.history) - 1} and was taken back to where it was well; "
            + ("the fit ends here" if ends else f"its learning rate is now {fit.rate_scale:g} times what it was"),
            RuntimeWarning,
            stacklevel=4,
        )
        return ends

    def state_dict(self) -> dict[str, Any]:
        """The copy, and what was seen of the objective."""
        names = ("mean", "num_seen", "num_troubled", "num_calm", "num_returns", "weights", "optimizer")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        for name, value in state.items():
            setattr(self, name, value)


def _is_finite(inverter: LandscapeInverter) -> bool:
    return all(bool(weight.isfinite().all()) for weight in inverter.landscape.mapping.parameters())
