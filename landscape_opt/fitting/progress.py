"""The progress bar of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..results import RoundRecord
from .callbacks import Callback
from .loop import FitLoop

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter


class ProgressBar(Callback):
    """A tqdm bar by the seconds of the fit, or by its rounds; on rank 0 alone.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, batch_size=16)
        >>> bar = ProgressBar()  # what fit(progress=True) adds
        >>> inverter = inverter.fit(y, num_rounds=2, callbacks=[bar], progress=False)
        >>> bar.bar.n
        2
    """

    def __init__(self) -> None:
        self.bar: Any = None

    @property
    def settings(self) -> str:
        """Nothing depends on a bar."""
        return ""

    def on_fit_begin(self, *, inverter: LandscapeInverter, fit: FitLoop, **context: Any) -> None:
        """Open the bar, at where a resumed fit stands."""
        if not inverter.ranks.is_first:
            return
        from tqdm import tqdm  # here, because it costs a tenth of a second to import

        by_seconds = fit.max_seconds is not None
        total = round(fit.max_seconds) if fit.max_seconds is not None else fit.num_rounds
        self.bar = tqdm(total=total, initial=self._done(fit), desc="fit", unit="s" if by_seconds else "round")

    def on_round_end(self, *, record: RoundRecord, fit: FitLoop, **context: Any) -> None:
        """Move it on."""
        if self.bar is None:
            return
        self.bar.set_postfix_str(f"round {record.round}, objective {record.objective:.4g}", refresh=False)
        self.bar.update(self._done(fit) - self.bar.n)

    def on_fit_end(self, **context: Any) -> None:
        """Close it."""
        if self.bar is not None:
            self.bar.close()

    @staticmethod
    def _done(fit: FitLoop) -> int:
        return fit.num_rounds_done if fit.max_seconds is None else int(min(fit.seconds, fit.max_seconds))
