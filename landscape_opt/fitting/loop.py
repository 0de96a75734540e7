"""The loop of a fit: rounds until the time or their number is over, or a callback says that it is enough."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..targets import TargetFeed
from .callbacks import Callback
from .schedule import Schedule

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter


class FitLoop:
    """A fit that runs: how far it has come, and what depends on that.

    Args:
        inverter: whose :meth:`~landscape_opt.LandscapeInverter.step` is a round.
        schedule: of the learning rate.
        callbacks: in the order in which they are told.
        max_seconds: wall time after which no new round begins, that of the runs before a resumption included.
        num_rounds: rounds at most, those included too.

    Attributes:
        num_rounds_done: rounds of this fit.
        rate_scale: a further factor of the learning rate, for callbacks to change.
        is_over: whether a fit with these arguments has come to its end.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> from landscape_opt.fitting import Constant
        >>> from landscape_opt.targets import TargetFeed
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, batch_size=16)
        >>> loop = FitLoop(inverter, Constant(), callbacks=[], num_rounds=2)  # as fit does
        >>> loop.run(TargetFeed(y, batch_size=16, seed=0))
        >>> loop.num_rounds_done, loop.is_over
        (2, True)
    """

    def __init__(
        self,
        inverter: LandscapeInverter,
        schedule: Schedule,
        callbacks: Sequence[Callback],
        max_seconds: float | None = None,
        num_rounds: int | None = None,
    ) -> None:
        self.inverter, self.schedule, self.callbacks = inverter, schedule, tuple(callbacks)
        self.max_seconds, self.num_rounds = max_seconds, num_rounds
        self.num_rounds_done, self.rate_scale, self.is_over = 0, 1.0, False
        self._seconds_before, self._began = 0.0, time.monotonic()
        self._looked_at = 0.0

    @property
    def with_state(self) -> list[Callback]:
        """The callbacks that a fit depends on."""
        return [callback for callback in self.callbacks if callback.settings]

    @property
    def seconds(self) -> float:
        """Wall time of this fit."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def share(self) -> float:
        """Share of the fit that is over, by the clock where there is one, as it was before this round."""
        if self.max_seconds is not None:
            return self._looked_at / self.max_seconds
        return self.num_rounds_done / self.num_rounds if self.num_rounds else 1.0

    @property
    def is_due(self) -> bool:
        """Whether another round is to begin; looks at the clock, that of rank 0."""
        if self.max_seconds is not None:
            self._looked_at = self.inverter.ranks.from_first(self.seconds)
        return (self.num_rounds is None or self.num_rounds_done < self.num_rounds) and self.share < 1.0

    def run(self, feed: TargetFeed) -> None:
        """Fit until the end."""
        self._began = time.monotonic()
        self._tell("on_fit_begin")
        is_enough = False
        while self.is_due and not is_enough:
            factor = self.rate_scale * self.schedule.factor(self.share)
            self.inverter.step(feed.next(), learning_rate_factor=factor)
            self.inverter.num_batches = feed.position
            self.num_rounds_done += 1
            is_enough = self.inverter.ranks.any(self._tell("on_round_end"))
        self.is_over = True
        self._tell("on_fit_end")

    def _tell(self, what: str) -> bool:
        """Tell all callbacks; whether one of them has had enough."""
        enough = False
        for callback in self.callbacks:
            record = {"record": self.inverter.history[-1]} if what == "on_round_end" else {}
            enough |= bool(getattr(callback, what)(inverter=self.inverter, fit=self, **record))
        return enough

    def state_dict(self) -> dict[str, Any]:
        """How far it has come, and the state of its callbacks."""
        return {
            "num_rounds_done": self.num_rounds_done,
            "seconds": self.seconds,
            "rate_scale": self.rate_scale,
            "is_over": self.is_over,
            "callbacks": [callback.state_dict() for callback in self.with_state],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.num_rounds_done, self.rate_scale = state["num_rounds_done"], state["rate_scale"]
        self._seconds_before = state["seconds"]
        for callback, saved in zip(self.with_state, state["callbacks"], strict=True):
            callback.load_state_dict(saved)
