r"""
GAN inversion: find the latent vector of a picture
==================================================

A generator :math:`G` makes a picture of a vector :math:`w`. To edit a picture of your own you need its :math:`w`, and
the usual way there is Adam, some hundred steps for every picture. Here a landscape is fitted once. It then inverts
pictures in twenty evaluations, also pictures of which one half is hidden, which no fit has seen.

Twenty evaluations are not five hundred: long runs end lower, and this page shows where.
"""

# %%
# A generator, and what is compared
# ---------------------------------
# The package brings a small StyleGAN of coloured letters at 32 by 32 pixels, with its weights. ``WSpace`` is the forward
# model: :math:`x` is one :math:`w` for all layers, and the plain start is the mean :math:`w`. ``glyph_inversion`` makes the
# problem of it: the pictures, and what a perceptual network sees in them, are compared by a sum of squares. Targets of the
# fit are of other fonts than those that are reported on.

import matplotlib.pyplot as plt
import torch

from landscape_opt import LandscapeInverter
from landscape_opt.applications import gan
from landscape_opt.batches import rows
from landscape_opt.fitting import Cosine

torch.set_num_threads(1)  # another number of threads rounds in another order: the digits below would differ

space = gan.WSpace(gan.StyleModel.of(gan.load_generator()))
problem = gan.glyph_inversion(space, num_test=20, num_validation=8, num_train=1024)
held_out = problem.test
print("x:", tuple(problem.x_init.shape), " pictures:", tuple(held_out["image"].shape))

# %%
# Fit once
# --------
# The fit sees pictures, never a :math:`w`. Ten rounds of 32 pictures are a short one, so that this page is made in
# seconds; ``Cosine()`` lets its learning rate fall to the end.

inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, batch_size=32, seed=0)
inverter = inverter.fit(problem.train, num_rounds=10, schedule=Cosine(), progress=False)
print("evaluations of the generator spent on the fit:", inverter.num_evaluations)

# %%
# Adam, with the same budget
# --------------------------
# An evaluation is one forward and one backward pass of generator and perceptual network for one picture. Adam moves
# :math:`w` from the same start, and its rate rises and falls over the steps, as in StyleGAN's projector (Karras et al.,
# 2020). The rate in between is the best of three on eight pictures of the *fit*, since the held-out ones are there to be
# judged on. ``unfitted()`` is the same inverter before any fit, which every solver of the library can drive.

plain = inverter.unfitted()


def adam(target, rate, num_steps, observed=None):
    """The usual loop as a solver of the library, so that evaluations of both are counted alike."""
    solver = gan.Projector(plain.landscape, num_steps, lr=rate, noise=0.0)
    return plain.invert(target, num_steps, observed=observed, solver=solver, allow_unfitted=True)


def best_rate(target, observed=None):
    """The rate with the lowest median loss after twenty steps."""
    return min((0.4, 0.8, 1.6), key=lambda rate: float(adam(target, rate, 20, observed).loss.median()))


few = rows(problem.train, torch.arange(8))
rate = best_rate(few)
by_adam = adam(held_out, rate, 20)
by_lbfgs = plain.invert(held_out, 20, allow_unfitted=True)  # per-sample L-BFGS from the mean w
result = inverter.invert(held_out, max_evaluations=20)

found = {f"Adam, rate {rate}": by_adam, "L-BFGS, plain start": by_lbfgs, "landscape": result}
judge = gan.Judge()  # a classifier of letters that no loss knows
print(f"{'median loss after':22}{'5':>9}{'20':>9}   same letter read after 20")
for name, one in found.items():
    five, twenty = (float(one.history.best[k].median()) for k in (5, 20))
    letters = judge(one.prediction["image"], held_out["image"]).identity.mean()
    print(f"{name:22}{five:9.4f}{twenty:9.4f}{letters:10.0%}")

# %%
# The claim of this page: with twenty evaluations each, the landscape leaves half of Adam's loss at most.

assert max(result.num_evaluations.max(), by_adam.num_evaluations.max()) <= 20
assert result.loss.median() < 0.5 * by_adam.loss.median(), "a short fit should halve what Adam leaves after 20 steps"

# %%
# L-BFGS is the closer rival. After five evaluations the landscape is far ahead of it; after twenty, with a fit as short as
# this, not by much. (Of twenty letters, one more or less is chance.)

assert result.history.best[5].median() < 0.5 * by_lbfgs.history.best[5].median()

# %%
# And with more steps? Eight of the pictures, with 150 evaluations for Adam, at a quarter of the rate since there is time,
# and 100 for L-BFGS:

