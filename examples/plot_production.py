r"""
From a forward model to a service
=================================

An instrument has four settings and sixteen readings, and a simulator that takes the ones to the others. A service is asked
all day which settings belong to some readings. This page goes the way from the simulator to that service: a fit that
survives the end of its process, a file and its card, a stream of requests with the status of each, the next reading of a
device that is watched, an alarm for readings unlike all before, and what to do when they have come to stay.
"""

# %%
# The simulator
# -------------
# In production this is yours, in a module that the fit and the service both import. A stand-in does here: a network with
# random weights.

import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import torch

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.card import LandscapeCard
from landscape_opt.fitting import Callback, Rehearsal, Validation
from landscape_opt.solvers import TorchOptim

torch.set_num_threads(1)  # another number of threads rounds in another order: the digits below would differ

generator = torch.Generator().manual_seed(0)
weight_in = torch.randn(4, 64, generator=generator)
weight_out = torch.randn(64, 16, generator=generator) / 8


def forward_model(settings):
    """(B, 4) to (B, 16)."""
    return torch.tanh(settings @ weight_in) @ weight_out


def loss_fn(readings, target):
    """One loss per sample."""
    return (readings - target).square().sum(dim=1)


def readings(number, centre):
    """What devices around some settings show."""
    return forward_model(centre + 0.5 * torch.randn(number, 4, generator=generator))


fit_readings, validation_readings, requests = readings(2048, 1.0), readings(64, 1.0), readings(1000, 1.0)
folder = Path(tempfile.mkdtemp())

# %%
# A fit that may be interrupted
# -----------------------------
# ``validation`` inverts held-out readings every few rounds and keeps the best landscape. ``checkpoint`` names a folder. Here
# a callback ends the process, so to speak, in the third round; the same call in a new process goes on from the last file.


def new_inverter():
    """As it is made at the top of every process."""
    return LandscapeInverter(LearnedLandscape(forward_model, torch.zeros(4)), loss_fn, batch_size=64, seed=0)


class PowerCut(Callback):
    """Fails in one of the rounds, or in none."""

    def __init__(self, in_round=None):
        self.in_round = in_round

    def on_round_end(self, *, record, **context):
        """Told of every round."""
        if record.round == self.in_round:
            raise RuntimeError("power cut")


def fitted(num_rounds, checkpoint=None, power_cut=None):
    """The line that every process calls."""
    validation = Validation(validation_readings, budgets=(0, 1, 2, 5, 10), every=3)
    return new_inverter().fit(
        fit_readings,
        num_rounds=num_rounds,
        validation=validation,
        checkpoint=checkpoint,
        callbacks=[PowerCut(power_cut)],
        progress=False,
    )


try:
    fitted(6, folder / "run", power_cut=2)
except RuntimeError as error:
    print("interrupted:", error)
resumed = fitted(6, folder / "run")

# %%
# The claim of checkpoints: this is, to the bit, the fit that was never interrupted.

whole = fitted(6)
same = zip(resumed.landscape.parameters(), whole.landscape.parameters(), strict=True)
assert all(torch.equal(ours, other) for ours, other in same), "a fit that was resumed ends as if never interrupted"

# %%
# Six rounds are few. The number of rounds may be raised, and the fit goes on from its folder:

inverter = fitted(20, folder / "run")
print("rounds in all:", len(inverter.history))
record = [one.validation for one in inverter.history if one.validation is not None][-1]
print(f"{'median loss after':20}", *[f"{budget:8}" for budget in record.budgets])
for name, losses in (("landscape", record.median), ("plain descent", record.plain_median)):
    print(f"{name:20}", *[f"{loss:8.1e}" for loss in losses])
assert record.pays, "where it does not pay, stop here"

# %%
# A file, its card, and another process
# -------------------------------------
# No pickle is written. F and the loss are code and are not saved: the service brings them again.

inverter.save(folder / "instrument.landscape")
card = LandscapeCard.read(folder / "instrument.landscape")
print(f"x {card.x}, fitted for {card.fit.rounds} rounds")
assert card.is_of(folder / "instrument.landscape")

service = LandscapeInverter.load(folder / "instrument.landscape", forward_model, loss_fn)
assert torch.equal(service.invert(requests[:8], 10).x, inverter.invert(requests[:8], 10).x), "the same bits as before saving"

