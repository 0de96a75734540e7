r"""
Your own F
==========

You have a differentiable simulator, a measured trace, and a loop with Adam that calibrates the one to the other. This page
takes such a loop and puts a landscape in its place, step by step, on a model that the library does not know: a pendulum
with friction and drag, whose angle was recorded. It ends with the question whether that was worth it.
"""

# %%
# The loop you have
# -----------------
# The pendulum obeys :math:`\ddot\varphi = -\omega^2 \sin\varphi - c\,\dot\varphi - d\,|\dot\varphi|\,\dot\varphi`. Five
# numbers are unknown: :math:`\omega`, :math:`c`, :math:`d`, and the angle and speed at which the recording began. The
# integrator is semi-implicit Euler; all of it is ordinary PyTorch, for a batch of pendulums at once.

import math
from collections import Counter

import matplotlib.pyplot as plt
import torch

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.fitting import Cosine
from landscape_opt.solvers import LBFGS

torch.set_num_threads(1)  # with a fixed number, sums are rounded in the same order every time

SECONDS_PER_SAMPLE = 0.05
NUM_SAMPLES = 60


def simulate(omega, friction, drag, angle, speed, substeps=1):
    """Traces of the angle in rad, (B, 60), from five tensors (B,)."""
    step = SECONDS_PER_SAMPLE / substeps
    pull, brake, air = step * omega.square(), 1 + step * friction, step * drag
    trace = []
    for count in range(NUM_SAMPLES * substeps):
        speed = (speed - pull * angle.sin()) / (brake + air * speed.abs())
        angle = angle + step * speed
        if count % substeps == substeps - 1:
            trace.append(angle)
    return torch.stack(trace, dim=1)


# %%
# Choose x: a transform, and its scale
# ------------------------------------
# :math:`\omega`, :math:`c` and :math:`d` are positive. An exponential keeps them so without any constraint, and makes a
# step in x a change by some per cent. ``x`` = 0 is the data sheet, and a change by 1 is about as much as the pendulums
# of this bench differ: a descent has an easier life where all numbers in x move by about the same. (Limits that can be
# reached, as those of a joint, are ``bounds=`` at inversion time: :doc:`plot_arm_obstacle`.)

DATA_SHEET = torch.tensor([4.5, 0.3, 0.2])  # rad/s, 1/s, 1/rad
VARIATION = torch.tensor([0.5, 0.7, 0.7])  # of the logarithms


def physical(x):
    """The five tensors that ``simulate`` takes, from x (B, 5)."""
    omega, friction, drag = (DATA_SHEET * torch.exp(VARIATION * x[:, :3])).unbind(1)
    return omega, friction, drag, x[:, 3], 3.0 * x[:, 4]


# %%
# F takes ``x`` and nothing else, batched in the first dimension. What happens to one row must not depend on the others.
# The loss gives *one number per trace*: where a loop of yours ends in ``.mean()``, this ends in ``.mean(dim=1)``.


def forward_model(x):
    """x (B, 5) to traces (B, 60)."""
    return simulate(*physical(x))


def loss_fn(prediction, trace):
    """Mean squared misfit of every trace, in rad², (B,)."""
    return (prediction - trace).square().mean(dim=1)


# %%
# The measured traces. On a bench they come from an encoder; here they come from a simulation with steps an eighth as
# long, plus noise of half a degree, so that the model fits them as well as models do, and not to the last digit.

generator = torch.Generator().manual_seed(0)
NOISE = math.radians(0.5)
NUM_FIT, NUM_HELD_OUT = 2048, 256
true_x = torch.cat(
    [
        2 * torch.rand(NUM_FIT + NUM_HELD_OUT, 3, generator=generator) - 1,
        torch.randn(NUM_FIT + NUM_HELD_OUT, 2, generator=generator) * torch.tensor([0.8, 0.5]),
    ],
    dim=1,
)
traces = simulate(*physical(true_x), substeps=8)
traces = traces + NOISE * torch.randn(traces.shape, generator=generator)
fit_traces, held_out = traces[:NUM_FIT], traces[NUM_FIT:]