eight = rows(held_out, torch.arange(8))
longer = {
    "landscape, 20 evaluations": result.loss[:8],
    f"Adam, rate {rate / 4}, 150": adam(eight, rate / 4, 150).loss,
    "L-BFGS, 100": plain.invert(eight, 100, allow_unfitted=True).loss,
}
print("median loss of eight pictures")
for name, loss in longer.items():
    print(f"{name:26}{float(loss.median()):.4f}")
quick, _, patient = (float(loss.median()) for loss in longer.values())
assert patient < quick, "100 evaluations of L-BFGS end lower than 20 in a landscape, and the page says so"

# %%
# Adam is about there by now, and L-BFGS is below. So where a picture may take as long as it likes, let it:
# ``max_evaluations=100`` in the landscape is the way to such losses. Over a hundred pictures, five hundred steps of Adam
# end below twenty evaluations of a landscape that was fitted for longer than this one, too;
# :doc:`/applications/gan_inversion` has the table for 5, 20, 100 and 500.

panels = {
    "target": held_out["image"],
    f"Adam, rate {rate}, 20": by_adam.prediction["image"],
    "landscape, 5": inverter.invert(held_out, 5).prediction["image"],
    "landscape, 20": result.prediction["image"],
}


def grid(title, named, columns=12):
    """Strips of pictures below one another."""
    figure, axes = plt.subplots(len(named), 1, figsize=(9, 0.85 * len(named) + 0.3), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for panel, (name, images) in zip(axes, named.items(), strict=True):
        strip = ((images[:columns].clamp(-1.0, 1.0) + 1.0) / 2.0).permute(2, 0, 3, 1).flatten(1, 2)
        panel.imshow(strip.numpy(), interpolation="nearest")
        panel.set_yticks([16], [name])
        panel.set_xticks([])
        panel.spines[:].set_visible(False)
        panel.tick_params(length=0)


grid("letters and what was found in 5 and 20 evaluations", panels)

# %%
# Targets in fonts that no fit has seen, and what was found after so many evaluations of the generator.
#
# Half of the picture is hidden
# -----------------------------
# Nothing is fitted again. ``observed`` says which pixels were seen, and leaves out the features in which a hidden pixel
# has a say; what a hidden pixel holds is never looked at. Adam gets the same mask, and a rate tuned for it.

F = inverter.landscape.forward_model
seen = gan.halves(20, torch.Generator().manual_seed(1))
observed = F.observed(held_out["image"], seen)
filled = inverter.invert(held_out, 20, observed=observed)

masked_rate = best_rate(few, F.observed(few["image"], gan.halves(8, torch.Generator().manual_seed(2))))
filled_by_adam = adam(held_out, masked_rate, 20, observed)


def hidden_error(one):
    """Mean squared error of the pixels that nobody was shown."""
    off = (one.prediction["image"].clamp(-1.0, 1.0) - held_out["image"]).square().mean(1)
    return torch.where(seen, 0.0, off).sum((1, 2)) / (~seen).sum((1, 2))


for name, one in ((f"Adam, rate {masked_rate}", filled_by_adam), ("landscape", filled)):
    guess = float(hidden_error(one).median())
    print(f"{name:16} loss of what was seen {float(one.loss.median()):.5f}, error of what was not {guess:.3f}")
assert filled.loss.median() < 0.5 * filled_by_adam.loss.median(), "the landscape was never fitted to a mask"

# %%
# Of the loss of what was seen, the landscape leaves less than half of what Adam does. What was *not* seen is a guess for
# both, and nobody's loss tells: with half of a letter gone, other letters are as good.
#
# An edit
# -------
# What was found are vectors, and an edit is arithmetic on them: here half of the way to the next one.

with torch.no_grad():
    between = space(result.x.lerp(result.x.roll(-1, 0), 0.5))
grid(
    "halves of letters, filled in, and an edit",
    {
        "seen": torch.where(seen[:, None], held_out["image"], 0.0),
        "filled in": filled.prediction["image"],
        "half-way to the next": between,
    },
)
plt.show()

# %%
# Pictures of which one half was seen, their completions after twenty evaluations, and pictures half-way between neighbours
# of the first grid.
#
# What a longer fit brings
# ------------------------
# ``python examples/gan_inversion.py --spaces W --seeds 1`` fits for 40 seconds and prints the tables of
# :doc:`/applications/gan_inversion`: Adam with 500 steps, encoders with and without refinement, ReStyle, and pivotal tuning
# beside the landscape. An encoder that is refined for 20 evaluations is as good there on complete pictures.
#
# Where to go from here
# ---------------------
# * :doc:`/applications/gan_inversion`: W+, Z, noise maps, small and grey pictures, and how to bring a StyleGAN of your own.
# * :doc:`/asking`: masks, further terms, bounds, and several answers.
# * :doc:`/choose`: when an encoder, L-BFGS or Adam is the better tool.
