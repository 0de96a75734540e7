"""How robust a defence is; there is no record of it without an attack that goes through the defence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .apgd import APGD
from .attacks import Attack, RandomSearch, margin
from .balls import Ball
from .images import Labelled
from .reversal import Reversal
from .victims import Expectation, StraightThrough, Unrolled, Victim


@dataclass(frozen=True, eq=False)
class Crafted:
    """Images that an attacker made without this defence before him: on the classifier alone, or on another defence.

    Attributes:
        name: as in a table.
        images: attacked, ``(N, …)``.
    """

    name: str
    images: Tensor = field(repr=False)


@dataclass(frozen=True, eq=False)
class Threat:
    """An attacker: an attack, and what it differentiates.

    Attributes:
        attack: as it goes about.
        victim: through a defence, or the classifier alone.
        name: as in a table.
    """

    attack: Attack = field(repr=False)
    victim: Victim = field(repr=False)
    name: str

    def craft(self, data: Labelled, seed: int = 0) -> Crafted:
        """Attack all of these images, for use against whatever defence."""
        generator = torch.Generator().manual_seed(seed)
        return Crafted(self.name, self.attack(self.victim, data.images, data.labels, generator))


@dataclass(frozen=True, eq=False)
class Outcome:
    """Rows that a defence gets right under an attack.

    Attributes:
        name: of the attack.
        right: ``(N,)``; of an adaptive attack, those that no attack before it has broken either.
    """

    name: str
    right: Tensor = field(repr=False)

    @property
    def accuracy(self) -> float:
        """In percent."""
        return percent(self.right)


@dataclass(frozen=True, eq=False, kw_only=True)
class Robustness:
    """What is left of a defence under attack. Made by :func:`evaluate`.

    Attributes:
        clean: rows that are right without an attack, ``(N,)``.
        crafted: under every attack made without the defence, each for itself.
        adaptive: under the attacks through the defence, one after the other: each on what was still right.
        num_steps: of the reversal.
        seconds: of the defence for one image.

    Raises:
        ValueError: without an adaptive attack.
    """

    clean: Tensor = field(repr=False)
    crafted: tuple[Outcome, ...]
    adaptive: tuple[Outcome, ...]
    num_steps: int
    seconds: float

    def __post_init__(self) -> None:
        if not self.adaptive:
            raise ValueError(
                "robustness without an adaptive attack says nothing of a defence: give at least one that differentiates "
                "through it, as adaptive_threats(defence, ball) does"
            )

    @property
    def clean_accuracy(self) -> float:
        """Without an attack, in percent."""
        return percent(self.clean)

    @property
    def robust_accuracy(self) -> float:
        """Rows that every attack, the adaptive ones included, has left right; in percent."""
        return self.adaptive[-1].accuracy


def adaptive_threats(reversal: Reversal, ball: Ball, num_steps: int = 20, *, num_starts: int = 1) -> tuple[Threat, ...]:
    """Attacks through a defence: BPDA, the unrolled gradient, and a search that needs no gradient.

    The gradient attacks are APGD on the margin, which halves its own step. A defence with randomness is attacked in the mean
    of eight calls.

    Args:
        reversal: the defence.
        ball: how far the attacker may go.
        num_steps: of every attack.
        num_starts: random starts of the gradient attacks.

    Example:
        >>> from landscape_opt.applications.defence import LInf, Supervision
        >>> images = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> inverter = Supervision.contrastive(torch.nn.Flatten(), negatives=images).inverter()
        >>> defence = Reversal(torch.nn.Flatten(), inverter, num_steps=3)
        >>> [threat.name for threat in adaptive_threats(defence, LInf(0.1))]
        ['BPDA', 'unrolled', 'random search']
    """
    victims: tuple[Victim, ...] = (StraightThrough(reversal), Unrolled(reversal))
    if reversal.is_random:
        victims = tuple(Expectation(victim) for victim in victims)
    straight, unrolled = victims
    ascent = APGD(ball, num_steps, loss=margin, num_starts=num_starts, goes_on=False)
    return (
        Threat(ascent, straight, "BPDA"),
        Threat(ascent, unrolled, "unrolled"),
        Threat(RandomSearch(ball, num_steps), straight, "random search"),
    )


@torch.no_grad()
def evaluate(
    reversal: Reversal,
    data: Labelled,
    *,
    adaptive: Sequence[Threat],
    crafted: Sequence[Crafted] = (),
    seed: int = 0,
) -> Robustness:
    """Measure a defence on labelled images.

    Args:
        reversal: the defence.
        data: clean images and their classes.
        adaptive: attackers who know the defence, as :func:`adaptive_threats` makes them; others may be among them.
        crafted: images of attackers who do not, each of the shape of ``data.images``.
        seed: of random starts.

    Raises:
        ValueError: if no attacker goes through this very defence, or, where it is random, none of those takes the mean
            over its randomness.

    Example:
        >>> from torch import nn
        >>> from landscape_opt.applications.defence import Labelled, LInf, Reversal, Supervision, adaptive_threats
        >>> images = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> supervision = Supervision.contrastive(nn.Flatten(), negatives=images)
        >>> reversal = Reversal(nn.Flatten(), supervision.inverter(), num_steps=1)
        >>> data = Labelled(images, images.flatten(1).argmax(1))
        >>> robustness = evaluate(reversal, data, adaptive=adaptive_threats(reversal, LInf(0.05))[:1])
        >>> robustness.clean_accuracy >= robustness.robust_accuracy
        True
    """
    through = [threat.victim for threat in adaptive if threat.victim.through is reversal]
    if not through:
        raise ValueError(
            "no adaptive attacker differentiates through this defence: give those of adaptive_threats(defence, ball)"
        )
    if reversal.is_random and not any(victim.averages for victim in through):
        raise ValueError("this defence is random: an adaptive attacker must take the mean over it, Expectation(victim)")
    for made in crafted:
        if made.images.shape != data.images.shape:
            raise ValueError(
                f"images of {made.name!r} are {tuple(made.images.shape)}, the clean ones {tuple(data.images.shape)}: "
                "craft them on the same images"
            )
    generator = torch.Generator().manual_seed(seed)
    began = time.perf_counter()
    clean = _right(reversal, data.images, data.labels)
    seconds = (time.perf_counter() - began) / len(data)
    outcomes = tuple(Outcome(made.name, _right(reversal, made.images, data.labels)) for made in crafted)
    left = torch.stack([clean, *[outcome.right for outcome in outcomes]]).all(0)
    attacked = []
    for threat in adaptive:
        left = left.clone()
        rows = left.nonzero()[:, 0]
        if len(rows):
            some = data.rows(rows)
            found = threat.attack(threat.victim, some.images, some.labels, generator)
            left[rows] = _right(reversal, found, some.labels)
        attacked.append(Outcome(threat.name, left))
    return Robustness(clean=clean, crafted=outcomes, adaptive=tuple(attacked), num_steps=reversal.num_steps, seconds=seconds)


def percent(right: Tensor) -> float:
    """The share of True, in percent."""
    return 100.0 * float(right.double().mean())


def _right(reversal: Reversal, images: Tensor, labels: Tensor) -> Tensor:
    right: Tensor = reversal(images).argmax(1) == labels
    return right
