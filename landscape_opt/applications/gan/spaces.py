"""Anyone's style-based generator as forward models: x in Z, in W, or in W+."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NUM_FOR_MEAN = 4096
_AT_ONCE = 512


class StyleModel(nn.Module):
    """A generator in two parts, ``z_to_w`` and ``synthesis``, with the mean and the spread of its w.

    Give modules rather than functions where you can: the library freezes modules through a copy that shares their storage.

    Args:
        z_to_w: Maps z ``(B, z_dim)`` to ``(B, num_ws, w_dim)``, or to ``(B, w_dim)`` where all layers take the same w.
        synthesis: Maps what ``z_to_w`` returns to pictures ``(B, channels, height, width)``.
        z_dim: Numbers in one z.
        seed: Of the z that the mean of w is measured on. The global random state is not touched.
        num_for_mean: How many those are.

    Raises:
        ValueError: if ``z_to_w`` returns something else.

    Example:
        >>> model = StyleModel(torch.nn.Linear(4, 6), torch.nn.Unflatten(1, (6, 1, 1)), z_dim=4)
        >>> model.w_avg.shape, model(torch.zeros(2, 6)).shape
        (torch.Size([6]), torch.Size([2, 6, 1, 1]))
    """

    w_avg: Tensor
    w_std: Tensor
    z_nearest: Tensor

    def __init__(
        self,
        z_to_w: Callable[[Tensor], Tensor],
        synthesis: Callable[[Tensor], Tensor],
        z_dim: int,
        seed: int = 0,
        num_for_mean: int = NUM_FOR_MEAN,
    ) -> None:
        super().__init__()
        self.z_to_w, self.synthesis, self.z_dim = z_to_w, synthesis, z_dim
        like = next(self.parameters(), torch.zeros(()))
        z = torch.randn(num_for_mean, z_dim, generator=torch.Generator().manual_seed(seed)).to(like)
        with torch.no_grad():
            w = torch.cat([z_to_w(part) for part in z.split(_AT_ONCE)])
        if w.ndim not in (2, 3) or len(w) != num_for_mean:
            raise ValueError(
                f"z_to_w must return w of shape (B, w_dim) or (B, num_ws, w_dim), got {tuple(w.shape)} for "
                f"{num_for_mean} rows of z"
            )
        self.num_ws = w.shape[1] if w.ndim == 3 else None
        first = w if self.num_ws is None else w[:, 0]
        off = first - first.mean(0)
        self.register_buffer("w_avg", first.mean(0))
        self.register_buffer("w_std", off.square().sum(1).mean().sqrt())
        self.register_buffer("z_nearest", z[off.norm(dim=1).argmin()])

    @classmethod
    def of(cls, G: Any, c: Tensor | None = None, seed: int = 0, **synthesis_arguments: Any) -> StyleModel:
        """The model of a ``G_ema`` from NVIDIA's StyleGAN2-ADA or StyleGAN3, or of a module with the same interface.

        Args:
            G: With ``z_dim``, ``mapping(z, c)`` and ``synthesis(ws, noise_mode=…)``.
            c: The class label of all pictures, ``(c_dim,)``, for a conditional generator.
            seed: Of the z that the mean of w is measured on.
            **synthesis_arguments: For ``G.synthesis``; ``noise_mode="const"`` unless another is given, since F has to return
                the same picture each time. ``force_fp32=True`` on a CPU.

        Raises:
            TypeError: if a part is missing.
        """
        for part in ("mapping", "synthesis", "z_dim"):
            if not hasattr(G, part):
                raise TypeError(f"{type(G).__name__} has no {part}; give StyleModel(z_to_w, synthesis, z_dim) the two parts")
        return cls(
            _Mapping(G.mapping, c), _Synthesis(G.synthesis, {"noise_mode": "const", **synthesis_arguments}), G.z_dim, seed
        )

    def forward(self, w: Tensor) -> Tensor:
        """The pictures of w, as ``synthesis`` takes it."""
        return self.synthesis(w)

    def truncated(self, z: Tensor, psi: float = 0.7) -> Tensor:
        """The w of z ``(B, z_dim)`` drawn towards the mean, ``(B, w_dim)``: other starts, as ``warm_start`` takes them.

        Example:
            >>> model = StyleModel(torch.nn.Linear(4, 6), torch.nn.Unflatten(1, (6, 1, 1)), z_dim=4)
            >>> bool((model.truncated(torch.randn(2, 4), psi=0.0) == model.w_avg).all())
            True
        """
        with torch.no_grad():
            w: Tensor = self.z_to_w(z)
        return self.w_avg.lerp(w if self.num_ws is None else w[:, 0], psi)


class _Mapping(nn.Module):
    """``mapping(z, c)`` with one c for all rows."""

    def __init__(self, mapping: Callable[..., Tensor], c: Tensor | None) -> None:
        super().__init__()
        self.mapping, self.c = mapping, c

    def forward(self, z: Tensor) -> Tensor:
        return self.mapping(z, None if self.c is None else self.c.to(z).expand(len(z), -1))


class _Synthesis(nn.Module):
    """``synthesis(ws, …)`` with its further arguments set."""

    def __init__(self, synthesis: Callable[..., Tensor], arguments: dict[str, Any]) -> None:
        super().__init__()
        self.synthesis, self.arguments = synthesis, arguments

    def forward(self, ws: Tensor) -> Tensor:
        return self.synthesis(ws, **self.arguments)


class Space(nn.Module, ABC):
    """A forward model x ↦ picture. :meth:`w` says which w an x stands for.

    Args:
        model: The generator.

    Attributes:
        x_init: The plain start, without batch dimension.
    """

    x_init: Tensor

    def __init__(self, model: StyleModel, x_init: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("x_init", x_init.detach().clone())

    @abstractmethod
    def w(self, x: Tensor) -> Tensor:
        """What the synthesis takes, of x ``(B, …)``."""

    def forward(self, x: Tensor) -> Tensor:
        """The pictures ``(B, channels, height, width)`` of x."""
        images: Tensor = self.model(self.w(x))
        return images


class ZSpace(Space):
    """x is z, ``(z_dim,)``. The start is the one, of those drawn, whose w lies nearest the mean.

    Not zero: generators of this kind often divide z by its length.

    Args:
        model: The generator.

    Example:
        >>> space = ZSpace(StyleModel(torch.nn.Linear(4, 6), torch.nn.Unflatten(1, (6, 1, 1)), z_dim=4))
        >>> space(space.x_init[None]).shape
        torch.Size([1, 6, 1, 1])
    """

    def __init__(self, model: StyleModel) -> None:
        super().__init__(model, model.z_nearest)

    def w(self, x: Tensor) -> Tensor:
        """The mapping's w of z."""
        return self.model.z_to_w(x)


