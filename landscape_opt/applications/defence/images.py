"""Two sets of labelled images that come inside packages: handwritten digits, and letters of fonts."""

from __future__ import annotations

from dataclasses import dataclass, field
from string import ascii_letters

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...problems.digits_defence import ATTACK_RADIUS, labelled_digits
from ...problems.style import TEST_FONTS, TRAIN_FONTS, VALIDATION_FONTS, glyph_images, shifted

SIDE = 8
_LETTERS = "ACEHJLOSTUXZ"
"""Capitals that 8x8 pixels can tell apart, and that fit into them."""
_MARGIN = 2
_LETTER_RADIUS = 0.1
_ORDER_SEED = 2023


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images with their classes.

    Attributes:
        images: ``(N, H, W)`` or ``(N, C, H, W)``, in [0, 1].
        labels: ``(N,)`` integers.
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Labelled:
        """The first ``count`` of them."""
        return Labelled(self.images[:count], self.labels[:count])

    def rows(self, index: Tensor) -> Labelled:
        """Those that ``index`` picks."""
        return Labelled(self.images[index], self.labels[index])


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in three parts that share no image.

    Attributes:
        name: as in a table.
        names: of the classes, by label.
        radius: by which an attack may change every pixel.
        train: networks and landscapes are fitted on these.
        validation: what is tuned is tuned on these.
        test: for reported figures only.
    """

    name: str
    names: str
    radius: float
    train: Labelled = field(repr=False)
    validation: Labelled = field(repr=False)
    test: Labelled = field(repr=False)

    @property
    def num_classes(self) -> int:
        """Of the labels."""
        return len(self.names)


def digit_images() -> ImageSet:
    """Scikit-learn's handwritten digits, ten classes, as the ``attack`` problem splits them.

    Returns:
        1024 train, 261 validation and 512 test images of 8x8 pixels.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> len(digit_images().test)
        512
    """
    parts = [Labelled(*part) for part in labelled_digits()]
    return ImageSet("digits", "0123456789", ATTACK_RADIUS, *parts)


def letter_images() -> ImageSet:
    """Twelve capital letters of matplotlib's fonts: eight fonts to train on, one to tune on, three to test on.

    Rendered at 16x16 for the ``style`` problem and stored with the package; here the middle 12x12, at all nine shifts by at
    most a pixel, brought to 8x8 by averaging. A test letter is of a font that no network has seen.

    Returns:
        864 train, 108 validation and 324 test images of 8x8 pixels, in random order that is always the same.

    Example:
        >>> letters = letter_images()
        >>> len(letters.train), len(letters.validation), len(letters.test)
        (864, 108, 324)
    """
    glyphs = glyph_images()
    order = torch.Generator().manual_seed(_ORDER_SEED)
    parts = [_letters([glyphs[font] for font in fonts], order) for fonts in (TRAIN_FONTS, VALIDATION_FONTS, TEST_FONTS)]
    return ImageSet("letters", _LETTERS, _LETTER_RADIUS, *parts)


def _letters(fonts: list[Tensor], order: torch.Generator) -> Labelled:
    places = [ascii_letters.index(letter) for letter in _LETTERS]
    moved = shifted(torch.cat([glyphs[places] for glyphs in fonts]))
    middle = moved[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN].flatten(0, 1)
    images = interpolate(middle[:, None], size=(SIDE, SIDE), mode="area")[:, 0]
    labels = torch.arange(len(_LETTERS)).repeat(len(fonts)).repeat_interleave(moved.shape[1])
    index = torch.randperm(len(labels), generator=order)
    return Labelled(images[index], labels[index])
