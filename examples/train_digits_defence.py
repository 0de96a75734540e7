"""Train the two networks of the attack problem, a classifier and a contrastive encoder, and write their weights.

Both see the 1024 train images of ``labelled_digits()`` and nothing else; they share no weights.

* The classifier: cross-entropy on slightly turned and shifted digits. Nothing makes it robust to attacks.
* The encoder: SimCLR (Chen et al., 2020), without labels. Two random views of every image of a batch, turned by at most
  15 degrees, shifted by at most a pixel, scaled and brightened by a fifth at most, with Gaussian noise of 0.3, must find
  one another among all others. Strong noise is what makes the encoder useful here: its gradients then point at changes
  that a digit would show.

On one machine with one PyTorch version the result depends on the seed alone. On one CPU thread it takes about a minute:

    python examples/train_digits_defence.py --seed 0 --out digits_defence.safetensors
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from landscape_opt.problems.attack import embedded
from landscape_opt.problems.digits_defence import EMBEDDING_DIM, DigitsNetwork, labelled_digits

BATCH = 128
LEARNING_RATE = 3e-3
TEMPERATURE = 0.5
NOISE = 0.3

logger = logging.getLogger(__name__)


def warped(images: Tensor, degrees: float, pixels: float, scale: float) -> Tensor:
    """Turn, shift and scale each image (B, 8, 8) at random, within these bounds."""

    def between(bound: float) -> Tensor:
        return bound * (2.0 * torch.rand(len(images)) - 1.0)

    angle, size, right, down = between(math.radians(degrees)), 1.0 + between(scale), between(pixels), between(pixels)
    # grid_sample's coordinates run from -1 to 1: a pixel is a quarter.
    first = torch.stack([size * angle.cos(), -size * angle.sin(), right / 4.0], dim=1)
    second = torch.stack([size * angle.sin(), size * angle.cos(), down / 4.0], dim=1)
    grid = affine_grid(torch.stack([first, second], dim=1), [len(images), 1, 8, 8], align_corners=False)
    return grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def view(images: Tensor) -> Tensor:
    """A random view of each image (B, 8, 8)."""
    brightness = 0.8 + 0.4 * torch.rand(len(images), 1, 1)
    return brightness * warped(images, 15.0, 1.0, 0.15) + NOISE * torch.randn_like(images)


def contrastive_loss(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent of unit embeddings (B, 32) of two views: row i of one belongs to row i of the other."""
    both = torch.cat([first, second])
    scores = (both @ both.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(both)).roll(len(first))
    return cross_entropy(scores, partner)


def train(seed: int, num_steps: int) -> nn.ModuleDict:
    """Train both networks, the encoder three times as long."""
    torch.manual_seed(seed)
    images, labels = labelled_digits()[0]
    classifier, encoder = DigitsNetwork(10), DigitsNetwork(EMBEDDING_DIM)

    def classification() -> Tensor:
        rows = torch.randperm(len(images))[:BATCH]
        return cross_entropy(classifier(warped(images[rows], 8.0, 0.5, 0.1)), labels[rows])

    def agreement() -> Tensor:
        rows = torch.randperm(len(images))[:BATCH]
        return contrastive_loss(embedded(encoder, view(images[rows])), embedded(encoder, view(images[rows])))

    for network, loss_of, steps in ((classifier, classification, num_steps), (encoder, agreement, 3 * num_steps)):
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            loss = loss_of()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            if step % 300 == 0 or step == steps - 1:
                logger.info("%s step %4d  loss %.4f", loss_of.__name__, step, loss.item())
    for name, (pictures, classes) in zip(("train", "validation", "test"), labelled_digits(), strict=True):
        right = (classifier(pictures).argmax(1) == classes).float().mean()
        logger.info("accuracy on %s images: %.1f %%", name, 100.0 * right.item())
    return nn.ModuleDict({"classifier": classifier, "encoder": encoder})


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description="Train the classifier and the encoder of the attack problem.")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and views")
    parser.add_argument("--steps", type=int, default=1000, help="of the classifier; the encoder takes thrice as many")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # the order of sums, and with it the result, depends on the number of threads
    torch.use_deterministic_algorithms(True)
    networks = train(arguments.seed, arguments.steps)
    save_file({name: weight.to(torch.float16) for name, weight in networks.state_dict().items()}, arguments.out)
    logger.info("wrote %s (%d bytes)", arguments.out, arguments.out.stat().st_size)


if __name__ == "__main__":
    main()
