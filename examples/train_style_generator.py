"""Train the style-based generator of the GAN inversion example, and the two classifiers that pictures are compared by.

The pictures are letters and numerals in twelve fonts that come with matplotlib, in colours and at places drawn at random.

The generator is trained as an autodecoder, which is Generative Latent Optimization (Bojanowski et al., 2018): there is no
critic, which at these sizes and for these minutes gives a few dozen shapes, and no encoder. The z of a picture is

* 40 numbers for its glyph, born as whitened principal components and fitted together with the weights,
* 2 for its shift, and 6 for the colours of letter and ground, as normal quantiles,

each of mean 0 and variance 1 over the pictures. So Z can be drawn from, though letters that are drawn so are blends of those
trained on; W and W+ are what they are in StyleGAN. Noise of a twentieth of the spread of w makes the neighbours of a w
resemble it.

The classifiers are trained for the same letters by cross-entropy. The features of the first are the perceptual distance; the
second judges in the tables and is never optimised.

On one machine with one PyTorch version the result depends on the seed alone. On one CPU thread it takes about four minutes:

    python examples/train_style_generator.py --seed 0 --out landscape_opt/applications/gan
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from train_glyph_generator import parameter_groups

from landscape_opt.applications.gan.classifier import CLASSIFIER_CHANNELS, JUDGE, PERCEPTUAL, GlyphClassifier
from landscape_opt.applications.gan.generator import WEIGHTS, StyleGenerator
from landscape_opt.applications.gan.images import TRAIN_FONTS, VALIDATION_FONTS, Pictures, coloured, glyphs

BATCH, CLASSIFIER_BATCH = 32, 128
NOISE = 0.05
NUM_KNOWN = 8
SHIFT_SPREAD = 2.0**0.5
WARM_UP = 100
NUM_FOR_MEAN = 4096

logger = logging.getLogger(__name__)


class Codes(nn.Module):
    """The z of pictures.

    Args:
        ink: Of the train glyphs, (N, 32, 32), whose principal components their codes are at first.
        z_dim: Numbers in one z.
    """

    def __init__(self, ink: Tensor, z_dim: int) -> None:
        super().__init__()
        flat = ink.flatten(1)
        components = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)[0][:, : z_dim - NUM_KNOWN]
        self.codes = nn.Parameter(components * len(ink) ** 0.5)

    def forward(self, some: Pictures) -> Tensor:
        """z, (B, z_dim)."""
        codes = (self.codes - self.codes.mean(0)) / self.codes.std(0)
        shift = some.shift / SHIFT_SPREAD
        colours = torch.special.ndtri(0.5 + 0.49 * some.colours)
        return torch.cat([codes[some.glyph], shift, colours], dim=1)


def descended(optimizer: torch.optim.Optimizer, num_steps: int, loss_of: Callable[[], Tensor], what: str) -> None:
    """So many steps, with warm-up and a cosine."""

    def rate(step: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * step / num_steps)) * min(1.0, (step + 1) / WARM_UP)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for step in range(num_steps):
        loss = loss_of()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == num_steps - 1:
            logger.info("%s, step %5d: %.3f", what, step, loss.item())


def train_classifier(name: str, num_steps: int, generator: torch.Generator) -> GlyphClassifier:
    """A classifier of letters in colour."""
    letters, classifier = glyphs(TRAIN_FONTS), GlyphClassifier(CLASSIFIER_CHANNELS[name])

    def loss_of() -> Tensor:
        some = coloured(letters, CLASSIFIER_BATCH, generator)
        return cross_entropy(classifier(some.images), some.label)

    descended(torch.optim.AdamW(classifier.parameters(), lr=3e-3), num_steps, loss_of, name)
    held_out = coloured(glyphs(VALIDATION_FONTS), 1024, generator)
    classifier.features.standardise(coloured(letters, 1024, generator).images)
    with torch.no_grad():
        right = (classifier(held_out.images).argmax(1) == held_out.label).float().mean()
    logger.info("%s: %.1f %% of letters in two fonts that were held out", name, 100.0 * right.item())
    return classifier


def train_generator(num_steps: int, generator: torch.Generator) -> StyleGenerator:
    """An autodecoder, its mean w measured."""
    letters, style = glyphs(TRAIN_FONTS), StyleGenerator()
    style.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    codes = Codes(letters.ink, style.z_dim)

    def pictures(some: Pictures, noise: float) -> Tensor:
        ws = style.mapping(codes(some))
        spread = ws[:, 0].detach().var(0).mean().sqrt()
        return style.synthesis(ws + noise * spread * torch.randn_like(ws[:, :1]))

    def loss_of() -> Tensor:
        some = coloured(letters, BATCH, generator)
        return (pictures(some, NOISE) - some.images).square().flatten(1).sum(1).mean()

    optimizer = torch.optim.Adam(parameter_groups(style, codes), betas=(0.9, 0.99))
    descended(optimizer, num_steps, loss_of, "generator")
    with torch.no_grad():
        z = torch.randn(NUM_FOR_MEAN, style.z_dim, generator=generator)
        style.mapping.w_avg.copy_(style.mapping(z)[:, 0].mean(0))
        some = coloured(letters, 512, generator)
        logger.info("mean squared error of a train picture %.4f", (pictures(some, 0.0) - some.images).square().mean().item())
    return style


def written(module: nn.Module, path: Path) -> None:
    """The weights in half precision."""
    save_file({name: weight.to(torch.float16).contiguous() for name, weight in module.state_dict().items()}, path)
    logger.info("wrote %s (%d bytes)", path, path.stat().st_size)


def main() -> None:
    """Train and write all three."""
    parser = argparse.ArgumentParser(description="Train the generator and the classifiers of the GAN inversion example.")
    parser.add_argument("--seed", type=int, default=0, help="of weights, pictures and noise")
    parser.add_argument("--steps", type=int, default=3000, help="of the generator")
    parser.add_argument("--classifier-steps", type=int, default=800, help="of each classifier")
    parser.add_argument("--only", nargs="+", choices=(PERCEPTUAL, JUDGE, WEIGHTS), default=(PERCEPTUAL, JUDGE, WEIGHTS))
    parser.add_argument("--out", type=Path, required=True, help="folder to write the weights to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # the order of sums, and with it the result, depends on the number of threads
    arguments.out.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate((PERCEPTUAL, JUDGE, WEIGHTS)):
        if name in arguments.only:
            seed = 3 * arguments.seed + place  # each its own, so that one can be trained again alone
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            is_generator = name == WEIGHTS
            trained = train_generator if is_generator else partial(train_classifier, name)
            made = trained(arguments.steps if is_generator else arguments.classifier_steps, generator)
            written(made, arguments.out / name)


if __name__ == "__main__":
    main()
