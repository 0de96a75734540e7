"""Coloured glyphs of the fonts that come with matplotlib, 32x32: the pictures that the generator learns and is asked for."""

from __future__ import annotations

import functools
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

SIZE = 32
CHARACTERS = string.ascii_letters + string.digits
UNSEEN_CHARACTERS = "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπσφψωБДЖЗИЛЦЧШЫЭЮЯ&@#%?"
TRAIN_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "cmr10",
    "cmb10",
)
VALIDATION_FONTS = ("cmtt10", "DejaVuSerif-BoldItalic")
TEST_FONTS = ("DejaVuSerif", "cmss10", "STIXGeneral")
UNSEEN_FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSans-Bold", "DejaVuSerif-Bold")
MAX_SHIFT = 2
MIN_CONTRAST = 0.9
"""Of the colours of letter and ground, between 0 and 2√3."""
_CAPITAL_HEIGHT, _BASELINE, _FINER = 18, 24, 8


@dataclass(frozen=True)
class Glyphs:
    """Letters as ink: 1 where the letter is, 0 where it is not.

    Attributes:
        ink: ``(N, 32, 32)`` in [0, 1].
        label: which character of the list each is, ``(N,)``.
    """

    ink: Tensor = field(repr=False)
    label: Tensor = field(repr=False)


@dataclass(frozen=True)
class Pictures:
    """Letters in colour, at a place of their own.

    Attributes:
        images: ``(N, 3, 32, 32)`` in [-1, 1].
        label: which character each shows, ``(N,)``.
        glyph: which of the glyphs it was drawn from, ``(N,)``.
        shift: down and right, in pixels, ``(N, 2)``.
        colours: of letter and ground, red, green and blue in [-1, 1], ``(N, 6)``.
    """

    images: Tensor = field(repr=False)
    label: Tensor = field(repr=False)
    glyph: Tensor = field(repr=False)
    shift: Tensor = field(repr=False)
    colours: Tensor = field(repr=False)


@functools.cache
def glyphs(fonts: Sequence[str], characters: str = CHARACTERS) -> Glyphs:
    """Draw characters in fonts; capitals are 18 pixels high, centred from left to right, on a common baseline.

    They are drawn eight times as large and averaged, so that the release of FreeType hardly matters.

    Args:
        fonts: Names of files in matplotlib's ``fonts/ttf``, a tuple.
        characters: To draw, each in every font.

    Raises:
        ImportError: where matplotlib, or Pillow that comes with it, is missing.

    Example:
        >>> tuple(glyphs(("DejaVuSans",), "AB").ink.shape)
        (2, 32, 32)
    """
    try:
        import matplotlib
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as missing:
        raise ImportError("glyphs are drawn from matplotlib's fonts: pip install landscape-opt[plot]") from missing
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    drawn = []
    for font in fonts:
        path = str(folder / f"{font}.ttf")
        box = ImageFont.truetype(path, 1000, layout_engine=ImageFont.Layout.BASIC).getbbox("H", anchor="ls")
        size = round(1000 * _CAPITAL_HEIGHT * _FINER / (box[3] - box[1]))
        pen = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
        for character in characters:
            paper = Image.new("L", (SIZE * _FINER, SIZE * _FINER))
            left, _, right, _ = pen.getbbox(character, anchor="ls")
            across = (SIZE * _FINER - left - right) / 2
            ImageDraw.Draw(paper).text((across, _BASELINE * _FINER), character, fill=255, font=pen, anchor="ls")
            fine = torch.frombuffer(bytearray(paper.tobytes()), dtype=torch.uint8).to(torch.float32)
            drawn.append(fine.reshape(SIZE, _FINER, SIZE, _FINER).mean((1, 3)) / 255.0)
    return Glyphs(torch.stack(drawn), torch.arange(len(characters)).repeat(len(fonts)))


def coloured(some: Glyphs, count: int, generator: torch.Generator) -> Pictures:
    """Draw pictures at random: a glyph, its shift by at most two pixels, and the colours of letter and ground.

    Args:
        some: The glyphs to draw from.
        count: Pictures.
        generator: Of everything random.

    Example:
        >>> pictures = coloured(glyphs(("DejaVuSans",), "AB"), 5, torch.Generator().manual_seed(0))
        >>> pictures.images.shape, bool(pictures.images.abs().max() <= 1.0)
        (torch.Size([5, 3, 32, 32]), True)
    """
    which = torch.randint(len(some.ink), (count,), generator=generator)
    down, right = torch.randint(2 * MAX_SHIFT + 1, (2, count), generator=generator)
    wide = torch.nn.functional.pad(some.ink[which], (MAX_SHIFT,) * 4)
    places = torch.arange(SIZE)
    rows, columns = (down[:, None] + places)[:, :, None], (right[:, None] + places)[:, None, :]
    ink = wide[torch.arange(count)[:, None, None], rows, columns][:, None]
    letter, ground = _two_colours(count, generator)
    images = ink * letter[:, :, None, None] + (1.0 - ink) * ground[:, :, None, None]
    shift = MAX_SHIFT - torch.stack([down, right], dim=1)
    return Pictures(images, some.label[which], which, shift, torch.cat([letter, ground], dim=1))


def _two_colours(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Colours in [-1, 1] of letter and ground, (count, 3) each, that differ enough."""
    ground = 2.0 * torch.rand(count, 3, generator=generator) - 1.0
    letter = 2.0 * torch.rand(count, 3, generator=generator) - 1.0
    while bool((alike := (letter - ground).norm(dim=1) < MIN_CONTRAST).any()):
        letter[alike] = 2.0 * torch.rand(int(alike.sum()), 3, generator=generator) - 1.0
    return letter, ground
