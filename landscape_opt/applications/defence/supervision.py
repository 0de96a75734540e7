"""What a defence inverts: how well an encoder's views of the corrected image agree, without a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ...inverter import LandscapeInverter
from ...landscape import LearnedLandscape
from ...objective import LossFn
from ...problems.attack import ContrastiveLoss
from ...problems.views import View, view_matrix

RADIUS = 0.25
NOISE = 0.3
_NOISE_SEED = 2021


VIEWS = (View(15.0, 1.0), View(-15.0, -1.0), View(15.0, 0.0, 1.0, 0.9), View(-15.0, 0.0, -1.0, 1.1))


class FixedViews(nn.Module):
    """Views of an image that are the same at every call: turned, shifted and scaled, with noise.

    Bilinear sampling is a matrix of H·W by H·W for every view, so this is for small images; bring a module of your own,
    ``(B, …)`` to ``(B, V, …)``, for larger ones. Noise keeps a correction from suiting the encoder alone.

    Args:
        height: Of the images.
        width: Of the images.
        views: One of each; the encoder should have been trained to ignore as much.
        noise: Standard deviation of what is added, drawn once and for all.

    Raises:
        ValueError: for fewer than two views.

    Example:
        >>> FixedViews(8, 12)(torch.zeros(5, 3, 8, 12)).shape
        torch.Size([5, 4, 3, 8, 12])
    """

    matrices: Tensor
    noise: Tensor

    def __init__(self, height: int, width: int, views: Sequence[View] = VIEWS, noise: float = NOISE) -> None:
        super().__init__()
        if len(views) < 2:
            raise ValueError(f"views must agree with one another: give at least two, got {len(views)}")
        self.register_buffer("matrices", torch.stack([view_matrix(view, height, width) for view in views]))
        fixed = torch.Generator().manual_seed(_NOISE_SEED)
        self.register_buffer("noise", noise * torch.randn(len(views), 1, height * width, generator=fixed))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, H, W)`` or ``(B, C, H, W)`` to views ``(B, V, H, W)`` or ``(B, V, C, H, W)``."""
        pixels = images.reshape(len(images), -1, images.shape[-2] * images.shape[-1])
        views = torch.einsum("bci,vio->bvco", pixels, self.matrices) + self.noise
        return views.reshape(len(images), len(self.matrices), *images.shape[1:])


class CorrectedViews(nn.Module):
    """``F(x, image)``: unit embeddings of the views of the corrected image ``image + radius · sin(x)``.

    The sine keeps every pixel of the correction within ``radius``; a minimum on the bound lies at a finite x.

    Args:
        encoder: Maps images ``(N, …)`` to embeddings ``(N, E)``.
        views: Maps images ``(B, …)`` to views ``(B, V, …)``.
        radius: Of the correction, in units of a pixel.

    Raises:
        ValueError: if ``radius`` is not positive.

    Example:
        >>> F = CorrectedViews(nn.Flatten(), FixedViews(8, 8))
        >>> F(torch.zeros(5, 8, 8), torch.ones(5, 8, 8)).shape
        torch.Size([5, 4, 64])
    """

    def __init__(self, encoder: nn.Module, views: nn.Module, radius: float = RADIUS) -> None:
        super().__init__()
        if not radius > 0:
            raise ValueError(f"radius bounds the correction and must be positive, got {radius}")
        self.encoder, self.views, self.radius = encoder, views, radius

    def corrected(self, x: Tensor, image: Tensor) -> Tensor:
        """The corrected images; ``(B, …)`` twice to ``(B, …)``."""
        return image + self.radius * torch.sin(x)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Map ``x`` ``(B, …)`` and images ``(B, …)`` to embeddings ``(B, V, E)``."""
        views = self.views(self.corrected(x, image))
        embeddings = normalize(self.encoder(views.flatten(0, 1)), dim=1)
        return embeddings.reshape(len(image), -1, embeddings.shape[1])


@dataclass(frozen=True, eq=False)
class Supervision:
    """What is inverted for every image, and where that begins.

    Attributes:
        forward_model: F, told the image.
        loss_fn: how well the views agree against a bank of fixed negatives, so that no row meets another.
        x_init: no correction, of the shape of one image, (H, W) or (C, H, W).

    Example:
        >>> images = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> supervision = Supervision.contrastive(nn.Flatten(), negatives=images)
        >>> supervision.inverter().invert(images[:2], 5, allow_unfitted=True).x.shape
        torch.Size([2, 8, 8])
    """

    forward_model: CorrectedViews
    loss_fn: LossFn
    x_init: Tensor

    @classmethod
    def contrastive(
        cls, encoder: nn.Module, negatives: Tensor, *, radius: float = RADIUS, views: nn.Module | None = None
    ) -> Supervision:
        """The contrastive loss of SimCLR with fixed negatives, :class:`~landscape_opt.problems.attack.ContrastiveLoss`.

        Args:
            encoder: Maps images ``(N, …)`` to embeddings ``(N, E)``; trained without labels on other views.
            negatives: Images ``(N, …)``, clean and unlike one another; a few hundred of those that it was trained on.
            radius: Of the correction.
            views: Maps images to views; None takes :class:`FixedViews`.
        """
        if negatives.dim() not in (3, 4):
            raise ValueError(f"negatives must be images (N, H, W) or (N, C, H, W), got {tuple(negatives.shape)}")
        height, width = negatives.shape[-2:]
        made = FixedViews(height, width).to(negatives) if views is None else views
        with torch.no_grad():
            bank = normalize(encoder(negatives), dim=1)
        forward_model = CorrectedViews(encoder, made, radius)
        return cls(forward_model, ContrastiveLoss(bank), torch.zeros_like(negatives[0]))

    def inverter(self, seed: int = 0) -> LandscapeInverter:
        """An inverter of the library's defaults; it is fitted on attacked images, without labels, by rounds of 256 rows."""
        landscape = LearnedLandscape(self.forward_model, self.x_init, given=the_image)
        return LandscapeInverter(landscape, self.loss_fn, batch_size=256, seed=seed)


def the_image(target: Tensor) -> Tensor:
    """What F is told of a target: all of it, for the target is the image."""
    return target
