"""The problem of the recipes: a chain of six links in the plane, whose joints are to lie where they were seen."""

import torch

from landscape_opt import LandscapeInverter, LearnedLandscape


def forward_model(angles):  # (B, 6) → (B, 6, 2)
    heading = angles.cumsum(1)
    return torch.stack([heading.cos(), heading.sin()], dim=2).cumsum(1)


def loss_fn(prediction, target):
    return (prediction - target).square().sum((1, 2))


def targets(number, seed=0, lean=0.0):
    """Joints of chains that lean to one side, (number, 6, 2)."""
    generator = torch.Generator().manual_seed(seed)
    return forward_model(lean + 0.5 * torch.randn(number, 6, generator=generator))


def new_inverter(batch_size=64):
    return LandscapeInverter(LearnedLandscape(forward_model, torch.full((6,), 0.1)), loss_fn, batch_size=batch_size)


def gain(inverter, held_out, max_evaluations=5):
    """The loss that plain descent reaches over the landscape's, medians after a few evaluations."""
    plain = inverter.unfitted().invert(held_out, max_evaluations, allow_unfitted=True)
    return float(plain.loss.median() / inverter.invert(held_out, max_evaluations).loss.median())
