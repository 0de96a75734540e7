r"""
Several answers, where one is not enough
========================================

A gripper is to stand at a point and look in a direction. An arm of three links can do that with its elbow on one side or on
the other, and a descent ends at one of the two. Which of them you want may be decided by something that the target does not
say. ``num_hypotheses=`` returns several answers for every target, the best first.

For this arm both solutions are known in closed form, so the page can count what was found. With a closed form you would use
that; the arm stands for models that have none.
"""

# %%
# The arm, and its two solutions
# ------------------------------
# x are three joint angles, the prediction is where the gripper is and where it looks.

import math

import matplotlib.pyplot as plt
import torch

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.fitting import Cosine
from landscape_opt.hypotheses import LatinHypercube, Scattered

torch.set_num_threads(1)  # another number of threads rounds in another order: the digits below would differ

LINKS = torch.tensor([1.0, 0.8, 0.4])  # m


def joints(angles):
    """Elbow, wrist and gripper in the plane, (B, 3) to (B, 3, 2) in m."""
    heading = angles.cumsum(1)
    return (LINKS[:, None] * torch.stack([heading.cos(), heading.sin()], dim=2)).cumsum(1)


def forward_model(angles):
    """The place of the gripper and its direction, (B, 3) to (B, 4)."""
    heading = angles.sum(1)
    return torch.cat([joints(angles)[:, 2], torch.stack([heading.cos(), heading.sin()], dim=1)], dim=1)


def loss_fn(prediction, target):
    """One loss per sample, in m²; a radian of direction counts like a metre."""
    return (prediction - target).square().sum(dim=1)


def both_solutions(target):
    """The closed form, (B, 4) to (B, 2, 3)."""
    wrist = target[:, :2] - LINKS[2] * target[:, 2:]
    heading = torch.atan2(target[:, 3], target[:, 2])
    bend = ((wrist.square().sum(1) - LINKS[0] ** 2 - LINKS[1] ** 2) / (2 * LINKS[0] * LINKS[1])).clamp(-1, 1).acos()
    solutions = []
    for elbow in (bend, -bend):
        shoulder = torch.atan2(wrist[:, 1], wrist[:, 0])
        shoulder = shoulder - torch.atan2(LINKS[1] * elbow.sin(), LINKS[0] + LINKS[1] * elbow.cos())
        solutions.append(torch.stack([shoulder, elbow, heading - shoulder - elbow], dim=1))
    return torch.stack(solutions, dim=1)


def arms(number, generator):
    """Random arms, half of them bent to either side, by 0.4 to 2.2 rad."""
    shoulder, hand = 0.8 * torch.randn(number, generator=generator), 0.6 * torch.randn(number, generator=generator)
    side = torch.where(torch.rand(number, generator=generator) < 0.5, -1.0, 1.0)
    return torch.stack([shoulder, side * (0.4 + 1.8 * torch.rand(number, generator=generator)), hand], dim=1)


generator = torch.Generator().manual_seed(0)
targets = forward_model(arms(2048 + 128 + 256, generator))
fit_targets, tuning, held_out = targets.split([2048, 128, 256])
reached = forward_model(both_solutions(held_out).flatten(0, 1)).reshape(256, 2, 4)
assert (reached - held_out[:, None]).abs().max() < 1e-4, "the closed form is right"

# %%
# One answer
# ----------

inverter = LandscapeInverter(LearnedLandscape(forward_model, torch.full((3,), 0.3)), loss_fn, batch_size=128, seed=0)
inverter.fit(fit_targets, num_rounds=20, schedule=Cosine(), progress=False)
plain = inverter.unfitted()  # L-BFGS from the plain start, row by row

one = inverter.invert(held_out, max_evaluations=12)
print(f"one answer, 12 evaluations: median loss {float(one.loss.median()):.1e} in the landscape,")
print(f"    {float(plain.invert(held_out, 12, allow_unfitted=True).loss.median()):.1e} by L-BFGS from the plain start")

# %%
# Eight answers
# -------------
# ``max_evaluations`` is the budget of each. After 8, 16, 32, … evaluations the weaker half of a target's hypotheses is given
# up, and ``num_evaluations`` counts all that was spent. ``found.loss`` is ascending, ``found.num_distinct`` says how many of
# the answers differ from all better ones, and ``found.status`` how each ended.

result = inverter.invert(held_out, max_evaluations=12, num_hypotheses=8)
found = result.hypotheses
print("x:", tuple(found.x.shape), " losses of the first target:", [f"{loss:.0e}" for loss in found.loss[0].tolist()])
print("evaluations for all eight, mean:", float(result.num_evaluations.float().mean()))

# %%
# Who knows the two solutions can say which of them is among the eight. Angles are compared up to whole turns. To
# ``num_distinct`` an angle and the same plus a turn are two answers, since it knows x as numbers and nothing of what they
# mean; so it may exceed two.


def sides_found(some, target, tolerance=1e-4):
    """Which of the two solutions is among the hypotheses, (B, 2) of True and False."""
    away = some.x[:, :, None] - both_solutions(target)[:, None]
    away = (away + math.pi).remainder(2 * math.pi) - math.pi
    near = (away.norm(dim=3) < 0.1) & (some.loss < tolerance)[:, :, None]
    return near.any(dim=1)


def share_with_both(some_inverter, target, budget, starts=None):
    """Percent of the targets of which both solutions are found by eight hypotheses."""
    asked = some_inverter.invert(target, budget, num_hypotheses=8, starts=starts, allow_unfitted=True)
    return 100.0 * float(sides_found(asked.hypotheses, target).all(dim=1).float().mean())


