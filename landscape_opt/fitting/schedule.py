"""How the learning rate of θ goes along a fit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """A factor of θ's learning rate for every share of the fit."""

    @abstractmethod
    def factor(self, share: float) -> float:
        """The factor where ``share`` of the fit, of [0, 1), is over."""


@dataclass(frozen=True)
class Constant(Schedule):
    """1 throughout: fits compose, so that k rounds and m more are k + m rounds.

    Example:
        >>> Constant().factor(0.9)
        1.0
    """

    def factor(self, share: float) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""``floor + (1 - floor) · ½ (1 + cos(π · share))``: down to ``floor`` at the end (Loshchilov & Hutter 2017).

    Args:
        floor: the factor at the end.

    Raises:
        ValueError: if ``floor`` is not in [0, 1].

    Example:
        >>> round(Cosine().factor(0.5), 3), round(Cosine(floor=0.1).factor(1.0), 3)
        (0.5, 0.1)
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor must lie in [0, 1], got {self.floor}")

    def factor(self, share: float) -> float:
        """Between 1 and ``floor``."""
        return self.floor + (1.0 - self.floor) * (0.5 * (1.0 + math.cos(math.pi * share)))
