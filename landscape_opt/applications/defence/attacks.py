"""Attacks with one interface: (victim, images, labels) → images within a ball that the victim gets wrong, where it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as mean_cross_entropy
from torch.nn.functional import one_hot

from .balls import Ball
from .victims import Loss, Victim


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log p(label)``, ``(B,)``.

    Args:
        logits: (B, K).
        labels: (B,) of integers.

    Example:
        >>> cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])
    """
    return mean_cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The best wrong logit less the right one, ``(B,)``: positive when fooled (Carlini and Wagner, 2017).

    Args:
        logits: (B, K).
        labels: (B,) of integers.

    Example:
        >>> margin(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([0]))
        tensor([2.])
    """
    right = logits.gather(1, labels[:, None])[:, 0]
    wrong = logits.masked_fill(one_hot(labels, logits.shape[1]).bool(), -torch.inf).amax(1)
    return wrong - right


def logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """:func:`margin` over the first logit less the third, ``(B,)``: whatever the scale of the logits.

    The DLR loss of Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks" (ICML 2020). Needs three classes.

    Args:
        logits: (B, K).
        labels: (B,) of integers.

    Example:
        >>> logits = torch.tensor([[1.0, 3.0, 0.0]])
        >>> torch.equal(logits_ratio(10.0 * logits, torch.tensor([0])), logits_ratio(logits, torch.tensor([0])))
        True
    """
    ordered = logits.sort(dim=1, descending=True).values
    return margin(logits, labels) / (ordered[:, 0] - ordered[:, 2]).clamp_min(1e-12)


class Attack(ABC):
    """Looks for images within a ball that a victim gets wrong.

    Attributes:
        name: as in a table.
        ball: how far it may go.
    """

    name: str
    ball: Ball

    @abstractmethod
    def __call__(self, victim: Victim, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The attacked images, within the ball for every row, fooled or not.

        Args:
            victim: what is attacked.
            images: ``(B, …)``, in [0, 1].
            labels: their classes, ``(B,)``.
            generator: of random starts.
        """


