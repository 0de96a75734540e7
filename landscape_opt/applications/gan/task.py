"""The inversion of the glyph generator as a problem: targets to fit on, to tune on, and three sets to report on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...problems.problem import Metric, Problem, TargetSet
from .classifier import load_classifier
from .images import (
    SIZE,
    TEST_FONTS,
    TRAIN_FONTS,
    UNSEEN_CHARACTERS,
    UNSEEN_FONTS,
    VALIDATION_FONTS,
    coloured,
    glyphs,
)
from .perceptual import Perceived, compared_after, pixels_and_features
from .quality import Judge
from .spaces import Space


def perceived(space: Space) -> Perceived:
    """F: the pictures of the space, and what the package's perceptual network sees in them.

    Args:
        space: Z, W or W+ of the glyph generator.

    Example:
        >>> from landscape_opt.applications.gan import StyleModel, WSpace, load_generator
        >>> space = WSpace(StyleModel.of(load_generator()))
        >>> perceived(space)(space.x_init[None])["image"].shape
        torch.Size([1, 3, 32, 32])
    """
    return Perceived(space, load_classifier().features)


def halves(count: int, generator: torch.Generator) -> Tensor:
    """Masks, True on one half of a picture, a side drawn for every row, ``(count, 32, 32)``.

    Args:
        count: Rows.
        generator: Draws the sides.

    Example:
        >>> halves(2, torch.Generator().manual_seed(0)).float().mean((1, 2))
        tensor([0.5000, 0.5000])
    """
    columns = (torch.arange(SIZE) < SIZE // 2).expand(SIZE, SIZE)
    sides = torch.stack([columns, ~columns, columns.T, ~columns.T])
    return sides[torch.randint(len(sides), (count,), generator=generator)]


def glyph_inversion(space: Space, num_test: int = 100, num_validation: int = 64, num_train: int = 8192) -> Problem:
    """Find the x of a space whose picture is a letter in colour.

    In distribution: letters of the train characters in three fonts that neither generator nor fit has seen. Partly observed:
    the same, one half hidden. Out of distribution: Greek and Cyrillic letters and signs. Colours and shifts are drawn, the
    same in every run.

    Args:
        space: Z, W or W+ of the glyph generator.
        num_test: Targets of each of the three sets.
        num_validation: Targets that rivals are tuned on, of two fonts that are in no other set.
        num_train: Targets of the fit, of the twelve fonts that the generator has seen.

    Example:
        >>> from landscape_opt.applications.gan import StyleModel, WSpace, load_generator
        >>> problem = glyph_inversion(WSpace(StyleModel.of(load_generator())), num_test=4, num_train=64)
        >>> problem.test["image"].shape
        torch.Size([4, 3, 32, 32])
    """
    generator, F, judge = torch.Generator().manual_seed(0), perceived(space), Judge()

    def drawn(fonts: tuple[str, ...], count: int, *characters: str) -> dict[str, Tensor]:
        images = coloured(glyphs(fonts, *characters), count, generator).images
        return F.target(images)

    train, validation = drawn(TRAIN_FONTS, num_train), drawn(VALIDATION_FONTS, num_validation)
    test, unseen = drawn(TEST_FONTS, num_test), drawn(UNSEEN_FONTS, num_test, UNSEEN_CHARACTERS)
    mask: Any = F.observed(test["image"], halves(num_test, generator))
    return Problem(
        name="glyph inversion",
        forward_model=F,
        loss_fn=pixels_and_features(),
        x_init=space.x_init,
        train=train,
        validation=validation,
        test=test,
        hard_because="A letter that resembles another is a local minimum, and colours and shape are entangled in w.",
        partly=TargetSet(targets=test, observed=mask, described_as="one half hidden"),
        unfamiliar=TargetSet(targets=unseen, described_as="Greek and Cyrillic letters and signs"),
        metric=Metric(
            name="PSNR", unit="dB", of=lambda _, prediction, target: judge(prediction["image"], target["image"]).psnr
        ),
    )


def degraded(problem: Problem, degrade: Callable[[Tensor], Tensor], restore: Callable[[Tensor], Tensor]) -> Problem:
    """The same pictures, of which only something smaller is known: super-resolution, colourisation.

    F and the start are those of the problem, so a landscape that was fitted to it can be asked; the loss compares after
    ``degrade``.

    Args:
        problem: As :func:`glyph_inversion` makes it.
        degrade: As :func:`~landscape_opt.applications.gan.shrunk` or :func:`~landscape_opt.applications.gan.grey`.
        restore: Brings what ``degrade`` left back to full size, so that a landscape can read it.

    Raises:
        TypeError: for a problem whose F is not :class:`~landscape_opt.applications.gan.Perceived`.

    Example:
        >>> from landscape_opt.applications.gan import StyleModel, WSpace, enlarged, load_generator, shrunk
        >>> problem = glyph_inversion(WSpace(StyleModel.of(load_generator())), num_test=4, num_train=64)
        >>> degraded(problem, shrunk, enlarged).test["image"][0, 0, :4, :4].unique().numel()
        1
    """
    F = problem.forward_model
    if not isinstance(F, Perceived):
        raise TypeError(f"degraded() takes a problem of glyph_inversion(), whose F is Perceived, got {type(F).__name__}")
    validation, test = (F.target(restore(degrade(some["image"]))) for some in (problem.validation, problem.test))
    loss_fn = compared_after(degrade)
    return replace(problem, loss_fn=loss_fn, validation=validation, test=test, partly=None, unfamiliar=None)