class WSpace(Space):
    """x is one w for all layers, ``(w_dim,)``. The start is the mean of w, truncation at ψ = 0.

    Args:
        model: The generator.

    Example:
        >>> space = WSpace(StyleModel(torch.nn.Linear(4, 6), torch.nn.Unflatten(1, (6, 1, 1)), z_dim=4))
        >>> space.x_init.shape
        torch.Size([6])
    """

    def __init__(self, model: StyleModel) -> None:
        super().__init__(model, model.w_avg)

    def w(self, x: Tensor) -> Tensor:
        """The same w for every layer."""
        return x if self.model.num_ws is None else x[:, None].expand(-1, self.model.num_ws, -1)


class WPlusSpace(Space):
    """x is a w for every layer, ``(num_ws, w_dim)``. The start is the mean of w in each.

    Args:
        model: The generator; its ``z_to_w`` has to return a w for every layer.

    Raises:
        ValueError: if it returns one for all.

    Example:
        >>> two = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Unflatten(1, (2, 3)))
        >>> WPlusSpace(StyleModel(two, torch.nn.Identity(), z_dim=4)).x_init.shape
        torch.Size([2, 3])
    """

    def __init__(self, model: StyleModel) -> None:
        if model.num_ws is None:
            raise ValueError("z_to_w returns one w for all layers, (B, w_dim): W+ needs (B, num_ws, w_dim)")
        super().__init__(model, model.w_avg.expand(model.num_ws, -1))

    def w(self, x: Tensor) -> Tensor:
        """x itself."""
        return x
