r"""
Constraints and masks, without fitting again
============================================

A generator draws handwritten digits, and a landscape was fitted to invert it: which latent vector draws this digit? Then
come questions that the fit was never asked. Half of the digit is missing. Some pixels are noisier than others. The latent
vector is to be a likely one, or to stay in a box. Something is known of every digit from elsewhere. Each of them is an
argument of ``invert``, and all of them are asked of one landscape.
"""

# %%
# Fit once, on complete digits
# ----------------------------
# ``F`` maps 32 numbers to 8 by 8 pixels; the loss is the sum of squared differences. The digits are those of
# scikit-learn, and neither generator nor landscape has seen the test digits.

from functools import partial

import matplotlib.pyplot as plt
import torch

from landscape_opt import LandscapeInverter, PerTarget, Stage
from landscape_opt.fitting import Cosine
from landscape_opt.problems import digits
from landscape_opt.solvers import LBFGS

torch.set_num_threads(1)  # with a fixed number, sums are rounded in the same order every time

problem = digits()
inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, seed=0)
inverter.fit(problem.train, num_rounds=6, schedule=Cosine(), progress=False)

BUDGET = 20
validation, truth = problem.validation[:32], problem.test[:64]

# %%
# A mask: half of the digit is hidden
# -----------------------------------
# ``observed`` is True where something was seen. The rest may hold anything, NaN here: it is never looked at. The
# question is what the *hidden* half looks like in the answer, so that is what errors below are of.

left = torch.arange(8) < 4


def with_hidden_half(images):
    """Digits with NaN on the right, and the mask, both (B, 8, 8)."""
    observed = left.expand_as(images)
    return images.masked_fill(~observed, torch.nan), observed


def hidden_error(result, images):
    """Squared error of the right half, (B,)."""
    return (result.prediction - images)[:, :, 4:].square().sum((1, 2))


target, observed = with_hidden_half(truth)
masked = inverter.invert(target, BUDGET, observed=observed)
mean_digit = problem.train.mean(0)
answers = {"mask alone": masked}
print(f"error of the hidden half: {hidden_error(masked, truth).mean():.2f} for the answers,", end=" ")
print(f"{(truth - mean_digit)[:, :, 4:].square().sum((1, 2)).mean():.2f} for the mean of all digits")

# %%
# A prior, as an extra term
# -------------------------
# The seen half can be matched by unlikely latent vectors, with anything on the right. The generator was trained on
# normal vectors, so :math:`w\lVert x\rVert^2` is the prior that belongs to it. ``extra_terms`` are functions of x and
# the prediction, one number per row. Its weight is chosen on validation digits, and for each rival by itself.

WEIGHTS = (0.01, 0.03)


def prior(weight):
    """What is added to the loss."""
    return [lambda x, _prediction: weight * x.square().sum(1)]


def best_of(method, settings):
    """The setting with which the hidden half of validation digits is best on average."""
    some, seen = with_hidden_half(validation)
    return min(settings, key=lambda setting: hidden_error(method(some, seen, *setting), validation).mean().item())


def by_landscape(some, seen, weight):
    """The landscape with a prior."""
    return inverter.invert(some, BUDGET, observed=seen, extra_terms=prior(weight))


unfitted = inverter.unfitted()


def by_lbfgs(some, seen, weight, first_step):
    """L-BFGS from the mean of the prior."""
    solver = LBFGS(first_step=first_step)
    return unfitted.invert(some, BUDGET, observed=seen, extra_terms=prior(weight), solver=solver, allow_unfitted=True)


def by_adam(some, seen, weight, rate):
    """Adam from the mean of the prior."""
    loop = LandscapeInverter(problem.landscape(), problem.loss_fn, z_optimizer=partial(torch.optim.Adam, lr=rate))
    return loop.invert(some, BUDGET, observed=seen, extra_terms=prior(weight), allow_unfitted=True)


(weight,) = best_of(by_landscape, [(weight,) for weight in WEIGHTS])
lbfgs_settings = best_of(by_lbfgs, [(weight, step) for weight in WEIGHTS for step in (None, 0.3)])
adam_settings = best_of(by_adam, [(weight, rate) for weight in WEIGHTS for rate in (0.07, 0.14)])
answers[f"prior, weight {weight}"] = with_prior = by_landscape(target, observed, weight)
rivals = {
    "L-BFGS, weight {}, first step {}".format(*lbfgs_settings): by_lbfgs(target, observed, *lbfgs_settings),
    "Adam, weight {}, lr {}".format(*adam_settings): by_adam(target, observed, *adam_settings),
}

# %%
# Something known of every target
# -------------------------------
# Say that a line scanner has counted the ink in every row of the whole digit. That is eight numbers for each of them,
# so it goes into a :class:`~landscape_opt.PerTarget`, which hands to the term those rows of ``told`` that it is asked
# about: a batch becomes smaller as its targets end.


def row_ink(_x, prediction, told):
    """Squared difference of the ink in every row, (B,)."""
    return 0.3 * (prediction.sum(2) - told).square().sum(1)