# %%
# And the loop itself, as it may stand in your code. It starts at the data sheet, with the pendulum 0.3 rad aside: hanging
# still, it would show no gradient to :math:`\omega`.

x_init = torch.tensor([0.0, 0.0, 0.0, 0.3, 0.0])


def calibrate_by_adam(trace, learning_rate, num_steps):
    """Best losses so far after 0, 1, … steps (num_steps + 1, B), and the best x (B, 5)."""
    x = x_init.repeat(len(trace), 1).requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=learning_rate)
    best, best_x = torch.full((len(trace),), torch.inf), x.detach().clone()
    losses = []
    for _ in range(num_steps + 1):
        optimizer.zero_grad()
        loss = loss_fn(forward_model(x), trace)
        better = loss.detach() < best
        best[better], best_x[better] = loss.detach()[better], x.detach()[better]
        losses.append(best.clone())
        loss.sum().backward()
        optimizer.step()
    return torch.stack(losses), best_x


# %%
# Its learning rate is the best of four on traces of the fit. The held-out ones are for judging alone.

BUDGET = 40
rates = (0.05, 0.1, 0.2, 0.4)
tuning = fit_traces[:64]
best_rate = min(rates, key=lambda rate: calibrate_by_adam(tuning, rate, BUDGET)[0][-1].median().item())
adam, adam_x = calibrate_by_adam(held_out, best_rate, BUDGET)
print(f"Adam: best learning rate {best_rate}")

# %%
# Wrap, fit, invert
# -----------------
# Three lines. The fit sees traces, never the numbers behind them. With ``num_rounds`` it is the same every time; a fit
# for real would get ``max_seconds=``, which also anneals the learning rate of θ, as ``Cosine`` does here.

inverter = LandscapeInverter(LearnedLandscape(forward_model, x_init), loss_fn, seed=0)
inverter.fit(fit_traces, num_rounds=14, schedule=Cosine(), progress=False)
result = inverter.invert(held_out, max_evaluations=BUDGET)

# %%
# Compare at equal evaluations
# ----------------------------
# The same inverter before any fit is L-BFGS in X, a memory and a step length for every trace. Its first step is tuned
# on the same traces as Adam's rate. One evaluation is one forward and one backward pass of F for one trace, trial
# points of line searches included.

plain = inverter.unfitted()


def by_lbfgs(trace, first_step):
    """L-BFGS from the data sheet."""
    return plain.invert(trace, BUDGET, solver=LBFGS(first_step=first_step), allow_unfitted=True)


first_steps = (None, 0.1, 0.3)
best_step = min(first_steps, key=lambda step: by_lbfgs(tuning, step).history.best[10].median().item())
lbfgs = by_lbfgs(held_out, best_step)

misfits = {f"Adam, lr {best_rate}": adam, "L-BFGS": lbfgs.history.best, "landscape": result.history.best}
CALIBRATED = 2 * NOISE**2  # a misfit of twice the noise
print(f"{'share of traces calibrated after':34}" + "".join(f"{k:>8}" for k in (2, 5, 10, 20, 40)) + " evaluations")
for name, best in misfits.items():
    shares = [(best[k] <= CALIBRATED).float().mean().item() for k in (2, 5, 10, 20, 40)]
    print(f"{name:34}" + "".join(f"{share:8.2f}" for share in shares))

# %%
# Misfit by evaluations, median and middle half of the held-out traces. The dotted line is the noise.

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, best in misfits.items():
    low, median, high = torch.quantile(best, torch.tensor([0.25, 0.5, 0.75]), dim=1)
    axes.fill_between(range(len(median)), low, high, alpha=0.2)
    axes.plot(median, label=name)
axes.axhline(NOISE**2, color="0.5", linestyle=":")
axes.set(xlabel="evaluations of the simulator", ylabel="misfit in rad²", yscale="log", title="misfit by evaluations")
axes.legend()