class PGD(Attack):
    """Projected gradient ascent (Madry et al., 2018).

    Args:
        ball: How far it may go.
        num_steps: From every start.
        loss: What is ascended; :func:`margin` makes it the attack of Carlini and Wagner, bounded.
        step: Length of a step; None takes a quarter of the radius.
        num_starts: The first at random, as all others.
        goes_on: Whether rows that are fooled are attacked further, for the highest loss. An attack that will meet a defence
            that it has not seen should; one that sees the defence is done.
        name: As in a table.

    Raises:
        ValueError: if a number is below 1.

    Example:
        >>> from landscape_opt.applications.defence import LInf, Undefended
        >>> victim, images = Undefended(torch.nn.Flatten()), torch.tensor([[[0.5, 0.4]]])
        >>> PGD(LInf(0.1))(victim, images, torch.tensor([0]), torch.Generator().manual_seed(0))
        tensor([[[0.4000, 0.5000]]])
    """

    def __init__(
        self,
        ball: Ball,
        num_steps: int = 20,
        *,
        loss: Loss = cross_entropy,
        step: float | None = None,
        num_starts: int = 1,
        goes_on: bool = True,
        name: str = "PGD",
    ) -> None:
        if num_steps < 1 or num_starts < 1:
            raise ValueError(f"num_steps and num_starts must be at least 1, got {num_steps} and {num_starts}")
        self.ball, self.num_steps, self.loss, self.name = ball, num_steps, loss, name
        self.step = 0.25 * ball.radius if step is None else step
        self.num_starts, self.goes_on = num_starts, goes_on

    def __call__(self, victim: Victim, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Attack`."""
        hunt = Hunt(victim, images, labels, self.loss, self.goes_on)
        for _ in range(self.num_starts):
            at = self.ball.drawn(images, generator)[hunt.rows]
            for step in range(self.num_steps + 1):
                at, gradient = hunt.look(at)
                if not len(at):
                    return hunt.found
                if step < self.num_steps:
                    at = self.ball.project(at + self.step * self.ball.steepest(gradient), images[hunt.rows])
        return hunt.found


class FGSM(Attack):
    """One step to the bound along the sign of the gradient (Goodfellow, Shlens and Szegedy, 2015).

    Args:
        ball: How far it may go.
        loss: What is ascended.

    Example:
        >>> from landscape_opt.applications.defence import LInf, Undefended
        >>> victim, images = Undefended(torch.nn.Flatten()), torch.tensor([[[0.5, 0.4]]])
        >>> FGSM(LInf(0.1))(victim, images, torch.tensor([0]), torch.Generator().manual_seed(0))
        tensor([[[0.4000, 0.5000]]])
    """

    name = "FGSM"

    def __init__(self, ball: Ball, loss: Loss = cross_entropy) -> None:
        self.ball, self.loss = ball, loss

    def __call__(self, victim: Victim, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Attack`."""
        gradient = victim.slope(images, labels, self.loss).gradient
        return self.ball.project(images + self.ball.radius * self.ball.steepest(gradient), images)


class RandomSearch(Attack):
    """Moves a random square of pixels to a bound and keeps what helps: needs no gradient, so that none can mislead it.

    In the manner of the Square attack (Andriushchenko et al., ECCV 2020), with the squares' side falling from half of the
    image to a pixel.

    Args:
        ball: How far it may go.
        num_steps: Squares tried.

    Example:
        >>> from landscape_opt.applications.defence import LInf, Undefended
        >>> victim, images = Undefended(torch.nn.Flatten()), torch.tensor([[[0.5, 0.4]]])
        >>> attacked = RandomSearch(LInf(0.1), num_steps=20)(
        ...     victim, images, torch.tensor([0]), torch.Generator().manual_seed(0)
        ... )
        >>> bool(((attacked - images).abs() <= 0.1 + 1e-6).all())
        True
    """

    name = "random search"

    def __init__(self, ball: Ball, num_steps: int = 100) -> None:
        self.ball, self.num_steps = ball, num_steps

    @torch.no_grad()
    def __call__(self, victim: Victim, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Attack`."""
        found, rows = self.ball.drawn(images, generator), torch.arange(len(images), device=images.device)
        highest = margin(victim.logits(found), labels)
        for step in range(self.num_steps):
            rows = rows[highest[rows] < 0]
            if not len(rows):
                break
            trial = self.ball.project(found[rows] + self._square(images, step, generator)[rows], images[rows])
            value = margin(victim.logits(trial), labels[rows])
            better = value > highest[rows]
            found[rows[better]], highest[rows[better]] = trial[better], value[better]
        return found

    def _square(self, images: Tensor, step: int, generator: torch.Generator) -> Tensor:
        """A square of twice the radius up or down, elsewhere for every row."""
        height, width = images.shape[-2:]
        side = max(1, round(0.5 * min(height, width) * (1.0 - step / self.num_steps)))
        draw = torch.rand(3, len(images), generator=generator).to(images.device)
        top, left = (draw[0] * (height - side + 1)).long(), (draw[1] * (width - side + 1)).long()
        down = torch.arange(height, device=images.device) - top[:, None]
        right = torch.arange(width, device=images.device) - left[:, None]
        inside = ((down >= 0) & (down < side))[:, :, None] & ((right >= 0) & (right < side))[:, None, :]
        change = 2.0 * self.ball.radius * torch.where(draw[2] < 0.5, -1.0, 1.0)[:, None, None] * inside
        return change.reshape(len(images), *[1] * (images.dim() - 3), height, width).to(images)


class WorstOf(Attack):
    """Several attacks one after the other, each on the rows that the ones before have not fooled.

    Args:
        attacks: In order; they share a ball.
        name: As in a table.

    Raises:
        ValueError: if there are none.

    Example:
        >>> from landscape_opt.applications.defence import LInf, Undefended
        >>> victim, images = Undefended(torch.nn.Flatten()), torch.tensor([[[0.5, 0.4]]])
        >>> WorstOf([FGSM(LInf(0.1)), PGD(LInf(0.1))])(victim, images, torch.tensor([0]), torch.Generator().manual_seed(0))
        tensor([[[0.4000, 0.5000]]])
    """

    def __init__(self, attacks: Sequence[Attack], name: str = "ensemble") -> None:
        if not attacks:
            raise ValueError("an ensemble needs at least one attack")
        self.attacks, self.name, self.ball = tuple(attacks), name, attacks[0].ball

    def __call__(self, victim: Victim, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Attack`."""
        found, rows = images.clone(), torch.arange(len(images), device=images.device)
        for attack in self.attacks:
            found[rows] = attack(victim, images[rows], labels[rows], generator)
            with torch.no_grad():
                rows = rows[victim.logits(found[rows]).argmax(1) == labels[rows]]
            if not len(rows):
                break
        return found


class Hunt:
    """The rows that are attacked, and the best point found for each.

    Attributes:
        found: of every row, ``(B, …)``: where it was fooled, else where the loss was highest.
        rows: which are attacked still.
    """

    def __init__(self, victim: Victim, images: Tensor, labels: Tensor, loss: Loss, goes_on: bool) -> None:
        self.victim, self.labels, self.loss, self.goes_on = victim, labels, loss, goes_on
        self.found, self.rows = images.clone(), torch.arange(len(images), device=images.device)
        self.highest = torch.full((len(images),), -torch.inf, dtype=images.dtype, device=images.device)
        self.fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def look(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Where the remaining rows stand, and the gradient there; those that are fooled leave, unless the hunt goes on."""
        slope = self.victim.slope(at, self.labels[self.rows], self.loss)
        return self.take(at, slope.loss, slope.right, slope.gradient)

    def take(self, at: Tensor, loss: Tensor, right: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Keep what is better: being fooled before a higher loss."""
        fooled, rows = ~right, self.rows
        better = (fooled & ~self.fooled[rows]) | ((fooled == self.fooled[rows]) & (loss > self.highest[rows]))
        self.found[rows[better]], self.highest[rows[better]] = at[better], loss[better]
        self.fooled[rows] |= fooled
        going = torch.ones_like(fooled) if self.goes_on else right
        self.rows = rows[going]
        return at[going], gradient[going]