ink = PerTarget(row_ink, truth.sum(2))
answers["prior, and the ink of every row"] = with_ink = inverter.invert(
    target, BUDGET, observed=observed, extra_terms=[*prior(weight), ink]
)

# %%
# A box
# -----
# ``bounds`` keep every number in x between two limits, for all points of the descent. Points are projected, so that the
# limits themselves can be answers.

answers["box ±1"] = boxed = inverter.invert(target, BUDGET, observed=observed, bounds=(-1.0, 1.0))

# %%
# Stages
# ------
# One thing after another: a strong prior for five evaluations, then the weak one from where that ended. The budget is
# that of both together.

first = Stage(5, observed=observed, extra_terms=prior(10 * weight))
answers["stages, strong prior first"] = staged = inverter.invert(
    target, BUDGET, observed=observed, extra_terms=prior(weight), stages=[first]
)

print(f"{'after 20 evaluations':38}{'hidden half':>12}{'seen half':>11}{'ink of a row':>14}{'largest x':>11}")
for name, answer in (rivals | answers).items():
    seen_error = (answer.prediction - truth)[:, :, :4].square().sum((1, 2)).mean()
    off = (answer.prediction - truth).sum(2).abs().mean()
    print(f"{name:38}{hidden_error(answer, truth).mean():12.2f}{seen_error:11.2f}{off:14.2f}{answer.x.abs().max():11.2f}")

# %%
# The first eight test digits. From above: what was seen, the best of the rivals, the landscape with the mask alone, with
# the prior, with the ink as well, and the truth.

best_rival = min(rivals, key=lambda name: hidden_error(rivals[name], truth).mean().item())
rows = {
    "seen": target,
    "rival": rivals[best_rival].prediction,
    "mask": masked.prediction,
    "prior": with_prior.prediction,
    "ink": with_ink.prediction,
    "truth": truth,
}
figure, grid = plt.subplots(6, 8, figsize=(7, 5.4), layout="constrained")
figure.suptitle("digits of which half was seen, four answers to each, and the truth", fontsize=10)
palette = plt.get_cmap("gray_r").with_extremes(bad="lightsteelblue")
for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
    for axes, image in zip(axes_row, images, strict=False):
        axes.imshow(image.numpy(), cmap=palette, vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
    axes_row[0].set_ylabel(name)

# %%
# Weights instead of a mask
# -------------------------
# Numbers in ``observed`` weigh squared errors. Here the right half is not hidden but noisy: a standard deviation of 0.6
# beside 0.1 on the left. The weights that belong to it are one over the variances. In units of the left half's, the
# prior has the weight of the left half's variance, since the posterior is :math:`\sum_i (\hat y_i - y_i)^2 /
# 2\sigma_i^2 + \lVert x\rVert^2 / 2`. Beside it, what would be done without weights: all pixels alike, with their mean
# variance, and the left half alone.

generator = torch.Generator().manual_seed(1)
deviation = torch.where(left, 0.1, 0.6).expand_as(truth)
noisy = truth + deviation * torch.randn(truth.shape, generator=generator)
errors = {}
for name, weights, variance in (
    ("all pixels alike", torch.ones_like(truth), deviation.square().mean().item()),
    ("left half alone", left.expand_as(truth).float(), 0.1**2),
    ("weights", (0.1 / deviation).square(), 0.1**2),
):
    answer = inverter.invert(noisy, BUDGET, observed=weights, extra_terms=prior(variance))
    errors[name] = (answer.prediction - truth).square().sum((1, 2))
    print(f"{name:20} error of the whole digit {errors[name].mean():.2f}")

# %%
# What it is worth
# ----------------
# This page claims, of digits that no fit and no tuning has seen:

error = {name: hidden_error(answer, truth).mean().item() for name, answer in (rivals | answers).items()}
of_rivals = error[best_rival]
assert hidden_error(with_prior, truth).mean() < 0.9 * of_rivals, "hidden halves come out better than those of tuned rivals"
assert with_prior.x.square().mean() < 0.5 * masked.x.square().mean(), "the prior makes latent vectors likelier"
assert hidden_error(with_ink, truth).mean() < 0.8 * hidden_error(with_prior, truth).mean(), "knowing more helps more"
assert boxed.x.abs().max() <= 1.0, "the box is kept"
assert all((answer.num_evaluations <= BUDGET).all() for answer in answers.values()), "nobody spent more than the others"
assert errors["weights"].mean() < errors["all pixels alike"].mean(), "weights are better than none"
assert errors["weights"].mean() < errors["left half alone"].mean(), "and than throwing the noisy half away"

# %%
# What is not gained: a hidden half is not determined by the other one, so that most of its error stays, whoever inverts,
# until something else is known of it. The prior keeps latent vectors likely, but the hidden half gains little by it, and
# stages and a box are here to show how they are asked for: they change little on these digits.
#
# Where to go from here: :doc:`../asking` has all the arguments, with several answers for a target among them;
# :doc:`plot_arm_obstacle` uses them on a robot; :doc:`../howto_structured` has masks of targets that are dicts;
# :doc:`../differentiable` trains the weight of a term.
