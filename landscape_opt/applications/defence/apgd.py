"""Ascent that halves its own step, and the ensemble that is made of it."""

from __future__ import annotations

import torch
from torch import Tensor

from .attacks import PGD, Attack, Hunt, WorstOf, cross_entropy, logits_ratio, margin
from .balls import Ball
from .victims import Loss, Victim

MOMENTUM = 0.75
ENOUGH = 0.75
"""A row that rose in fewer of its steps than this share halves its step."""


class APGD(Attack):
    """Projected gradient ascent with momentum whose step every row halves by itself, from twice the radius.

    Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks" (ICML
    2020): at checkpoints that come closer together, a row whose loss rose in fewer than three quarters of the steps, or
    whose best loss and step have not changed since the last one, halves its step and goes back to its best point.

    Args:
        ball: How far it may go.
        num_steps: From every start.
        loss: What is ascended.
        num_starts: Random ones.
        goes_on: Whether rows that are fooled are attacked further, as in :class:`PGD`.
        name: As in a table.

    Raises:
        ValueError: if a number is below 1.

    Example:
        >>> from landscape_opt.applications.defence import LInf, Undefended
        >>> victim, images = Undefended(torch.nn.Flatten()), torch.tensor([[[0.5, 0.4]]])
        >>> APGD(LInf(0.1))(victim, images, torch.tensor([0]), torch.Generator().manual_seed(0))
        tensor([[[0.4000, 0.5000]]])
    """

    def __init__(
        self,
        ball: Ball,
        num_steps: int = 30,
        *,
        loss: Loss = cross_entropy,
        num_starts: int = 1,
        goes_on: bool = True,
        name: str = "APGD",
    ) -> None:
        if num_steps < 1 or num_starts < 1:
            raise ValueError(f"num_steps and num_starts must be at least 1, got {num_steps} and {num_starts}")
        self.ball, self.num_steps, self.loss, self.name = ball, num_steps, loss, name
        self.num_starts, self.goes_on = num_starts, goes_on

    def __call__(self, victim: Victim, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Attack`."""
        hunt = Hunt(victim, images, labels, self.loss, self.goes_on)
        for _ in range(self.num_starts):
            start = self.ball.drawn(images, generator)
            if not len(hunt.rows):
                break
            self._ascend(hunt, start[hunt.rows], images)
        return hunt.found

    def _ascend(self, hunt: Hunt, at: Tensor, images: Tensor) -> None:
        climb = _Climb(self, at)
        for step in range(self.num_steps + 1):
            slope = hunt.victim.slope(climb.at, hunt.labels[hunt.rows], self.loss)
            going = torch.ones_like(slope.right) if self.goes_on else slope.right
            climb.observe(slope.loss, slope.gradient, step)
            hunt.take(climb.at, slope.loss, slope.right, slope.gradient)
            climb.keep(going)
            if not len(climb.at):
                return
            if step < self.num_steps:
                climb.move(images[hunt.rows])


class _Climb:
    """The state of every row of an ascent."""

    def __init__(self, attack: APGD, at: Tensor) -> None:
        self.ball, self.checkpoints = attack.ball, _checkpoints(attack.num_steps)
        self.at, self.before = at, at
        self.step = torch.full((len(at),), 2.0 * attack.ball.radius, dtype=at.dtype, device=at.device)
        self.best = torch.full_like(self.step, -torch.inf)
        self.best_at, self.best_gradient, self.gradient = at, torch.zeros_like(at), torch.zeros_like(at)
        self.last_loss, self.rises = torch.full_like(self.step, -torch.inf), torch.zeros_like(self.step)
        self.mark_best, self.was_halved = self.best.clone(), torch.zeros_like(self.step, dtype=torch.bool)
        self.last_mark = 0

    def observe(self, loss: Tensor, gradient: Tensor, step: int) -> None:
        """Count rises, keep the best point, and halve steps at a checkpoint."""
        self.rises = self.rises + (loss > self.last_loss)
        self.last_loss, self.gradient = loss, gradient
        better = loss > self.best
        self.best = torch.where(better, loss, self.best)
        self.best_at, self.best_gradient = (
            _where(better, self.at, self.best_at),
            _where(better, gradient, self.best_gradient),
        )
        if step not in self.checkpoints:
            return
        stuck = ~self.was_halved & (self.best <= self.mark_best) & (self.last_mark > 0)
        halve = (self.rises < ENOUGH * (step - self.last_mark)) | stuck
        self.step = torch.where(halve, 0.5 * self.step, self.step)
        self.at, self.before = _where(halve, self.best_at, self.at), _where(halve, self.best_at, self.before)
        self.gradient = _where(halve, self.best_gradient, self.gradient)
        self.was_halved, self.mark_best, self.rises = halve, self.best, torch.zeros_like(self.rises)
        self.last_mark = step

    def move(self, images: Tensor) -> None:
        """``x + α (P(x + step · s) − x) + (1 − α)(x − x_before)``, projected."""
        length = self.step.reshape(-1, *[1] * (images.dim() - 1))
        ahead = self.ball.project(self.at + length * self.ball.steepest(self.gradient), images)
        blend = self.at + MOMENTUM * (ahead - self.at) + (1.0 - MOMENTUM) * (self.at - self.before)
        self.before, self.at = self.at, self.ball.project(blend, images)

    def keep(self, going: Tensor) -> None:
        """Go on with these rows."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[going])


def auto_attack_like(ball: Ball, num_steps: int = 30, *, num_starts: int = 1, goes_on: bool = True) -> WorstOf:
    """An ensemble in the manner of AutoAttack: :class:`APGD` on three losses, then PGD on the margin from more starts.

    Not AutoAttack itself: the minimum-norm and the black-box attack of the original are left out.

    Args:
        ball: How far it may go.
        num_steps: Of every attack from every start.
        num_starts: Of every attack; the last takes one more.
        goes_on: As in :class:`PGD`.

    Example:
        >>> from landscape_opt.applications.defence import LInf
        >>> [attack.name for attack in auto_attack_like(LInf(0.1)).attacks]
        ['APGD', 'APGD', 'APGD', 'PGD']
    """
    attacks: list[Attack] = [
        APGD(ball, num_steps, loss=loss, num_starts=num_starts, goes_on=goes_on)
        for loss in (cross_entropy, logits_ratio, margin)
    ]
    last = PGD(ball, num_steps, loss=margin, num_starts=num_starts + 1, goes_on=goes_on)
    return WorstOf([*attacks, last], name="ensemble")


def _checkpoints(num_steps: int) -> frozenset[int]:
    """At shares 0.22, 0.41, 0.57, … of the steps: gaps shrink by 0.03 to no less than 0.06."""
    shares, gap = [0.22], 0.22
    while shares[-1] < 1.0:
        gap = max(gap - 0.03, 0.06)
        shares.append(shares[-1] + gap)
    return frozenset(max(1, round(share * num_steps)) for share in shares if share < 1.0)


def _where(rows: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(rows.reshape(-1, *[1] * (one.dim() - 1)), one, other)
