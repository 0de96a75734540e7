"""Pictures compared by pixels and by features, as one sum of squares."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ...least_squares import LeastSquares

Features: TypeAlias = Callable[[Tensor], "Tensor | Sequence[Tensor]"]
FEATURE_WEIGHT = 0.2
_FILLINGS = 2
_UNCHANGED = 1e-5


class Perceived(nn.Module):
    """A forward model whose prediction is its picture together with what a perceptual network sees in it.

    The features are part of the prediction, so that a landscape's memory, which keeps predictions, compares them without a
    pass through the network.

    Args:
        forward_model: x ↦ pictures ``(B, channels, height, width)``, as one of the spaces.
        features: Pictures ↦ Tensors ``(B, …)``, one or several: any network.

    Example:
        >>> F = Perceived(torch.nn.Unflatten(1, (3, 2, 2)), torch.nn.AvgPool2d(2))
        >>> {name: tuple(part.shape) for name, part in F(torch.zeros(5, 12)).items()}
        {'image': (5, 3, 2, 2), 'features': (5, 3)}
    """

    def __init__(self, forward_model: Callable[[Any], Tensor], features: Features) -> None:
        super().__init__()
        self.forward_model, self.features = forward_model, features

    def forward(self, x: Any) -> dict[str, Tensor]:
        """The pictures of x and their features, ``(B, m)``."""
        return self.perceive(self.forward_model(x))

    def perceive(self, images: Tensor) -> dict[str, Tensor]:
        """A target: pictures and their features, flat."""
        found = self.features(images)
        parts = [found] if isinstance(found, Tensor) else list(found)
        return {"image": images, "features": torch.cat([part.flatten(1) for part in parts], dim=1)}

    @torch.no_grad()
    def target(self, images: Tensor) -> dict[str, Tensor]:
        """The target that a picture is, ``(B, channels, height, width)``."""
        return self.perceive(images)

    @torch.no_grad()
    def observed(self, images: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Which parts of a target are known where only some pixels are: those that no hidden pixel has a say in.

        It is tried out: hidden pixels are filled with one noise and then with another, and a feature is known if it stays.

        Args:
            images: The targets; what stands in hidden pixels does not matter.
            seen: True where a pixel was observed, ``(B, height, width)``.

        Returns:
            True and False in the format of a target, for ``observed=`` of ``invert``.
        """
        everywhere = seen[:, None].expand_as(images)
        generator = torch.Generator().manual_seed(0)
        noise = [torch.randn(images.shape, generator=generator).to(images) for _ in range(_FILLINGS)]
        one, other = (self.perceive(torch.where(everywhere, images, each))["features"] for each in noise)
        return {"image": everywhere.clone(), "features": (one - other).abs() <= _UNCHANGED * (1.0 + one.abs())}


def pixels_and_features(feature_weight: float = FEATURE_WEIGHT) -> LeastSquares:
    """``½ (mean (p − y)² over pixels + feature_weight · ‖f(p) − f(y)‖²)``, a sum of squares.

    So with :class:`LpipsFeatures` the second part is the LPIPS distance.

    Args:
        feature_weight: 0 compares pixels alone.

    Raises:
        ValueError: if it is negative.

    Example:
        >>> one = {"image": torch.ones(1, 3, 2, 2), "features": torch.ones(1, 5)}
        >>> none = {"image": torch.zeros(1, 3, 2, 2), "features": torch.zeros(1, 5)}
        >>> pixels_and_features(0.5)(one, none)
        tensor([1.7500])
    """
    if feature_weight < 0:
        raise ValueError(f"feature_weight must not be negative, got {feature_weight}")
    return LeastSquares(functools.partial(_differences, feature_weight=feature_weight))


def _differences(prediction: Any, target: Any, feature_weight: float) -> Tensor:
    weights = {"image": 1.0 / target["image"][0].numel(), "features": feature_weight}
    parts = [(prediction[name] - target[name]).flatten(1) * weight**0.5 for name, weight in weights.items() if weight]
    return torch.cat(parts, dim=1)


