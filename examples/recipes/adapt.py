"""What invert(adapt=...) is worth on targets unlike those of the fit: python examples/recipes/adapt.py arm 40"""

import sys

from landscape_opt import Adaptation, LandscapeInverter
from landscape_opt.problems import arm, camera, panda

PROBLEMS = {"arm": arm, "camera": camera, "panda": panda}
BUDGETS = (20, 40, 100)


def line(label, found, taken=0):
    """Median and mean loss at budgets from which learning took its part."""
    cells = []
    for budget in BUDGETS:
        row = found.history.best[min(budget - taken, len(found.history.best) - 1)] if budget > taken else None
        cells.append("–" if row is None else f"{float(row.median()):.1e} / {float(row.mean()):.1e}")
    return f"| {label} | " + " | ".join(cells) + " |"


def main(name="arm", num_rounds=40, number=256):
    problem = PROBLEMS[name]()
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)
    inverter.fit(problem.train, num_rounds=num_rounds, progress=False)
    for some in (problem.unfamiliar, problem.partly):
        print(f"\n{name}: {some.described_as}; median / mean loss of {number} targets, fit of {num_rounds} rounds\n")
        print("| | " + " | ".join(f"{budget} evaluations" for budget in BUDGETS) + " |\n|" + " --- |" * (1 + len(BUDGETS)))
        asked = {"extra_terms": some.extra_terms}
        if some.observed is not None:
            asked["observed"] = some.observed[:number]
        targets = some.targets[:number]
        print(line("as fitted", inverter.invert(targets, BUDGETS[-1], **asked)), flush=True)
        for rounds, rate in ((10, 5e-4), (20, 5e-4), (20, 1e-7)):
            adapted = inverter.invert(targets, BUDGETS[-1], adapt=Adaptation(rounds, learning_rate=rate), **asked)
            label = f"`Adaptation({rounds})`" if rate == 5e-4 else f"{rounds} rounds, θ all but still"
            print(line(label, adapted, rounds), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:4]))