# %%
# A stream of requests
# --------------------
# A thousand requests, 128 rows at a time through F; a row that has met its tolerance makes room for the next. One of them
# comes from a broken device and cannot be explained by any settings. It ends with another status, and stops nobody.

requests[7] = 3.0
level = 1e-4
result = service.invert(requests, max_evaluations=20, target_loss=level, max_batch_size=128)
print(Counter(status.name for status in result.statuses()))
print(
    "evaluations of a request: mean",
    round(float(result.num_evaluations.float().mean()), 2),
    "most",
    int(result.num_evaluations.max()),
)
print(result.messages()[7])
assert not result.success[7]
assert result.success.float().mean() > 0.98, "all but the broken one, or nearly so, within 20 evaluations"

# %%
# Without a fit? L-BFGS from the plain start, and Adam with a rate that is tuned on readings of the fit, to the same level:

plain = service.unfitted()
asked = {"max_evaluations": 200, "target_loss": level, "allow_unfitted": True}


def spent(some, target, **options):
    """Evaluations of every row until the level, 200 where it is never reached."""
    return some.invert(target, **asked, **options).num_evaluations.float()


def adam(rate):
    """Adam on x, as a solver."""
    return TorchOptim(plain.landscape.plain(), partial(torch.optim.Adam, lr=rate))


few = requests[100:356]
rate = min((0.03, 0.1, 0.3), key=lambda rate: float(spent(plain, fit_readings[:128], solver=adam(rate)).mean()))
by_adam, by_lbfgs, ours = spent(plain, few, solver=adam(rate)), spent(plain, few), spent(service, few)
print(f"mean evaluations to a loss of {level}:")
print(f"Adam {by_adam.mean():.1f}, L-BFGS {by_lbfgs.mean():.1f}, landscape {ours.mean():.1f}")
assert ours.mean() < 0.6 * min(by_adam.mean(), by_lbfgs.mean()), "three fifths of the better rival's evaluations should do"

# %%
# Evaluations are one thing and milliseconds another: where F takes microseconds, as here, what surrounds it counts for more.
# So measure both on your machine, with the batch size of your requests.

history = service.invert(few, 10).history.best
unfitted = plain.invert(few, 10, allow_unfitted=True).history.best
budgets = (1, 3, 6, 10)


def milliseconds(some, budget):
    """The fastest of three calls for one request."""
    times = []
    for _ in range(3):
        began = perf_counter()
        some.invert(few[:1], budget, allow_unfitted=True)
        times.append(1000 * (perf_counter() - began))
    return min(times)


figure, panels = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
for name, some, losses in (("L-BFGS, plain start", plain, unfitted), ("landscape", service, history)):
    panels[0].plot(losses.median(dim=1).values.clamp_min(1e-14), "o-", markersize=3, label=name)
    panels[1].plot(budgets, [milliseconds(some, budget) for budget in budgets], "o-", markersize=3, label=name)
panels[0].axhline(level, color="0.5", linestyle=":")
panels[0].set(yscale="log", xlabel="evaluations", ylabel="median loss", title="what evaluations buy")
panels[1].set(xlabel="evaluations", ylabel="ms for one request", ylim=(0, None), title="and what they cost")
_ = panels[0].legend()

# %%
# Left the loss by evaluations, medians over 256 requests, the level dotted. Right the time of a call with one request, on
# the machine that made this page. What counts is the time to the level.
#
# The next reading of a device that is watched
# --------------------------------------------
# Settings drift, and the answer a moment ago is a good start. ``warm_start`` takes the last result.

path = torch.linspace(0.0, 1.0, 40)[:, None] * torch.tensor([0.6, -0.4, 0.5, 0.3]) + torch.tensor([0.7, 1.2, 0.8, 0.9])
frames = forward_model(path)
counts = {}
for name in ("cold", "warm"):
    last, counts[name] = None, 0
    for frame in frames:
        last = service.invert(frame[None], 20, warm_start=last if name == "warm" else None, target_loss=level)
        assert last.success.all(), "every frame reaches the level"
        counts[name] += int(last.num_evaluations)
print("evaluations for 40 frames:", counts)
assert counts["warm"] < counts["cold"], "the last answer should save evaluations"

