"""Render the glyphs of the style problem, train its generator on them, and write both.

The generator is trained as an autodecoder, which is Generative Latent Optimization (Bojanowski et al., 2018): every train
image has a code of its own, codes and weights are fitted together, and there is no encoder and no critic.

* Code: 64 numbers for every glyph of every train font, born as its whitened principal components, and its shift.
* As in StyleGAN, a mapping network of three layers turns a code into the 512 numbers that modulate the generator. It is
  thrown away at the end: the problem is posed in those 512 numbers, moved and scaled to mean 0 and unit variance.
* Noise of a twentieth of their spread makes the neighbours of a latent resemble it.
* A weight learns at the rate of its layer over √(its inputs): StyleGAN's equalised learning rate. At one rate for all, the
  first steps move 512 inputs of every style at once.

Adversarial training, at these sizes and for these minutes, gave a few dozen shapes instead of 62 characters in eight fonts.

On one machine with one PyTorch version the result depends on the seed alone. On one CPU thread it takes about four
minutes. Rendering needs matplotlib; the images depend on its version, so both files are kept with the package:

    python examples/train_glyph_generator.py --seed 0 --glyphs glyphs.safetensors --out glyph_generator.safetensors
"""

from __future__ import annotations

import argparse
import logging
import math
import string
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from safetensors.torch import save_file
from torch import Tensor, nn

from landscape_opt.problems.style import FONTS, LATENT_DIM, SIZE, TRAIN_FONTS, StyleGenerator, shifted

CHARACTERS = string.ascii_letters + string.digits
CAPITAL_HEIGHT, BASELINE = 9.5, 4.25  # pixels
CODE_DIM = 64
BATCH = 64
LEARNING_RATE = 0.01
WARM_UP = 100
NOISE = 0.05

logger = logging.getLogger(__name__)


def rendered(font: str) -> Tensor:
    """White characters of a font on black, (62, 16, 16) of uint8."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    properties = FontProperties(fname=str(path))
    scale = CAPITAL_HEIGHT / TextPath((0, 0), "H", size=100, prop=properties).get_extents().height
    images = []
    for character in CHARACTERS:
        outline = TextPath((0, 0), character, size=100, prop=properties)
        middle = float(outline.get_extents().x0 + outline.get_extents().x1) / 2.0
        placed = Affine2D().translate(-middle, 0.0).scale(scale).translate(SIZE / 2, BASELINE)
        canvas = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=SIZE))
        # Snapping would draw l and I of several fonts alike, and test targets would be images that were trained on.
        canvas.figure.add_artist(PathPatch(outline, transform=placed, facecolor="black", linewidth=0, snap=False))
        canvas.draw()
        images.append(255 - np.asarray(canvas.buffer_rgba())[..., 0])
    return torch.from_numpy(np.stack(images))


class Codes(nn.Module):
    """A code for every glyph, and the network that maps it with a shift to a latent.

    Args:
        glyphs: Train images, (N, 16, 16), whose principal components the codes are at first.
    """

    def __init__(self, glyphs: Tensor) -> None:
        super().__init__()
        flat = glyphs.flatten(1)
        components = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)[0][:, :CODE_DIM]
        self.codes = nn.Parameter(components * len(glyphs) ** 0.5)
        sizes = (CODE_DIM + 2, 256, 256, LATENT_DIM)
        dense = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)]
        for layer in dense:
            nn.init.normal_(layer.weight, std=1.3 * layer.in_features**-0.5)
        self.mapping = nn.Sequential(dense[0], nn.LeakyReLU(0.2), dense[1], nn.LeakyReLU(0.2), dense[2])

    def forward(self, glyph: Tensor, shift: Tensor) -> Tensor:
        """Latents (B, 512) of glyphs by number, (B,), and shifts by number, (B,)."""
        place = torch.stack([shift // 3, shift % 3], dim=1) - 1.0
        latents: Tensor = self.mapping(torch.cat([self.codes[glyph], 2.0 * place], dim=1))
        return latents


def parameter_groups(*modules: nn.Module) -> list[dict[str, object]]:
    """Every weight at a rate over the root of its inputs; biases, the constant and the codes at the full one."""
    weights = [weight for module in modules for weight in module.named_parameters()]
    return [
        {"params": [weight], "lr": LEARNING_RATE * (weight[0].numel() ** -0.5 if name.endswith("weight") else 1.0)}
        for name, weight in weights
    ]


def train(glyphs: Tensor, seed: int, num_steps: int) -> StyleGenerator:
    """Train a generator on glyphs (N, 16, 16) in [0, 1]; its latents have mean 0 and unit variance."""
    torch.manual_seed(seed)
    images = shifted(glyphs)
    generator, codes = StyleGenerator(), Codes(glyphs)
    optimizer = torch.optim.Adam(parameter_groups(generator, codes), betas=(0.9, 0.99))

    def rate(step: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * step / num_steps)) * min(1.0, (step + 1) / WARM_UP)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for step in range(num_steps):
        glyph, shift = torch.randint(0, len(glyphs), (BATCH,)), torch.randint(0, 9, (BATCH,))
        latents = codes(glyph, shift)
        spread = latents.detach().var(0).mean().sqrt()
        generated = generator(latents + NOISE * spread * torch.randn_like(latents))
        loss = (generated - images[glyph, shift]).square().flatten(1).sum(1).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == num_steps - 1:
            logger.info("step %5d  squared error of an image %.3f", step, loss.item())
    centre(generator, codes, images)
    return generator


@torch.no_grad()
def centre(generator: StyleGenerator, codes: Codes, images: Tensor) -> None:
    """Move and scale the latents to mean 0 and variance 1 over the train images, inside the generator's weights."""
    numbers = torch.cartesian_prod(torch.arange(images.shape[0]), torch.arange(9))
    latents = codes(numbers[:, 0], numbers[:, 1])
    mean, spread = latents.mean(0), latents.var(0).mean().sqrt()
    for layer in [*generator.layers, generator.pixels]:
        layer.style.bias += layer.style.weight @ mean
        layer.style.weight *= spread
    generated = torch.cat([generator(part) for part in ((latents - mean) / spread).split(512)])
    error = (generated - images.flatten(0, 1)).square().flatten(1).sum(1).mean()
    logger.info("squared error of a train image %.3f", error.item())


def main() -> None:
    """Render, train and write."""
    parser = argparse.ArgumentParser(description="Render the glyphs of the style problem and train its generator.")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and noise")
    parser.add_argument("--steps", type=int, default=8000, help="training steps")
    parser.add_argument("--glyphs", type=Path, required=True, help="safetensors file to write the images to")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write the weights to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # the order of sums, and with it the result, depends on the number of threads
    torch.use_deterministic_algorithms(True)
    glyphs = {font: rendered(font) for font in FONTS}
    save_file(glyphs, arguments.glyphs)
    images = torch.cat([glyphs[font] for font in TRAIN_FONTS]).to(torch.float32) / 255.0
    generator = train(images, arguments.seed, arguments.steps)
    save_file({name: weight.to(torch.float16) for name, weight in generator.state_dict().items()}, arguments.out)
    logger.info("wrote %s (%d bytes)", arguments.out, arguments.out.stat().st_size)


if __name__ == "__main__":
    main()
