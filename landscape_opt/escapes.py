"""Ways out of where rows of a fit were caught: a ridge regression from what was seen there to where a solution was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .mappings.layers import times
from .ring import Ring, row_bytes

State: TypeAlias = dict[str, Any]

SHRINKAGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Of the mean of ``‖s‖²``: what the regression is chosen from."""
FEWEST, ENOUGH = 8, 64
"""Ways from which there is a regression, and from which its error is believed."""
GOOD = 0.7
"""A regression whose median error, as a share of the way, is larger leads nowhere."""
OFTEN, SELDOM = 0.5, 0.05
"""Share of the caught rows of a fit that look for a way out, where it is learned from them and where it is not."""
CAPACITY = 1024
"""More ways say little more, and a regression takes time with the cube of their number."""
NUM_JUDGED = 256
"""Ways that are enough to tell which of both it is."""


@dataclass(frozen=True)
class Regression:
    """``move = alphaᵀ S s``, the dual form of ridge regression: no matrix of the size of s times x.

    Attributes:
        seen: S, what was seen, a row for each way, (N, p), float64.
        alpha: (N, d), float64.
        error: the median over the ways of ``‖error‖/‖move‖``, each predicted from all others.
    """

    seen: Tensor
    alpha: Tensor
    error: float

    def __call__(self, seen: Tensor) -> Tensor:
        """Where to go from there, (B, d), of what is seen, (B, p)."""
        return times(times(seen.to(self.seen), self.seen.T), self.alpha).to(seen)


class Escapes:
    """A ring of ways: what was seen at a point where a row was caught, and how far from there a solution was found.

    A target with several answers that look alike, or an F with a symmetry that targets nearly have, has the same local
    minima for all targets: the other way round, mirrored, half a turn away. What leads out of one is then nearly a linear
    function of where the row stands and what it sees, and some hundred ways suffice to learn it. The regression is of
    ways in units of their length, and its shrinkage is the one with the smallest error on ways that were left out
    (PRESS, Allen 1974). Regressions from what is seen to how far a solution is are those of the supervised descent method
    (Xiong & De la Torre 2013), there one for every step.

    Args:
        capacity: ways; 0 keeps none.
        max_bytes: of all of them.

    Example:
        >>> escapes = Escapes()
        >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> escapes.add(torch.cat([torch.ones(64, 1), x], dim=1), -2.0 * x)  # from every x to -x
        >>> regression = escapes.regression()
        >>> regression(torch.tensor([[1.0, 3.0, -1.0]])).round(decimals=2)
        tensor([[-6.,  2.]])
    """

    def __init__(self, capacity: int = CAPACITY, max_bytes: int = 2**24) -> None:
        self.ring = Ring(capacity, max_bytes)
        self.count = 0
        self.judged_at, self.error = 0, torch.inf
        self.found: tuple[int, Regression | None] = (0, None)

    def __len__(self) -> int:
        return len(self.ring)

    def add(self, seen: Tensor, move: Tensor) -> None:
        """Keep ways, the oldest go first.

        Args:
            seen: at the points where rows were caught, (N, p).
            move: from there to a much lower loss, (N, d).
        """
        ways = {"move": move, "seen": seen}
        usable = seen.isfinite().all(1) & move.isfinite().all(1) & (move != 0).any(1)
        if not bool(usable.any()) or min(self.ring.capacity, self.ring.max_bytes // row_bytes(ways)) < FEWEST:
            return
        self.ring.add({name: part[usable] for name, part in ways.items()})
        self.count += int(usable.sum())
        if self.count >= max(FEWEST, self.judged_at + min(NUM_JUDGED, self.judged_at // 2)):
            judged = self._regression(NUM_JUDGED)
            self.judged_at, self.error = self.count, torch.inf if judged is None else judged.error

    @property
    def share(self) -> float:
        """How many of the caught rows of a fit look for a way out.

        It costs evaluations, and where nothing is learned from it they are better spent on new targets.
        """
        return SELDOM if self.count >= ENOUGH and self.error > GOOD else OFTEN

    def regression(self) -> Regression | None:
        """Through all ways that are kept; None where they are too few, or say too little."""
        if self.found[0] != self.count:
            found = self._regression(self.ring.capacity)
            self.found = (self.count, found if found is not None and found.error <= GOOD else None)
        return self.found[1]

    def _regression(self, most: int) -> Regression | None:
        """Through the newest ways."""
        held = len(self.ring)
        if held < FEWEST:
            return None
        newest = torch.arange(max(0, held - most), held)
        ways: State = self.ring.rows(newest)
        seen, move = ways["seen"].cpu().double(), ways["move"].cpu().double()
        length = move.norm(dim=1, keepdim=True)
        seen, move = seen / length, move / length
        gram = seen @ seen.T
        values, vectors = torch.linalg.eigh(gram)
        turned, scale = vectors.T @ move, gram.diagonal().mean()
        best, lowest = None, torch.inf
        for shrinkage in SHRINKAGES:
            inverse = 1.0 / (values.clamp_min(0.0) + shrinkage * scale)
            alpha = vectors @ (inverse[:, None] * turned)
            # What is left of a way when it is predicted from all others: alpha_i / (G + λ)⁻¹_ii.
            error = float((alpha / (vectors.square() @ inverse)[:, None]).norm(dim=1).median())
            if error < lowest:
                best, lowest = alpha, error
        if best is None:
            return None
        place = ways["seen"].device
        wide = torch.float64 if place.type != "mps" else torch.float32
        return Regression(seen.to(place, wide), best.to(place, wide), lowest)

    def to(self, device: torch.device) -> None:
        """Move the ways."""
        if self.ring.storage is not None:
            self.ring.homes = [device] * len(self.ring.homes)
            self.ring.to(self.ring.homes)
        self.found = (0, None)

    def state_dict(self) -> State:
        """Everything that the next round depends on."""
        return {**self.ring.state_dict(), "count": self.count, "judged_at": self.judged_at, "error": self.error}

    def load_state_dict(self, state: State) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.ring.load_state_dict(state)
        self.count, self.judged_at, self.error = state["count"], state["judged_at"], state["error"]
        self.found = (0, None)
