"""Does reversing attacks in a learned landscape defend a classifier? Tables of accuracy against steps, and pictures.

    python examples/adversarial_defence.py --out defence

Two image sets, a standard and an adversarially trained classifier for each, attacks that do not know of the defence, and
attacks through it. The defence is compared with itself without learning: plain reversal. ``--quick`` is a run in a minute
with small numbers that say nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from landscape_opt.applications import defence as d
from landscape_opt.applications.defence.pictures import draw_accuracies, draw_images
from landscape_opt.applications.defence.report import Row, steps_table, table
from landscape_opt.solvers import LBFGS, Backtracking, TorchOptim


@dataclass(frozen=True)
class Size:
    """How much is done."""

    seeds: tuple[int, ...] = (0, 1, 2)
    targets: int = 300
    rounds: int = 6
    steps: tuple[int, ...] = (1, 2, 5, 10)
    attack_steps: int = 20


QUICK = Size(seeds=(0,), targets=16, rounds=1, steps=(1, 5), attack_steps=2)


def attacks(ball, size):
    """Attacks made without the defence, each to the end: their images have to survive a correction."""
    n = size.attack_steps
    return [d.FGSM(ball), d.PGD(ball, n), d.PGD(ball, n, loss=d.margin, name="CW"), d.auto_attack_like(ball, n)]


def crafted_on(classifier, other, data, ball, size, seed):
    """Images by every attack on this classifier, and by PGD on the other one."""
    threats = [d.Threat(attack, d.Undefended(classifier), attack.name) for attack in attacks(ball, size)]
    threats.append(d.Threat(d.PGD(ball, size.attack_steps), d.Undefended(other), "transfer"))
    return [threat.craft(data, seed) for threat in threats]


def fitted(supervision, classifier, train, ball, size, seed):
    """A landscape fitted on attacked images; no label enters but the attacker's."""
    threat = d.Threat(d.PGD(ball, size.attack_steps), d.Undefended(classifier), "PGD")
    images = torch.cat([threat.craft(train, seed).images, train.images])
    return supervision.inverter(seed).fit(images, num_rounds=size.rounds, progress=False)


def check_plain(supervision, classifier, validation, ball, size):
    """Print what plain reversal's solvers do in ten steps on attacked validation images.

    The comparison takes backtracking: it has no number to tune, and it is the one that can be unrolled exactly, so that the
    adaptive attack on plain reversal is not weaker than that on the landscape.
    """
    inverter, some = supervision.inverter(), validation.first(size.targets)
    plain = inverter.landscape.plain()
    solvers = {"backtracking": Backtracking(), "L-BFGS": LBFGS()}
    solvers |= {f"SGD lr {rate}": TorchOptim(plain, partial(torch.optim.SGD, lr=rate)) for rate in (4.0, 16.0, 64.0)}
    solvers |= {f"Adam lr {rate}": TorchOptim(plain, partial(torch.optim.Adam, lr=rate)) for rate in (0.1, 0.3)}
    images = d.Threat(d.PGD(ball, size.attack_steps), d.Undefended(classifier), "PGD").craft(some).images
    losses = [d.Reversal(classifier, inverter, 0).correct(shown).loss.mean() for shown in (some.images, images)]
    print("Self-supervised loss of validation images: {:.3f}, attacked {:.3f}".format(*losses))
    for name, solver in solvers.items():
        corrected = d.Reversal(classifier, inverter, 10, solver=solver)(images)
        print(f"{name}: {100.0 * (corrected.argmax(1) == some.labels).float().mean():.1f} % right", flush=True)


def compared(image_set, networks, size):
    """The rows of both classifiers: without a defence, plain reversal, and the landscape."""
    data, ball = image_set.test.first(size.targets), d.LInf(image_set.radius)
    radius = image_set.radius / 0.6  # a correction may go farther than an attack
    supervision = d.Supervision.contrastive(networks.encoder, image_set.train.images[:256], radius=radius)
    check_plain(supervision, networks.standard, image_set.validation, ball, size)
    records = {}
    for seed in size.seeds:
        learned = fitted(supervision, networks.standard, image_set.train, ball, size, seed)
        pairs = {"standard": (networks.standard, networks.robust), "robust": (networks.robust, networks.standard)}
        for role, (classifier, other) in pairs.items():
            crafted = crafted_on(classifier, other, data, ball, size, seed)
            through = d.StraightThrough(d.Reversal(classifier, supervision.inverter(), 5))
            crafted.append(d.Threat(d.PGD(ball, size.attack_steps), through, "other defence").craft(data, seed))
            ways = [("none", d.Reversal(classifier, supervision.inverter(), 0))]
            ways += [("plain", d.Reversal(classifier, supervision.inverter(), k)) for k in size.steps]
            ways += [("landscape", d.Reversal(classifier, learned, k)) for k in (0, *size.steps)]
            for name, reversal in ways:
                adaptive = d.adaptive_threats(reversal, ball, size.attack_steps)
                record = d.evaluate(reversal, data, crafted=crafted, adaptive=adaptive, seed=seed)
                records.setdefault((role, name, reversal.num_steps), []).append(record)
                row = Row(f"seed {seed}, {role}, {name}", (record,))
                print(row.defence, row.num_steps, *[f"{key} {value:.1f}" for key, value in row.means.items()], flush=True)
    rows = {role: [] for role in ("standard", "robust")}
    for (role, name, _), found in records.items():
        rows[role].append(Row(name, tuple(found)))
    return rows, learned, ball


def main():
    """Print the tables and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, with numbers that say nothing")
    parser.add_argument("--out", type=Path, default=Path("defence"), help="folder of the pictures")
    parser.add_argument("--only", choices=("digits", "letters"), help="one image set")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else Size(seeds=tuple(range(arguments.seeds)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    sets = {"digits": (d.digit_images, d.digit_networks), "letters": (d.letter_images, d.letter_networks)}
    for images, trained in [sets[arguments.only]] if arguments.only else sets.values():
        image_set, networks = images(), trained()
        rows, learned, ball = compared(image_set, networks, size)
        for role, some in rows.items():
            print(f"\n{image_set.name}, {role} classifier, {size.targets} test images, {len(size.seeds)} seeds\n")
            by_name = [[row for row in some if row.defence == name] for name in ("plain", "landscape")]
            print(f"{table(some)}\n\n{steps_table(*by_name)}", flush=True)
        reversal = d.Reversal(networks.standard, learned, 5)
        draw_accuracies(rows, image_set.name, arguments.out / f"defence_{image_set.name}_accuracy.svg")
        draw_images(image_set, networks.standard, reversal, ball, arguments.out / f"defence_{image_set.name}_images.png")


if __name__ == "__main__":
    main()
