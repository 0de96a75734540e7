"""Train the decoder of the latent pose prior and write its weights.

A variational autoencoder on poses of ``sample_people``; the decoder alone is kept. On one machine with one PyTorch version
the result depends on the seed alone. On one CPU thread it takes less than a minute:

    python examples/train_pose_prior.py --seed 0 --out landscape_opt/applications/pose/pose_decoder.safetensors
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from landscape_opt.applications.pose import LimitedAngles, SkinnedBody, sample_people
from landscape_opt.applications.pose.latent import LATENT_DIM, PoseDecoder

BATCH, LEARNING_RATE, ERROR = 256, 2e-3, 0.08

logger = logging.getLogger(__name__)


def train(seed: int, num_steps: int) -> PoseDecoder:
    """Minus the evidence's lower bound, with angles in rad that are normal about the decoded ones."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    body = SkinnedBody()
    space = LimitedAngles(body)
    poses = sample_people(body, 16384, generator).pose
    numbers = space.numbers(poses)
    dim = numbers.shape[1]
    encoder = nn.Sequential(nn.Linear(dim, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2 * LATENT_DIM))
    decoder = PoseDecoder(dim)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for step in range(num_steps):
        rows = torch.randint(len(poses), (BATCH,), generator=generator)
        mean, log_variance = encoder(numbers[rows]).chunk(2, dim=1)
        code = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
        away = space.angles(decoder(code)) - poses[rows]
        error = 0.5 * away.square().sum((1, 2)) / ERROR**2
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(1)
        loss = (error + divergence).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == num_steps - 1:
            logger.info(
                "step %5d  angle %.3f rad  divergence %.1f",
                step,
                float(away.detach().square().mean()) ** 0.5,
                float(divergence.detach().mean()),
            )
    return decoder


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description="Train the decoder of the latent pose prior.")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, poses and batches")
    parser.add_argument("--steps", type=int, default=4000, help="training steps")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # the order of sums, and with it the result, depends on the number of threads
    decoder = train(arguments.seed, arguments.steps)
    save_file({name: weight.half() for name, weight in decoder.state_dict().items()}, arguments.out)
    logger.info("wrote %s (%d bytes)", arguments.out, arguments.out.stat().st_size)


if __name__ == "__main__":
    main()
