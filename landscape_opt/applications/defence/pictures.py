"""Pictures of a comparison; needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from .attacks import PGD
from .balls import Ball
from .images import ImageSet
from .report import Row
from .reversal import Reversal
from .victims import Undefended


def draw_accuracies(rows: Mapping[str, Sequence[Row]], title: str, path: Path) -> None:
    """Accuracy against steps: without an attack, under the one that does not know the defence, after all adaptive ones.

    Args:
        rows: by classifier; the first of each is without a defence.
        title: of the image set.
        path: of the picture.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(4 * len(rows), 3.2), sharey=True, layout="constrained")
    for axis, (role, some) in zip(axes, rows.items(), strict=True):
        columns = {"clean": (":", "clean"), "ensemble": ("-", "attack that does not know the defence")}
        columns[list(some[0].means)[-1]] = ("--", "adaptive: robust accuracy")
        for name, colour in (("plain", "C0"), ("landscape", "C1")):
            mine = [row for row in some if row.defence == name]
            steps = [row.num_steps for row in mine]
            for column, (line, label) in columns.items():
                values = [row.means[column] for row in mine]
                axis.plot(steps, values, line, marker=".", color=colour, label=f"{name}, {label}")
        axis.axhline(list(some[0].means.values())[-1], color="0.5", linewidth=1, label="no defence, robust accuracy")
        axis.set(xscale="symlog", xlabel="steps", title=f"{title}, {role} classifier", ylim=(0, 100))
        axis.set_xticks(steps, [str(count) for count in steps], minor=False)
        axis.set_xticks([], minor=True)
    axes[0].set_ylabel("right, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    figure.savefig(path)
    plt.close(figure)


def draw_images(image_set: ImageSet, classifier: nn.Module, reversal: Reversal, ball: Ball, path: Path) -> None:
    """Clean, attacked and corrected images of eight test targets, with the classifier's answers, red where wrong.

    The attack does not know the defence.
    """
    import matplotlib.pyplot as plt

    data, generator = image_set.test.first(8), torch.Generator().manual_seed(0)
    attacked = PGD(ball, 20)(Undefended(classifier), data.images, data.labels, generator)
    corrected = reversal.correct(attacked).images
    figure, axes = plt.subplots(3, len(data), figsize=(8, 3.4), layout="constrained")
    for line, images in zip(axes, (data.images, attacked, corrected), strict=True):
        with torch.no_grad():
            answers = classifier(images).argmax(1)
        for axis, image, answer, label in zip(line, images, answers, data.labels, strict=True):
            axis.imshow(image.numpy(), cmap="gray", vmin=-0.2, vmax=1.2)
            axis.set(xticks=[], yticks=[])
            colour = "black" if answer == label else "C3"
            axis.set_title(image_set.names[int(answer)], fontsize=9, color=colour, pad=2)
    for axis, name in zip(axes[:, 0], ("clean", "attacked", "corrected"), strict=True):
        axis.set_ylabel(name)
    figure.savefig(path, dpi=80)
    plt.close(figure)