def compared_after(degrade: Callable[[Tensor], Tensor]) -> LeastSquares:
    """Half the mean squared difference of degraded pictures: what is asked for when only the degraded target is known.

    The target is the degraded picture brought back to full size, so that a landscape can read it; ``degrade`` has to undo
    that. Give it to a second :class:`~landscape_opt.LandscapeInverter` on the same landscape: nothing is fitted again.

    Args:
        degrade: As :func:`shrunk` or :func:`grey`.

    Example:
        >>> loss_fn = compared_after(grey)
        >>> picture = {"image": torch.ones(1, 3, 2, 2)}
        >>> loss_fn(picture, {"image": enlarged(torch.zeros(1, 3, 1, 1), 2)})
        tensor([0.5000])
    """
    return LeastSquares(functools.partial(_degraded_differences, degrade=degrade))


def _degraded_differences(prediction: Any, target: Any, degrade: Callable[[Tensor], Tensor]) -> Tensor:
    off = degrade(prediction["image"]) - degrade(target["image"])
    return off.flatten(1).div(off[0].numel() ** 0.5)


def shrunk(images: Tensor, factor: int = 4) -> Tensor:
    """Means over squares of ``factor`` pixels.

    Args:
        images: (B, C, H, W), H and W multiples of the factor.
        factor: Pixels along the side of a square.

    Example:
        >>> shrunk(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 3, 8, 8])
    """
    return nn.functional.avg_pool2d(images, factor)


def enlarged(images: Tensor, factor: int = 4) -> Tensor:
    """Every pixel as a square of ``factor`` pixels: what :func:`shrunk` undoes.

    Args:
        images: (B, C, H, W).
        factor: Pixels along the side of a square.

    Example:
        >>> enlarged(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 32, 32])
    """
    return nn.functional.interpolate(images, scale_factor=float(factor), mode="nearest")


def grey(images: Tensor) -> Tensor:
    """The mean of the three colours in each of them, so that a grey picture is its own.

    Args:
        images: (B, 3, H, W).

    Example:
        >>> grey(torch.rand(1, 3, 2, 2)).shape
        torch.Size([1, 3, 2, 2])
    """
    return images.mean(1, keepdim=True).expand_as(images)


class LpipsFeatures(nn.Module):
    """The features of the ``lpips`` package, scaled so that their squared distance is the LPIPS distance.

    ``Σ_l Σ_c w_lc · mean_hw (f̂_lc − f̂'_lc)²`` with f̂ of unit length over the channels (Zhang et al. 2018, equation 1).

    Args:
        distance: ``lpips.LPIPS(net="vgg")`` of your own: ``lpips`` is never imported here. Pictures are in [-1, 1].

    Raises:
        TypeError: if it lacks ``scaling_layer``, ``net`` or ``lins``.

    Example:
        ::

            features = LpipsFeatures(lpips.LPIPS(net="vgg"))
            F = Perceived(space, features)  # the loss of an inversion then has the LPIPS distance in it
    """

    def __init__(self, distance: Any) -> None:
        super().__init__()
        if missing := [name for name in ("scaling_layer", "net", "lins") if not hasattr(distance, name)]:
            raise TypeError(f"{type(distance).__name__} has no {missing[0]}; give lpips.LPIPS(net='vgg'), with lpips=True")
        self.distance = distance

    def forward(self, images: Tensor) -> list[Tensor]:
        """One Tensor ``(B, channels, height, width)`` for each layer."""
        seen = self.distance.net.forward(self.distance.scaling_layer(images))
        return [self._weighed(maps, lin) for maps, lin in zip(seen, self.distance.lins, strict=True)]

    @staticmethod
    def _weighed(maps: Tensor, lin: Any) -> Tensor:
        unit = maps / (maps.square().sum(1, keepdim=True).sqrt() + 1e-10)
        weight = lin.model[-1].weight.clamp_min(0.0)
        weighed: Tensor = unit * (weight / (maps.shape[2] * maps.shape[3])).sqrt()
        return weighed
