"""Train the networks of the adversarial-defence application for one image set, and write their weights.

All see the train images of the set and nothing else; they share no weights.

* ``standard``: cross-entropy on slightly turned and shifted images. (That of the digits is the ``attack`` problem's, made by
  ``train_digits_defence.py``.)
* ``robust``: the same on attacked images, which is adversarial training (Madry et al., "Towards Deep Learning Models
  Resistant to Adversarial Attacks", 2018). Five steps of projected gradient ascent from a random start, in the set's box.
* ``encoder``: SimCLR on views with strong noise, as in ``train_digits_defence.py``, of dense layers.

On one machine with one PyTorch version the result depends on the seed alone. On one CPU thread it takes about two minutes:

    python examples/train_defence.py letters --seed 0 --out letters.safetensors
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from train_digits_defence import BATCH, LEARNING_RATE, contrastive_loss, view, warped

from landscape_opt.applications.defence.images import ImageSet, digit_images, letter_images
from landscape_opt.applications.defence.networks import CHANNELS, encoder_of
from landscape_opt.problems.attack import embedded
from landscape_opt.problems.digits_defence import DigitsNetwork

ATTACK_STEPS = 5

logger = logging.getLogger(__name__)


def attacked(classifier: nn.Module, images: Tensor, labels: Tensor, radius: float) -> Tensor:
    """Images nearby that the classifier gets wrong, if it does."""
    lower, upper = (images - radius).clamp_min(0.0), (images + radius).clamp_max(1.0)
    at = torch.lerp(lower, upper, torch.rand_like(images))
    for _ in range(ATTACK_STEPS):
        leaf = at.requires_grad_(True)
        (slope,) = torch.autograd.grad(cross_entropy(classifier(leaf), labels), leaf)
        at = (at.detach() + radius / 4.0 * slope.sign()).clamp(lower, upper)
    return at.detach()


def fit(network: nn.Module, loss_of: Callable[[], Tensor], num_steps: int, name: str) -> None:
    """Adam with a rate that falls along a cosine."""
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for step in range(num_steps):
        loss = loss_of()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 300 == 0 or step == num_steps - 1:
            logger.info("%s step %4d  loss %.4f", name, step, loss.item())


def trained(image_set: ImageSet, seed: int, num_steps: int) -> nn.ModuleDict:
    """Train the three networks."""
    torch.manual_seed(seed)
    images, labels = image_set.train.images, image_set.train.labels
    standard, robust = (DigitsNetwork(image_set.num_classes, CHANNELS) for _ in range(2))
    encoder = encoder_of(images[0].numel())

    def drawn() -> tuple[Tensor, Tensor]:
        rows = torch.randperm(len(images))[:BATCH]
        return warped(images[rows], 8.0, 0.5, 0.1), labels[rows]

    def classification() -> Tensor:
        some, classes = drawn()
        return cross_entropy(standard(some), classes)

    def under_attack() -> Tensor:
        some, classes = drawn()
        return cross_entropy(robust(attacked(robust, some, classes, image_set.radius)), classes)

    def agreement() -> Tensor:
        rows = torch.randperm(len(images))[:BATCH]
        return contrastive_loss(embedded(encoder, view(images[rows])), embedded(encoder, view(images[rows])))

    fit(encoder, agreement, 5 * num_steps, "encoder")
    fit(standard, classification, num_steps, "standard")
    fit(robust, under_attack, num_steps, "robust")
    for name, classifier in (("standard", standard), ("robust", robust)):
        part = image_set.validation
        whole = (classifier(part.images).argmax(1) == part.labels).float().mean()
        found = attacked(classifier, part.images, part.labels, image_set.radius)
        left = (classifier(found).argmax(1) == part.labels).float().mean()
        logger.info("%s on validation images: %.1f %%, attacked %.1f %%", name, 100.0 * whole.item(), 100.0 * left.item())
    return nn.ModuleDict({"standard": standard, "robust": robust, "encoder": encoder})


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description="Train the networks of the adversarial-defence application.")
    parser.add_argument("images", choices=("digits", "letters"), help="the image set")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches, views and attacks")
    parser.add_argument("--steps", type=int, default=600, help="of the classifiers; the encoder takes five times as many")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # the order of sums, and with it the result, depends on the number of threads
    torch.use_deterministic_algorithms(True)
    image_set = digit_images() if arguments.images == "digits" else letter_images()
    networks = trained(image_set, arguments.seed, arguments.steps)
    if arguments.images == "digits":
        del networks["standard"]  # the one of the attack problem serves
    save_file({name: weight.to(torch.float16) for name, weight in networks.state_dict().items()}, arguments.out)
    logger.info("wrote %s (%d bytes)", arguments.out, arguments.out.stat().st_size)


if __name__ == "__main__":
    main()
