"""Views of a small image as matrices: turned, shifted and scaled by bilinear sampling."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


class View(NamedTuple):
    """How a view differs from the image.

    Attributes:
        degrees: it is turned by.
        right: pixels that it is moved to the right, for an image of 8 pixels; in proportion for others.
        down: pixels that it is moved down, likewise.
        scale: the part of the image that it shows: 0.9 is nearer, 1.1 farther away.
    """

    degrees: float = 0.0
    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0


def view_matrix(view: View, height: int, width: int) -> Tensor:
    """``image.flatten() @ matrix`` is the view; ``(H·W, H·W)``.

    Example:
        >>> view_matrix(View(degrees=15.0), 8, 12).shape
        torch.Size([96, 96])
    """
    pixels = torch.eye(height * width).reshape(-1, 1, height, width)
    turn = math.radians(view.degrees)
    cosine, sine = view.scale * math.cos(turn), view.scale * math.sin(turn)
    # grid_sample's coordinates run from -1 to 1: of eight pixels, each is a quarter.
    place = torch.tensor([[cosine, -sine, view.right / 4.0], [sine, cosine, view.down / 4.0]])
    grid = affine_grid(place.expand(len(pixels), -1, -1), list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, align_corners=False).flatten(1)
