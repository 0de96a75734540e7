"""Train the generator of the digits problem and write its weights.

The generator is the generator of a plain GAN, trained on the 1024 train images of ``digit_images()`` and
on nothing else: no encoder, no labels and no reconstruction loss.

* Losses: non-saturating logistic for both players, with the R1 gradient penalty on real images every
  eighth step (weighted by eight).
* Augmentation: the critic sees real and generated images after the same random shifts of at most one
  pixel, so that the train images are harder to learn by heart.
* The weights written are an exponential moving average over training steps.

On one machine with one PyTorch version the result depends on the seed alone. On one CPU thread it takes
about four minutes:

    python examples/train_digits_generator.py --seed 0 --out digits_generator.safetensors
"""

from __future__ import annotations

import argparse
import copy
import logging
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad, softplus

from landscape_opt.problems.digits import LATENT_DIM, DigitsGenerator, digit_images

BATCH = 64
LEARNING_RATE = 1e-3
R1_WEIGHT = 0.05
R1_EVERY = 8
AVERAGE_DECAY = 0.998

logger = logging.getLogger(__name__)


class Critic(nn.Module):
    """Score how real images look: ``(B, 8, 8)`` to ``(B, 1)``."""

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        self.pixels = nn.Conv2d(1, channels, 3, padding=1)
        self.fine = nn.Conv2d(channels, channels, 4, stride=2, padding=1)
        self.coarse = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.dense = nn.Linear(2 * channels * 4 * 4, 128)
        self.score = nn.Linear(128, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, 8, 8)`` in [0, 1] to scores ``(B, 1)``; a high score means real."""
        features = leaky_relu(self.pixels(images[:, None] * 2.0 - 1.0), 0.2)
        features = leaky_relu(self.fine(features), 0.2)
        features = leaky_relu(self.coarse(features), 0.2)
        features = leaky_relu(self.dense(features.flatten(1)), 0.2)
        score: Tensor = self.score(features)
        return score


def shift(images: Tensor, random: torch.Generator) -> Tensor:
    """Shift each image ``(B, 8, 8)`` by at most one pixel along each axis, filling with black."""
    down, right = torch.randint(0, 3, (2, len(images), 1, 1), generator=random)
    rows = torch.arange(8).reshape(1, 8, 1) + down
    columns = torch.arange(8).reshape(1, 1, 8) + right
    return pad(images, (1, 1, 1, 1))[torch.arange(len(images)).reshape(-1, 1, 1), rows, columns]


def critic_loss(critic: Critic, real: Tensor, generated: Tensor, penalise: bool) -> Tensor:
    """Return the critic's loss on real and generated images ``(B, 8, 8)``, with R1 if ``penalise``."""
    real = real.detach().requires_grad_(penalise)
    real_score = critic(real)
    loss = softplus(-real_score).mean() + softplus(critic(generated)).mean()
    if penalise:
        (slope,) = torch.autograd.grad(real_score.sum(), real, create_graph=True)
        loss = loss + R1_EVERY * R1_WEIGHT / 2 * slope.square().flatten(1).sum(dim=1).mean()
    return loss


def train(seed: int, num_steps: int) -> DigitsGenerator:
    """Train a generator and return the moving average of its weights."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    images, _, _ = digit_images()
    generator, critic = DigitsGenerator(), Critic()
    average = copy.deepcopy(generator)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=LEARNING_RATE, betas=(0.0, 0.99))
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=LEARNING_RATE, betas=(0.0, 0.99))
    for step in range(num_steps):
        # Constant, then linear to zero over the second half, so that the two players settle.
        rate = LEARNING_RATE * min(1.0, 2.0 * (1.0 - step / num_steps))
        for group in [*generator_optimizer.param_groups, *critic_optimizer.param_groups]:
            group["lr"] = rate

        real = images[torch.randint(0, len(images), (BATCH,), generator=random)]
        generated = generator(torch.randn(BATCH, LATENT_DIM, generator=random))
        loss = critic_loss(
            critic,
            shift(real, random),
            shift(generated.detach(), random),
            penalise=step % R1_EVERY == 0,
        )
        critic_optimizer.zero_grad()
        torch.autograd.backward(loss)
        critic_optimizer.step()

        generator_loss = softplus(-critic(shift(generated, random))).mean()
        generator_optimizer.zero_grad()
        torch.autograd.backward(generator_loss)
        generator_optimizer.step()

        # A short memory at first: the untrained weights would otherwise linger in the average.
        decay = min(AVERAGE_DECAY, (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, current in zip(average.parameters(), generator.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)
        if step % 500 == 0 or step == num_steps - 1:
            logger.info("step %5d  critic %.3f  generator %.3f", step, loss.item(), generator_loss.item())
    return average


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description="Train the generator of the digits problem.")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and latent vectors")
    parser.add_argument("--steps", type=int, default=6000, help="training steps of both players")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # the order of sums, and with it the result, depends on the number of threads
    torch.use_deterministic_algorithms(True)
    generator = train(arguments.seed, arguments.steps)
    save_file(generator.state_dict(), arguments.out)
    logger.info("wrote %s (%d bytes)", arguments.out, arguments.out.stat().st_size)


if __name__ == "__main__":
    main()
