"""Several answers for every target: where they begin, and what became of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .layout import Layout, X
from .look_up import LookUp

SAME = 1e-2
"""Two answers are one if they are nearer than this share of their own size, or of the size of a first step."""
SPREAD = 3.0


@dataclass(frozen=True)
class Hypotheses:
    """All answers that were tried for every target, the best first.

    Attributes:
        x: Tensor (B, K, …) or dict of them.
        loss: (B, K), ascending.
        status: of every one, (B, K) of integers; LEFT_BEHIND for those given up on the way.
        num_evaluations: spent on each, (B, K).
        num_distinct: answers that differ from all better ones, (B,): K minus the duplicates.
        diversity: mean distance between two answers of a target, (B,).
    """

    x: Any
    loss: Tensor = field(repr=False)
    status: Tensor = field(repr=False)
    num_evaluations: Tensor = field(repr=False)
    num_distinct: Tensor = field(repr=False)
    diversity: Tensor = field(repr=False)


class Starts(ABC):
    """Where hypotheses begin."""

    @abstractmethod
    def draw(self, own: Tensor, count: int, place: Place) -> Tensor:
        """Points (B, count, d).

        Args:
            own: where a single inversion would begin, (B, d).
            count: points for every target, that one included.
            place: what else is known.
        """


@dataclass(frozen=True)
class Place:
    """What starts may be drawn from.

    Attributes:
        layout: how x lies in a flat row.
        scale: what a first step does to an element of x.
        look_up: the memory; None where it is empty.
        generator: of the inversion; the same draws serve every target, so that no row depends on another (law 1).
    """

    layout: Layout
    scale: float
    look_up: LookUp | None
    generator: torch.Generator


class Scattered(Starts):
    """The own start, and normal draws around it.

    Args:
        spread: standard deviation, in units of what a first step does to an element of x.

    Raises:
        ValueError: if ``spread`` is not positive.

    Example:
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.square, torch.full((1,), 0.5)), squares)
        >>> asked = {"num_hypotheses": 8, "starts": Scattered(spread=2.0), "allow_unfitted": True}
        >>> found = inverter.invert(torch.tensor([[4.0]]), 40, **asked).hypotheses
        >>> sorted({round(float(x)) for x in found.x[0]})
        [-2, 2]
    """

    def __init__(self, spread: float = SPREAD) -> None:
        if not spread > 0:
            raise ValueError(f"spread must be positive, got {spread}")
        self.spread = spread

    def draw(self, own: Tensor, count: int, place: Place) -> Tensor:
        """The first is the own start itself."""
        noise = torch.randn(count, own.shape[1], generator=place.generator).to(own)
        noise[0] = 0.0
        return own[:, None] + self.spread * place.scale * noise


class Remembered(Starts):
    """The own start, then the most different of the best points of the memory, then draws around the own start.

    Example:
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.square, torch.full((1,), 0.5)), squares)
        >>> asked = {"num_hypotheses": 3, "starts": Remembered(), "allow_unfitted": True}
        >>> found = inverter.invert(torch.tensor([[4.0]]), 40, **asked).hypotheses
        >>> found.x.shape, bool(found.loss[0, 0] < 1e-6)
        (torch.Size([1, 3, 1]), True)
    """

    def draw(self, own: Tensor, count: int, place: Place) -> Tensor:
        """As many of each as there are."""
        scattered = Scattered().draw(own, count, place)
        if place.look_up is None or count == 1:
            return scattered
        stored = place.look_up.candidates(torch.arange(len(own), device=own.device), count - 1).x[:, : count - 1]
        return torch.cat([own[:, None], stored, scattered[:, 1 + stored.shape[1] :]], dim=1)


class LatinHypercube(Starts):
    """Points that cover a box evenly: every coordinate falls once into each of K equal intervals (McKay et al. 1979).

    Args:
        lower: corner of the box: a number, a Tensor, or in the format of ``x_init``.
        upper: the opposite corner.

    Example:
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.square, torch.full((1,), 0.5)), squares)
        >>> asked = {"num_hypotheses": 4, "starts": LatinHypercube(-3.0, 3.0), "allow_unfitted": True}
        >>> found = inverter.invert(torch.tensor([[4.0]]), 40, **asked).hypotheses
        >>> sorted({round(float(x)) for x in found.x[0]})
        [-2, 2]
    """

    def __init__(self, lower: X | float, upper: X | float) -> None:
        self.lower, self.upper = lower, upper

    def draw(self, own: Tensor, count: int, place: Place) -> Tensor:
        """The same points for every target; the own start is not among them."""
        lower, upper = place.layout.flat_like(self.lower), place.layout.flat_like(self.upper)
        if not bool(((upper - lower).isfinite() & (upper >= lower)).all()):
            raise ValueError("LatinHypercube needs finite corners, the lower one below the upper one")
        order = torch.rand(count, own.shape[1], generator=place.generator).argsort(0)
        inside = torch.rand(count, own.shape[1], generator=place.generator)
        share = ((order + inside) / count).to(own)
        return (lower + share * (upper - lower)).expand(len(own), -1, -1)


class Given(Starts):
    """The user's own starts.

    Args:
        x: (B, K, …), in the format of ``x_init``.

    Example:
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.square, torch.full((1,), 0.5)), squares)
        >>> asked = {"num_hypotheses": 2, "starts": Given(torch.tensor([[[-1.0], [1.0]]])), "allow_unfitted": True}
        >>> found = inverter.invert(torch.tensor([[4.0]]), 40, **asked).hypotheses
        >>> sorted({round(float(x)) for x in found.x[0]})
        [-2, 2]
    """

    def __init__(self, x: Any) -> None:
        self.x = x

    def draw(self, own: Tensor, count: int, place: Place) -> Tensor:
        """Exactly those."""
        parts = self.x if isinstance(self.x, dict) else {"x": self.x}
        rows = {name: part.flatten(0, 1) for name, part in parts.items()}
        flat = place.layout.flat(rows if isinstance(self.x, dict) else rows["x"], "the starts")
        if flat.shape[0] != len(own) * count:
            raise ValueError(f"expected {count} starts for each of {len(own)} targets, got {flat.shape[0]} in all")
        return flat.detach().reshape(len(own), count, -1)


def distinct(x: Tensor, scale: float) -> Tensor:
    """How many of the answers differ from all better ones, (B,).

    Args:
        x: the answers, the best first, (B, K, d).
        scale: what a first step does to an element of x.

    Example:
        >>> distinct(torch.tensor([[[1.0], [1.0], [-1.0]]]), scale=1.0)
        tensor([2])
    """
    apart = _apart(x)
    size = torch.maximum(x.norm(dim=2), x.new_tensor(scale * x.shape[2] ** 0.5))
    same = apart < SAME * size[:, :, None]
    earlier = torch.ones_like(same[0]).tril(-1)
    return (~(same & earlier).any(2)).sum(1)


def diversity(x: Tensor) -> Tensor:
    """Mean distance between two of the answers, (B,); zero for a single one.

    Args:
        x: the answers, (B, K, d).

    Example:
        >>> diversity(torch.tensor([[[0.0], [3.0]]]))
        tensor([3.])
    """
    count = x.shape[1]
    return _apart(x).sum((1, 2)) / max(1, count * (count - 1))


def _apart(x: Tensor) -> Tensor:
    """Distances between the answers of a target, (B, K, K): by differences, since squares would round near ones away."""
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
