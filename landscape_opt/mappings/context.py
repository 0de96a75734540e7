"""What a mapping is told beside z. Any part of it may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ..objective import Evaluation


@dataclass(frozen=True)
class Context:
    """What θ may know of the rows it maps.

    Attributes:
        target: features of the target, (B, m), or None where the target cannot be read as floats.
        known: target features that are to be believed, 0 or 1 for a row, (B,), or for each, (B, m); None believes all.
        evaluation: the last evaluation of F, or None before the first.
        trust: how much of the chart's own displacement is taken, (B,) in (0, 1]; None takes all. Set by the safeguard.
    """

    target: Tensor | None = None
    known: Tensor | None = None
    evaluation: Evaluation | None = None
    trust: Tensor | None = None

    def rows(self, index: Tensor) -> Self:
        """The rows that ``index`` picks."""
        return type(self)(
            None if self.target is None else self.target[index],
            None if self.known is None else self.known[index],
            None if self.evaluation is None else self.evaluation.rows(index),
            None if self.trust is None else self.trust[index],
        )
