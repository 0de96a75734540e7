"""Invert a style-based generator in Z, W and W+: complete pictures, halves of them, small and grey ones, unseen letters.

A landscape is fitted once for each seed, with the library's defaults, and then serves every target: also those that are half
hidden, small or grey, for which nothing is fitted again. Beside it stand Adam as StyleGAN projectors run it, an encoder, the
encoder refined, ReStyle's passes, and pivotal tuning as a ceiling. Rivals have their numbers tuned on validation targets.

    python examples/gan_inversion.py --out pictures
    python examples/gan_inversion.py --quick --out pictures   # to see that it runs; its figures say nothing
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from landscape_opt import LandscapeInverter
from landscape_opt.applications import gan
from landscape_opt.applications.gan.pictures import drawn
from landscape_opt.applications.gan.rivals import Preparation, encoders, pivotal, projector, restyle
from landscape_opt.applications.gan.table import Figures, figures, table
from landscape_opt.benchmark.sets import first
from landscape_opt.benchmark.ways import by_inverter
from landscape_opt.problems.problem import Problem, TargetSet


@dataclass(frozen=True)
class Size:
    """How much is run."""

    spaces: tuple[str, ...] = ("W", "W+", "Z")
    seeds: int = 3
    targets: int = 100  # of each of three sets
    train: int = 8192
    validation: int = 16
    seconds: float = 40.0  # of every fit
    budgets: tuple[int, ...] = (5, 20, 100)
    adam: tuple[int, ...] = (20, 500)
    tuned: int = 16  # targets of pivotal tuning
    quick: bool = False


QUICK = Size(("W",), 1, 8, 256, 8, 1.0, (5,), (5,), 2, quick=True)


def fitted(problem: Problem, seed: int, size: Size) -> LandscapeInverter:
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, seed=seed)
    return inverter.fit(problem.train, max_seconds=size.seconds, progress=False)


def degraded_rows(
    problem: Problem, inverter: LandscapeInverter, spread: float, size: Size
) -> dict[str, list[list[Figures]]]:
    """Small and grey targets, in the landscape of the complete ones: another loss on the same landscape, nothing fitted."""
    found, judge, whole = {}, gan.Judge(), problem.test["image"]
    for name, degrade, restore in (("8x8 pixels", gan.shrunk, gan.enlarged), ("grey", gan.grey, gan.grey)):
        asked = gan.degraded(problem, degrade, restore)
        again = LandscapeInverter(inverter.landscape, asked.loss_fn, memory=inverter.memory)
        runs = [(by_inverter("landscape in W", again), budget) for budget in size.budgets[-2:]]
        runs += [(projector(asked, spread, budget, "Adam in W", size.quick), budget) for budget in size.budgets[-2:]]
        some = TargetSet(targets=asked.test)
        found[name] = [[figures(way, some, budget, judge, whole)] for way, budget in runs]
    return found


def edits(w: Tensor, space: gan.WPlusSpace) -> dict[str, Tensor]:
    """Pictures of w that were found: halfway to the next, and the shape of one in the colours of the next."""
    ws, after = (each[:, None].expand(-1, space.model.num_ws, -1) for each in (w, w.roll(-1, 0)))
    coarse = torch.arange(space.model.num_ws)[:, None] < space.model.num_ws - 3
    rows = {
        "found": ws,
        "half-way to the next": 0.5 * (ws + after),
        "in the colours of the next": torch.where(coarse, ws, after),
    }
    with torch.no_grad():
        return {name: space(each) for name, each in rows.items()}


def shown(rows: list[list[Figures]], some: TargetSet) -> dict[str, Tensor]:
    """Targets as they were seen, whole, and what the first seed of every method found."""
    image = some.targets["image"]
    seen = {} if some.observed is None else {"seen": torch.where(some.observed["image"], image, 0.0)}
    found = {f"{one[0].name}, {one[0].num_evaluations}": one[0].outcome.prediction["image"] for one in rows}
    return {**seen, "target": image, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description="Invert a style-based generator of coloured letters.")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it runs")
    parser.add_argument("--spaces", nargs="+", choices=("W", "W+", "Z"), help="that landscapes are fitted in, W among them")
    parser.add_argument("--seeds", type=int, help="of the fits")
    parser.add_argument("--seconds", type=float, help="of every fit")
    parser.add_argument("--targets", type=int, help="of each of three sets")
    parser.add_argument("--out", type=Path, default=Path("gan_inversion"), help="folder for the pictures")
    arguments = parser.parse_args()
    if arguments.spaces and "W" not in arguments.spaces:
        parser.error("--spaces has to name W, in which the rivals work")
    chosen = {
        name: getattr(arguments, name)
        for name in ("spaces", "seeds", "seconds", "targets")
        if getattr(arguments, name) is not None
    }
    size = replace(QUICK if arguments.quick else Size(), **chosen)
    arguments.out.mkdir(parents=True, exist_ok=True)

    model = gan.StyleModel.of(gan.load_generator())
    spread = float(model.w_std) / len(model.w_avg) ** 0.5
    kinds = {"W": gan.WSpace, "W+": gan.WPlusSpace, "Z": gan.ZSpace}
    spaces = {name: kinds[name](model) for name in size.spaces}
    problems = {name: gan.glyph_inversion(one, size.targets, size.validation, size.train) for name, one in spaces.items()}
    landscapes = {
        name: [fitted(problem, seed, size) for seed in range(size.seeds if name == "W" else 1)]
        for name, problem in problems.items()
    }
    given = [Preparation(problems["W"], seed, size.seconds, size.quick) for seed in range(size.seeds)]
    by_seed = [encoders(one, (0, *size.budgets[-2:])) for one in given]
    once = restyle(given[0], spread, size.budgets[-2:])
    judge, tried = gan.Judge(), [(name, budget) for name in problems if name != "Z" for budget in size.adam]
    adams = [(projector(problems[name], spread, budget, f"Adam in {name}", size.quick), budget) for name, budget in tried]
    print(f"{3 * size.targets} held-out targets, {size.seeds} seeds, {size.seconds:g} s for every fit\n", flush=True)
    for name, some in problems["W"].test_sets().items():
        rows = [[figures(way, some, budget, judge)] for way, budget in adams]
        rows += [[figures(way, some, budget, judge) for way, budget in same] for same in zip(*by_seed, strict=True)]
        rows += [[figures(way, some, budget, judge)] for way, budget in once]
        rows += [
            [figures(by_inverter(f"landscape in {space}", inverter), some, budget, judge) for inverter in inverters]
            for space, inverters in landscapes.items()
            for budget in size.budgets
        ]
        print(table(name, rows), end="\n\n", flush=True)
        drawn(shown(rows, some), arguments.out / f"gan_{name.split()[0]}.png")
    inverter = landscapes["W"][0]
    for name, rows in degraded_rows(problems["W"], inverter, spread, size).items():
        print(table(name, rows), end="\n\n", flush=True)
        drawn(shown(rows, TargetSet(targets=problems["W"].test)), arguments.out / f"gan_{name.split()[0]}.png")
    some, most = first(TargetSet(targets=problems["W"].test), size.tuned), size.budgets[-1]
    ways = (by_inverter("landscape in W", inverter), pivotal(problems["W"], inverter, most))
    print(table("pivotal tuning", [[figures(way, some, most, judge)] for way in ways]))
    found = inverter.invert(first(TargetSet(targets=problems["W"].test), 16).targets, size.budgets[-1])
    drawn(edits(found.x, gan.WPlusSpace(model)), arguments.out / "gan_edits.png")


if __name__ == "__main__":
    main()