# %%
# The rival is multi-start: L-BFGS from eight points, with the same evaluations and no fit. Where its starts lie is the
# best of three on tuning targets, for every budget. The landscape's own starts are the default, :class:`Remembered
# <landscape_opt.hypotheses.Remembered>`: its own start, and the most different of the points that the fit has met and that
# suit the target. A second row of it takes a box of starts like the rival.

places = {"±2": LatinHypercube(-2.0, 2.0), "±π": LatinHypercube(-math.pi, math.pi), "scattered": Scattered()}
print("both solutions found, % of 256 targets")
print(f"{'evaluations of each':>20}{'multi-start':>24}{'landscape':>12}{'and starts in ±2':>18}")
shares = {}
for budget in (6, 12, 24):
    best = max(places, key=lambda name: share_with_both(plain, tuning, budget, places[name]))
    rival = share_with_both(plain, held_out, budget, places[best])
    ours, boxed = (share_with_both(inverter, held_out, budget, starts) for starts in (None, places["±2"]))
    shares[budget] = (rival, ours, boxed)
    print(f"{budget:20}{f'{rival:.0f} ({best})':>24}{ours:12.0f}{boxed:18.0f}")

# %%
# The claim: at six evaluations each, the landscape has both solutions of most targets, and multi-start of next to none.

rival, ours, _ = shares[6]
assert ours > 60 > 10 > rival, "eight hypotheses of six evaluations should show both solutions"

# %%
# The longer the budget, the less of this is left. With 24 evaluations each, multi-start in a good box finds more than the
# landscape's default starts do: these lean to what the fit has met most. Where evaluations are cheap and the basins few and
# wide, as here, take multi-start.

rival, ours, _ = shares[24]
assert rival > ours, "with a long budget multi-start wins here, and the page says so"

# %%
# Which one do you want?
# ----------------------
# Both solutions have loss zero, so the loss does not tell. Today there is a table below, and neither elbow nor wrist may be
# under its edge. That is a further term of this inversion, and with it the losses differ and rank the answers. Look at the
# targets of which exactly one solution is clear of the table.

EDGE = -0.1  # m


def above_the_table(angles, _prediction):
    """Squared depths of elbow and wrist below the edge, (B,)."""
    return 10.0 * (EDGE - joints(angles)[:, :2, 1]).clamp_min(0.0).square().sum(dim=1)


solutions = both_solutions(held_out)
clear = torch.stack([above_the_table(solutions[:, side], None) == 0 for side in (0, 1)], dim=1)
asked = held_out[clear.sum(dim=1) == 1]

ranked = inverter.invert(asked, 12, num_hypotheses=8, extra_terms=[above_the_table])
most = int(ranked.num_evaluations.max())
single = inverter.invert(asked, most, extra_terms=[above_the_table])
alone = inverter.invert(asked, most, extra_terms=[above_the_table], restarts=False)
print(f"{len(asked)} targets with one clear solution, at most {most} evaluations for each")
for name, answer in (("best of 8 hypotheses", ranked), ("one, with restarts", single), ("one, without restarts", alone)):
    share = 100 * float((answer.loss < 1e-4).float().mean())
    print(f"{name:24}{share:5.0f} % clear, mean loss {float(answer.loss.mean()):.4f}")
assert (ranked.loss < 1e-4).float().mean() > (alone.loss < 1e-4).float().mean(), "one descent ends on its side of the table"

# %%
# A single inversion need not stay where it is: a row that gets nowhere starts again at a point of the memory, which the
# term has ranked. That is what restarts are for. Hypotheses give more than the best answer: all of them, to choose from.

figure, panels = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained", sharex=True, sharey=True)
figure.suptitle("two ways to reach a point, and a table", fontsize=10)
free = inverter.invert(asked[:4], 12, num_hypotheses=8).hypotheses
for row, panel in enumerate(panels):
    panel.axhspan(-0.9, EDGE, color="0.92")
    for rank in range(7, -1, -1):
        chain = torch.cat([torch.zeros(1, 2), joints(free.x[row, rank : rank + 1])[0]])
        arrived = bool(free.loss[row, rank] < 1e-4)
        panel.plot(*chain.T, "-", color="#0369a1" if arrived else "0.7", linewidth=4 if arrived else 1)
    chain = torch.cat([torch.zeros(1, 2), joints(ranked.x[row : row + 1])[0]])
    panel.plot(*chain.T, "o-", color="#fb923c", linewidth=1.2, markersize=4)
    panel.plot(*asked[row, :2], "k*", markersize=9)
    panel.set(aspect="equal", xlim=(-0.4, 2.1), ylim=(-0.9, 1.3), title=f"target {row}")
plt.show()

# %%
# The first four of these targets (stars). Blue: those of eight hypotheses that reach it, without the table; grey: those
# that had not arrived when they were given up. Orange: the best of eight when the table, which is shaded, is part of what
# is asked.
#
# Nothing here says how probable an answer is. The spread of hypotheses is no error bar; where you need one, take a method
# that samples from a posterior.
#
# Where to go from here
# ---------------------
# * :doc:`/asking`: other starts, masks, terms and bounds.
# * :doc:`/applications/human_pose`: ten hypotheses of a body, and which of them is right.
# * :doc:`/choose`: multi-start, simulation-based inference, and when to take them.
