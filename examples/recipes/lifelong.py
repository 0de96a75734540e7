"""What is forgotten when a fit goes on with targets of another kind, and what a rehearsal keeps of it."""

import copy
import sys

import torch

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.fitting import Rehearsal

weights = torch.Generator().manual_seed(0)
weight_in, weight_out = torch.randn(4, 64, generator=weights), torch.randn(64, 16, generator=weights) / 8


def forward_model(x):
    return torch.tanh(x @ weight_in) @ weight_out


def loss_fn(prediction, target):
    return (prediction - target).square().sum(1)


def kind(sign, generator):
    """Targets of x around (1.2, …) or (-1.2, …)."""
    return forward_model(0.5 * torch.randn(640, 4, generator=generator) + 1.2 * sign)


def at_five(inverter, targets):
    return float(inverter.invert(targets, 5).loss.median())


def main(num_seeds=2, num_rounds=30):
    print("| seed | second fit | first kind | second kind |\n| --- | --- | --- | --- |")
    for seed in range(num_seeds):
        generator = torch.Generator().manual_seed(seed)
        (first, second), (old, new) = zip(
            *((y[:128], y[128:]) for y in (kind(1, generator), kind(-1, generator))), strict=True
        )
        inverter = LandscapeInverter(LearnedLandscape(forward_model, torch.zeros(4)), loss_fn, batch_size=32, seed=seed)
        inverter.fit(old, num_rounds=num_rounds, progress=False)
        print(f"| {seed} | none so far | {at_five(inverter, first):.1e} | {at_five(inverter, second):.1e} |", flush=True)
        cases = {"without rehearsal": None, "`Rehearsal(old_targets)`": Rehearsal(old), "`Rehearsal()`": Rehearsal()}
        for label, rehearsal in cases.items():
            twin = copy.deepcopy(inverter).fit(new, num_rounds=num_rounds, rehearse=rehearsal, progress=False)
            print(f"| {seed} | {label} | {at_five(twin, first):.1e} | {at_five(twin, second):.1e} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
