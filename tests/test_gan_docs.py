"""The Python of the page on GAN inversion runs as it is printed, but for a shorter fit and the checkpoints of others."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from landscape_opt.applications import gan
from landscape_opt.applications.gan.images import TRAIN_FONTS, VALIDATION_FONTS, coloured, glyphs

PAGE = Path(__file__).parents[1] / "docs" / "applications" / "gan_inversion.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_blocks_before_the_checkpoint_run():
    page = PAGE.read_text(encoding="utf-8").split("## A checkpoint of your own")[0]
    blocks = BLOCK.findall(page)
    assert len(blocks) == 3
    generator = torch.Generator().manual_seed(0)
    images = coloured(glyphs(VALIDATION_FONTS), 4, generator).images
    seen = gan.halves(4, generator)
    names = {
        "train_images": coloured(glyphs(TRAIN_FONTS[:2]), 16, generator).images,
        "images": images,
        "small": gan.shrunk(images),
        "seen": seen,
    }
    results = []
    for block in blocks:
        shorter = re.sub(r"max_seconds=\d+", "num_rounds=1, progress=False", block)
        shorter = shorter.replace("pixels_and_features())", "pixels_and_features(), batch_size=16)")
        exec(compile(shorter, str(PAGE), "exec"), names)
        results.append(names["result"])
    assert all(result.loss.isfinite().all() for result in results)
    assert results[0].loss.median() < 0.2 * results[0].history.best[0].median()
    assert results[1].prediction["image"].shape == images.shape