# %%
# What that means for a trace, the first of the held-out ones: the model as calibrated with five evaluations.

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
seconds = SECONDS_PER_SAMPLE * torch.arange(1, NUM_SAMPLES + 1)
axes.plot(seconds, held_out[0], color="0.75", linewidth=5, label="measured")
for name, x in (
    (f"Adam, lr {best_rate}", calibrate_by_adam(held_out[:1], best_rate, 5)[1]),
    ("L-BFGS", plain.invert(held_out[:1], 5, solver=LBFGS(first_step=best_step), allow_unfitted=True).x),
    ("landscape", inverter.invert(held_out[:1], 5).x),
):
    axes.plot(seconds, forward_model(x)[0], label=name)
axes.set(xlabel="seconds", ylabel="angle in rad", title="a trace, and the model as calibrated with five evaluations")
axes.legend()

# %%
# Since these traces were simulated, the parameters can be compared, too.

true_omega, found_omega = physical(true_x[NUM_FIT:])[0], physical(result.x)[0]
adam_omega = physical(adam_x)[0]
for name, found in (("Adam", adam_omega), ("landscape", found_omega)):
    error = 100 * (found / true_omega - 1).abs()
    print(f"error of omega after {BUDGET} evaluations, {name}: median {error.median():.2f} %, worst {error.max():.1f} %")

# %%
# This page claims, of traces that no fit and no tuning has seen:

share = {name: (best <= CALIBRATED).float().mean(dim=1) for name, best in misfits.items()}
adam_share, lbfgs_share, landscape_share = share.values()
assert landscape_share[10] > 0.6, "ten evaluations calibrate most traces"
assert landscape_share[10] > lbfgs_share[10] + 0.3, "and far more of them than L-BFGS does in ten"
assert landscape_share[10] > adam_share[40] + 0.3, "and than Adam does in four times as many"
assert lbfgs_share[40] > 0.9, "but with forty evaluations L-BFGS gets there without any fit"

# %%
# Check what came out
# -------------------
# Ask for a tolerance in the unit of your loss, and every trace ends as soon as it has met it, and says so. Here the
# last one is not the trace of a pendulum: its encoder has slipped, half-way, by one radian. A failure inside a batch is
# a status, never an exception.

slipped = held_out[:8].clone()
slipped[-1, NUM_SAMPLES // 2 :] += 1.0
checked = inverter.invert(slipped, BUDGET, target_loss=CALIBRATED)
print(Counter(status.name for status in checked.statuses()))
print(checked.messages()[-1])
assert checked.success[:-1].all(), "seven sound traces are calibrated"
assert not checked.success[-1], "and the eighth is reported, not hidden"

# %%
# :doc:`../status_codes` says what each of them means. :func:`landscape_opt.diagnostics.diagnose` looks deeper: which
# share arrives, how soon, and whether in the lowest basin that is known (:doc:`../diagnostics`).
#
# Does it pay?
# ------------
# The fit has spent evaluations, too. They are repaid by those that every later trace saves. Count both up to the point
# where nine traces in ten are calibrated:


def evaluations_for(nine_in_ten):
    """Evaluations until the share reaches 0.9."""
    return int((nine_in_ten >= 0.9).nonzero()[0]) if (nine_in_ten >= 0.9).any() else None


ours, theirs = evaluations_for(landscape_share), evaluations_for(lbfgs_share)
saved = theirs - ours
print(f"the fit took {inverter.num_evaluations} evaluations")
print(f"nine in ten calibrated: landscape {ours} evaluations, L-BFGS {theirs}, Adam {evaluations_for(adam_share)}")
print(f"beside L-BFGS the fit is repaid after {math.ceil(inverter.num_evaluations / saved)} traces")
assert saved > 0, "every later trace saves some evaluations"

# %%
# So: a bench that calibrates ten pendulums and is done should take L-BFGS, which is the line with
# ``allow_unfitted=True`` above. A production line with thousands, or a controller that has time for ten evaluations,
# should fit. Where you are in between, :doc:`../worth_it` measures it on a model of yours, and :doc:`../choose` names
# the other tools.
#
# Where to go from here: :doc:`plot_constraints_and_masks` (traces with gaps, priors), :doc:`../howto_structured` (an x
# or a target that is a dict), :doc:`../saving`, :doc:`../howto_realtime`.
