"""A classifier that corrects what it is shown before it looks."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...inverter import LandscapeInverter
from ...solvers import Backtracking, Solver
from .supervision import CorrectedViews


@dataclass(frozen=True, eq=False)
class Correction:
    """What became of a batch of images.

    Attributes:
        images: corrected, ``(B, …)``.
        loss: self-supervised, of the corrected images, ``(B,)``.
        loss_before: of the images as they came, or at the landscape's own start, ``(B,)``.
        num_evaluations: of the encoder's views, ``(B,)``.
    """

    images: Tensor = field(repr=False)
    loss: Tensor = field(repr=False)
    loss_before: Tensor = field(repr=False)
    num_evaluations: Tensor = field(repr=False)


class Reversal(nn.Module):
    """Reverses attacks: image → correction that makes its views agree → classifier.

    Mao et al., "Adversarial Attacks are Reversible with Natural Supervision" (ICCV 2021). The correction is
    ``argmin_x L(F(x, image))`` over a bounded change of every pixel, a problem of its own for every image. An inverter
    before any fit descends in X, which is plain reversal; a fitted one descends in its learned landscape.

    This alone is no defence: measure it with :func:`~landscape_opt.applications.defence.evaluate`.

    Args:
        classifier: Maps images ``(B, …)`` to logits ``(B, K)``.
        inverter: Of :meth:`Supervision.inverter`; fitted, or not.
        num_steps: Evaluations of F for every image; 0 corrects nothing before any fit.
        solver: What moves x; None takes gradient descent with backtracking before any fit, and the library's default
            after it.
        noise: Standard deviation of noise that every call adds to the images first: a defence with randomness.
        seed: Of the noise.

    Raises:
        TypeError: for an inverter of another forward model.
        ValueError: if ``num_steps`` or ``noise`` is negative.

    Example:
        >>> from landscape_opt.applications.defence import Supervision
        >>> images = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> supervision = Supervision.contrastive(nn.Flatten(), negatives=images)
        >>> reversal = Reversal(nn.Flatten(), supervision.inverter(), num_steps=5)
        >>> correction = reversal.correct(images[:2])
        >>> bool((correction.loss < correction.loss_before).all()), reversal(images[:2]).shape
        (True, torch.Size([2, 64]))
    """

    def __init__(
        self,
        classifier: nn.Module,
        inverter: LandscapeInverter,
        num_steps: int,
        *,
        solver: Solver | None = None,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        forward_model = inverter.landscape.forward_model
        if not isinstance(forward_model, CorrectedViews):
            raise TypeError(
                f"the inverter's forward model must be CorrectedViews, got {type(forward_model).__name__}: "
                "make the inverter with Supervision.contrastive(encoder, negatives).inverter()"
            )
        if num_steps < 0:
            raise ValueError(f"num_steps must not be negative, got {num_steps}")
        if not noise >= 0:
            raise ValueError(f"noise is a standard deviation and must not be negative, got {noise}")
        self.classifier, self.num_steps, self.noise = classifier, num_steps, noise
        self.inverter, self.forward_model = inverter, forward_model
        self.solver = solver
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def is_random(self) -> bool:
        """Whether two calls may differ."""
        return self.noise > 0

    @torch.no_grad()
    def correct(self, images: Tensor) -> Correction:
        """Correct a batch ``(B, …)``."""
        return self._correct(self.shaken(images.detach()))

    def _correct(self, images: Tensor) -> Correction:
        is_plain = self.solver is None and not self.inverter.landscape.is_fitted
        solver = Backtracking() if is_plain else self.solver
        found = self.inverter.invert(images, self.num_steps, solver=solver, allow_unfitted=True)
        corrected = self.forward_model.corrected(found.x, images)
        return Correction(corrected, found.loss, found.history.best[0], found.num_evaluations)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, …)`` to logits ``(B, K)`` of the corrected ones; no gradient reaches the images."""
        logits: Tensor = self.classifier(self.correct(images).images)
        return logits

    def unrolled(self, images: Tensor) -> Tensor:
        """Corrected images ``(B, …)`` with the gradient through every step of the descent.

        The steps are those that can be differentiated: the landscape's own, without hand-over, or gradient descent with
        backtracking. Their values differ from :meth:`correct` where the defence goes another way.
        """
        images = self.shaken(images)
        found = self.inverter.invert(images, self.num_steps, differentiable="unrolled", allow_unfitted=True)
        return self.forward_model.corrected(found.x, images)

    def shaken(self, images: Tensor) -> Tensor:
        """The images with the noise of one call."""
        if not self.is_random:
            return images
        drawn = torch.randn(images.shape, generator=self.generator, dtype=images.dtype)
        return images + self.noise * drawn.to(images.device)
