"""What is told of a fit while it runs, and may end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from ..results import RoundRecord

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter
    from .loop import FitLoop

Log: TypeAlias = Callable[[Mapping[str, float], int], Any]


class Callback:
    """Told of the begin, of every round and of the end of a fit.

    All is given by keyword: a subclass names what it needs, and takes the rest, also what later versions add, as
    ``**context``. ``fit`` is the :class:`~landscape_opt.fitting.FitLoop` that runs, with ``share``, ``seconds``,
    ``num_rounds_done`` and ``rate_scale``.

    A callback whose choices depend on what it has seen gives that in :meth:`state_dict`, or a resumed fit would go
    another way than one that was never interrupted.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> class Enough(Callback):
        ...     def on_round_end(self, record, **context):
        ...         return record.round == 2
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.nn.Linear(2, 2), torch.zeros(2)), squares)
        >>> len(inverter.fit(torch.randn(64, 2), num_rounds=9, callbacks=[Enough()], progress=False).history)
        3
    """

    def on_fit_begin(self, *, inverter: LandscapeInverter, fit: FitLoop) -> None:
        """Before the first round."""

    def on_round_end(self, *, inverter: LandscapeInverter, record: RoundRecord, fit: FitLoop) -> bool | None:
        """After a round; True ends the fit."""
        return None

    def on_fit_end(self, *, inverter: LandscapeInverter, fit: FitLoop) -> None:
        """After the last round; not where an error ended the fit."""

    @property
    def settings(self) -> str:
        """What a fit that is resumed is to have in common with the one that was begun; empty where nothing depends on it."""
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        """What later calls depend on: Tensors, numbers, text, lists and dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""


class Logging(Callback):
    """Calls ``log(dict, step)`` after every round, as ``wandb.log``, ``fabric.log_dict`` and ``accelerator.log`` take it.

    Args:
        log: takes names with numbers, and the round.

    Raises:
        TypeError: if ``log`` is not callable.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, batch_size=16)
        >>> seen = []
        >>> log = Logging(lambda figures, step: seen.append(step))
        >>> inverter = inverter.fit(y, num_rounds=2, callbacks=[log], progress=False)
        >>> seen
        [0, 1]
    """

    def __init__(self, log: Log) -> None:
        if not callable(log):
            raise TypeError(f"log must be a function log(dict, step), got {type(log).__name__}")
        self.log = log

    @property
    def settings(self) -> str:
        """Nothing depends on a log."""
        return ""

    def on_round_end(self, *, inverter: LandscapeInverter, record: RoundRecord, **context: Any) -> None:
        """Log the figures of the round, on rank 0."""
        if inverter.ranks.is_first:
            self.log(figures(inverter, record), record.round)


def weights_of(inverter: LandscapeInverter) -> dict[str, Any]:
    """A copy of θ's weights and scales, and of the extra state that a mapping may have."""
    state = inverter.landscape.mapping.state_dict()
    return {name: value.detach().clone() if isinstance(value, Tensor) else deepcopy(value) for name, value in state.items()}


def figures(inverter: LandscapeInverter, record: RoundRecord) -> dict[str, float]:
    """The numbers of a round, by name."""
    found = {
        "fit/objective": record.objective,
        "fit/learning_rate": record.learning_rate,
        "fit/seconds": record.seconds,
        "fit/evaluations": float(inverter.num_evaluations),
        "fit/skipped_updates": float(record.skipped_updates),
    }
    for age, loss in enumerate(record.trajectory_loss):
        if loss == loss:  # no row of that age was seen
            found[f"fit/loss_after_{age}"] = loss
    if (checked := record.validation) is not None:
        found["validation/area"] = checked.area
        for budget, median in zip(checked.budgets, checked.median, strict=True):
            found[f"validation/median_at_{budget}"] = median
        if checked.break_even is not None:
            found["validation/break_even"] = checked.break_even
    return found
