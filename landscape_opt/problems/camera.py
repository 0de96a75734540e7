"""Pose of a rigid object from its soft silhouette in a pinhole camera."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..least_squares import LeastSquares
from .problem import Metric, Problem, TargetSet

_TRAIN, _VALIDATION, _TEST = 4096, 512, 512
_SIZE = 24  # pixels along a side
_DISTANCE = 4.0  # of the object from the camera at x = 0, in object units
_NEAREST = 0.5  # what is nearer to the camera, or behind it, is drawn as if it were here
_FOCAL = 2.0  # focal length in half widths of the image
_TRANSLATION = 0.6  # object units per unit of x
_DEPTH = 0.8  # optical depth through the middle of a blob
_FAMILIAR, _UNFAMILIAR = (0.0, 60.0), (60.0, 90.0)  # angles of the targets' rotations, degrees
_VISIBLE = 0.4  # of a partly observed silhouette's area, at least
# Limbs of the object: both ends, radius of the blobs, their number.
_LIMBS = (
    ((-0.7, -0.5, 0.0), (0.8, -0.5, 0.0), 0.11, 15),
    ((-0.7, -0.5, 0.0), (-0.7, 0.8, 0.0), 0.10, 13),
    ((-0.7, 0.8, 0.0), (-0.1, 0.8, 0.5), 0.085, 9),
    ((0.3, -0.5, 0.0), (0.3, 0.1, -0.6), 0.10, 10),
    ((0.8, -0.5, 0.0), (0.8, -0.5, 0.6), 0.085, 7),
)


class SilhouetteCamera(nn.Module):
    """Soft silhouette of an object made of Gaussian blobs.

    A blob at ``c`` of radius ``s`` becomes a Gaussian in the image, at ``f (X, Y) / Z`` and of width ``f s / Z`` with
    ``(X, Y, Z) = R c + t``. Optical depths ``τ`` add up along the line of sight, and a pixel shows the light that is
    absorbed, ``1 - exp(-τ)`` (Beer and Lambert's law): the usual compositing of splats of opacity ``1 - exp(-τᵢ)``,
    ``1 - Π(1 - opacityᵢ)``. It is smooth as long as all of the object is before the camera.

    The first three numbers of ``x`` are the rotation, axis times angle in radians; the other three the translation in
    units of 0.6 from a point four units before the camera. The object is an asymmetric frame 1.5 units wide, of 54
    blobs, with arms toward the camera and away from it.

    Example:
        >>> SilhouetteCamera()(torch.zeros(2, 6)).shape
        torch.Size([2, 24, 24])
    """

    centres: Tensor
    radii: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        centres, radii = _blobs()
        self.register_buffer("centres", centres)
        self.register_buffer("radii", radii)
        self.register_buffer("pixels", (torch.arange(_SIZE) + 0.5) * 2.0 / _SIZE - 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map poses ``x`` of shape ``(B, 6)`` to images in [0, 1], shape ``(B, 24, 24)``."""
        turned = self.centres @ rotation_matrix(x[:, :3]).mT
        placed = turned + _TRANSLATION * x[:, None, 3:]
        scale = _FOCAL / (placed[:, :, 2] + _DISTANCE).clamp_min(_NEAREST)
        width = scale * self.radii
        across, down = (
            torch.exp(-0.5 * ((self.pixels - (scale * placed[:, :, axis])[..., None]) / width[..., None]).square())
            for axis in (0, 1)
        )
        # The Gaussians are round, so the sum over blobs is a matrix product of rows and columns.
        depth = _DEPTH * down.mT @ across
        return 1.0 - torch.exp(-depth)


def rotation_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula ``R = I + sin(φ)/φ K + (1 - cos φ)/φ² K²``; ``(B, 3)`` to ``(B, 3, 3)``.

    Differentiable twice everywhere, ``φ = 0`` included.

    Example:
        >>> rotation_matrix(torch.tensor([[0.0, 0.0, 1.0]]))[0]
        tensor([[ 0.5403, -0.8415,  0.0000],
                [ 0.8415,  0.5403,  0.0000],
                [ 0.0000,  0.0000,  1.0000]])
    """
    x, y, z = axis_angle.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    square = axis_angle.square().sum(1)[:, None, None]
    identity = torch.eye(3, dtype=x.dtype, device=x.device)
    # 1 - cos φ = 2 sin²(φ/2), which loses no digits near zero.
    return identity + _sinc_of_square(square) * cross + 0.5 * _sinc_of_square(square / 4).square() * (cross @ cross)


def _sinc_of_square(square: Tensor) -> Tensor:
    """``sin(√s)/√s``: smooth, although the root is not, so a series takes over near zero."""
    near = square < 1e-2
    root = torch.where(near, 1.0, square).sqrt()
    series = 1.0 - square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0))
    return torch.where(near, series, root.sin() / root)


def camera(seed: int = 0) -> Problem:
    """Find the pose of a known object whose silhouette is given.

    ``F`` is a :class:`SilhouetteCamera`, the loss is half the sum of squared differences over the 576 pixels, and
    the start is the object face on, in the middle of the image. Targets are silhouettes of random poses: a rotation
    by up to 60° about an axis of any direction, and a translation of up to 0.6 object units along
    each axis.

    Of a partly observed target, one half of the image is hidden (left, right, top or bottom); at least 40 % of the
    silhouette remains in sight.

    Args:
        seed: Seed of the targets. The global random state is not touched.

    Returns:
        The problem; ``x`` has shape ``(6,)``, targets have shape ``(24, 24)``; 4096 train, 512 validation and 512 test
        targets.

    Example:
        >>> problem = camera()
        >>> x = problem.x_init.expand(512, 6)
        >>> problem.loss_fn(problem.forward_model(x), problem.test).shape
        torch.Size([512])
    """
    generator = torch.Generator().manual_seed(seed)
    renderer = SilhouetteCamera()
    targets = renderer(_poses(_TRAIN + _VALIDATION + _TEST, _FAMILIAR, generator))
    test = targets[-_TEST:].clone()
    return Problem(
        name="camera",
        forward_model=renderer,
        loss_fn=LeastSquares(lambda prediction, target: prediction - target),
        x_init=torch.zeros(6),
        train=targets[:_TRAIN].clone(),
        validation=targets[_TRAIN:-_TEST].clone(),
        test=test,
        hard_because="A silhouette pulls only where it overlaps the right one, and turns that look alike are local minima: "
        "L-BFGS from the face-on start gets stuck for one target in seven, and for one in two beyond 60°.",
        partly=TargetSet(
            targets=test,
            observed=_half_in_sight(test, generator),
            described_as="half of the image is hidden",
        ),
        unfamiliar=TargetSet(
            targets=renderer(_poses(_TEST, _UNFAMILIAR, generator)),
            described_as="turned by 60° to 90°, where the fit saw at most 60°",
        ),
        metric=Metric(name="silhouette overlap", unit="%", of=_overlap),
    )


def _blobs() -> tuple[Tensor, Tensor]:
    """Centres ``(N, 3)`` and radii ``(N,)``."""
    centres, radii = [], []
    for start, end, radius, number in _LIMBS:
        share = torch.linspace(0.0, 1.0, number)[:, None]
        centres.append(torch.tensor(start) * (1.0 - share) + torch.tensor(end) * share)
        radii.append(torch.full((number,), radius))
    return torch.cat(centres), torch.cat(radii)


def _poses(number: int, degrees: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Random ``x``, ``(number, 6)``: any axis, angles uniform between two, translations uniform within ±1."""
    axis = normalize(torch.randn(number, 3, generator=generator))
    lowest, highest = (math.radians(angle) for angle in degrees)
    angle = lowest + (highest - lowest) * torch.rand(number, 1, generator=generator)
    translation = 2.0 * torch.rand(number, 3, generator=generator) - 1.0
    return torch.cat([axis * angle, translation], dim=1)


def _half_in_sight(images: Tensor, generator: torch.Generator) -> Tensor:
    """One of four halves of every image, drawn from those that show enough of the silhouette; ``(B, 24, 24)``."""
    first = torch.arange(_SIZE) < _SIZE // 2
    columns, rows = first.expand(_SIZE, _SIZE), first[:, None].expand(_SIZE, _SIZE)
    halves = torch.stack([columns, ~columns, rows, ~rows])
    shown = torch.einsum("bij,hij->bh", images, halves.to(images.dtype)) / images.sum((1, 2))[:, None]
    choice = torch.multinomial((shown >= _VISIBLE).to(images.dtype), 1, generator=generator)[:, 0]
    return halves[choice]


def _overlap(_x: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of two soft silhouettes, in percent."""
    both, either = torch.minimum(prediction, target), torch.maximum(prediction, target)
    return 100.0 * both.sum((1, 2)) / either.sum((1, 2))