# %%
# Readings unlike all before
# --------------------------
# Two scores cost nothing beside the inversion. The first loss, over its mean at the end of the fit, says how good the
# learned start is for this request. And the memory knows predictions that were met: the distance to the nearest of them
# says whether anything like this request has been seen. An alarm is set at what one in a hundred validation readings
# exceeds.

first_of_fit = sum(one.trajectory_loss[0] for one in inverter.history[-10:]) / 10


def scores(target):
    """First loss over that of the fit, and the loss of the nearest stored prediction; (B,) each."""
    first = service.invert(target, 1).history.loss[0] / first_of_fit
    return {
        "first loss": first,
        "memory": service.memory.nearest(target, lambda _, stored, y: loss_fn(stored, y)).loss[:, 0],
    }


shifted = readings(1000, -1.0)  # a new kind of device
familiar = {name: score.quantile(0.99) for name, score in scores(validation_readings).items()}
for name, score in scores(shifted).items():
    rings = 100 * float((score > familiar[name]).float().mean())
    false = 100 * float((scores(few)[name] > familiar[name]).float().mean())
    print(f"{name:11} rings for {rings:3.0f} % of the new kind and {false:3.0f} % of familiar requests")
    assert rings > 90 > 10 > false, "the alarm tells the new kind from the old"

# %%
# When they have come to stay
# ---------------------------
# First aid without a fit: invert some of the new kind with many evaluations, and let the memory have the answers.
# Then fit on, with a share of old readings in every batch, so that the old kind is not lost.

new_kind, new_held_out, old_held_out = shifted[:700], shifted[700:], requests[400:700]


def load():
    """A copy of the service, to be changed."""
    return LandscapeInverter.load(folder / "instrument.landscape", forward_model, loss_fn)


def after_two(some):
    """Median losses of both kinds at two evaluations."""
    return [float(some.invert(target, 2).loss.median()) for target in (old_held_out, new_held_out)]


solved = service.invert(new_kind, 40, target_loss=level)
remembering = load()
remembering.remember(solved.x[solved.success])
forgetful = load().fit(new_kind, num_rounds=6, progress=False)
rehearsed = load().fit(new_kind, num_rounds=6, rehearse=Rehearsal(fit_readings, share=0.25), progress=False)

kinds = {"as it was": service, "remember()": remembering, "fitted on": forgetful, "with rehearsal": rehearsed}
losses = {name: after_two(some) for name, some in kinds.items()}
print(f"{'median loss after 2':22}{'old kind':>10}{'new kind':>10}")
for name, (old, new) in losses.items():
    print(f"{name:22}{old:10.1e}{new:10.1e}")
assert losses["remember()"][1] < losses["as it was"][1], "the memory helps with the new kind at once"
assert losses["with rehearsal"][1] < losses["remember()"][1], "a fit helps more"
assert losses["with rehearsal"][0] < losses["fitted on"][0], "and rehearsal keeps the old kind"

# %%
# The page on lifelong fitting has a harder look at this, with seeds, and a case in which there was little to forget.

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for place, (kind, colour) in enumerate((("old kind", "#0369a1"), ("new kind", "#c2410c"))):
    heights = [pair[place] for pair in losses.values()]
    axes.plot(list(losses), heights, "o", color=colour, markersize=9, label=kind)
axes.set(yscale="log", ylabel="median loss after 2 evaluations", title="when a new kind of readings comes")
axes.grid(axis="y", color="0.9")
axes.legend()
plt.show()

# %%
# Both kinds of held-out readings at two evaluations: with the landscape as it was, with answers remembered, and after a
# second fit without and with old readings among the new.
#
# All files of this page lie in a temporary folder. With a forward model of your own, give the fit ``max_seconds=`` of what
# the problem is worth, and ``landscape-opt card FILE`` prints the card.
#
# Where to go from here
# ---------------------
# * :doc:`/fitting` and :doc:`/saving`: what is in the files, and what is checked when they are read.
# * :doc:`/howto_realtime`: deadlines, smooth motion, small batches.
# * :doc:`/status_codes`: what each status asks of you.
# * :doc:`/lifelong` and :doc:`/diagnostics`: new kinds of targets, and what a landscape looks like.
# * :doc:`/worth_it`: whether all of this pays.
