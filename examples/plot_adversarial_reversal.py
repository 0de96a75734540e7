r"""
Adversarial attacks reversed, and why this is no defence
========================================================

An attack that fools a classifier also disturbs what an encoder sees that was trained without labels. Mao, Chiquier, Wang,
Yang and Vondrick (ICCV 2021) undo attacks that way: for every image a small correction is found that makes a self-supervised
loss low, by gradient descent. That is an inversion, and a landscape takes fewer steps for it.

Then the attacker looks at the defence. Croce, Gowal, Brunner, Shelhamer, Hein and Cemgil (ICML 2022,
`arXiv:2202.13711 <https://arxiv.org/abs/2202.13711>`_) attacked defences of this kind with attacks that know of them, and
found none that was much more robust than the classifier inside it. The end of this page shows the same. Study reversal
with it; protect nothing with it.
"""

# %%
# Networks and images
# -------------------
# Handwritten digits of 8 by 8 pixels, a classifier, and an encoder that was trained without labels (SimCLR); both come with
# the package. An attack may change every pixel by 0.15, a correction by five thirds of that. The forward model takes a
# correction to the encoder's views of the corrected image, and the loss says how badly the views agree.

from functools import partial

import matplotlib.pyplot as plt
import torch

from landscape_opt.applications import defence
from landscape_opt.solvers import TorchOptim

torch.set_num_threads(1)  # another number of threads rounds in another order: the digits below would differ

images, networks = defence.digit_images(), defence.digit_networks()
classifier, ball = networks.standard, defence.LInf(images.radius)
supervision = defence.Supervision.contrastive(
    networks.encoder, negatives=images.train.images[:256], radius=images.radius / 0.6
)

# %%
# The attack, and the fit
# -----------------------
# Projected gradient ascent on the classifier alone, twenty steps. This attacker does not know that anybody corrects. The
# landscape is fitted on attacked and on clean train images, without a label.

attack = defence.Threat(defence.PGD(ball, 20), defence.Undefended(classifier), "PGD")
fit_images = torch.cat([attack.craft(images.train).images, images.train.images])
inverter = supervision.inverter(seed=0).fit(fit_images, num_rounds=6, progress=False)

held_out = images.test.first(128)
attacked = attack.craft(held_out)


def accuracy(reversal, shown, data):
    """Percent classified right after correction."""
    return 100.0 * float((reversal(shown).argmax(1) == data.labels).float().mean())


# %%
# Plain reversal is the same without the fit. How it steps is the best, for every number of steps, of gradient descent with
# backtracking and of Adam and SGD at several rates, on attacked validation images.

plain = supervision.inverter()
tried = {"backtracking": None}  # what Reversal takes before any fit
for rate in (4.0, 16.0, 64.0):
    tried[f"SGD {rate:g}"] = TorchOptim(plain.landscape.plain(), partial(torch.optim.SGD, lr=rate))
for rate in (0.1, 0.3, 1.0):
    tried[f"Adam {rate:g}"] = TorchOptim(plain.landscape.plain(), partial(torch.optim.Adam, lr=rate))
validation = images.validation.first(96)
attacked_validation = attack.craft(validation).images


def plain_reversal(num_steps):
    """The best way to step on validation images, and the reversal that takes it."""
    made = {name: defence.Reversal(classifier, plain, num_steps, solver=solver) for name, solver in tried.items()}
    best = max(made, key=lambda name: accuracy(made[name], attacked_validation, validation))
    return best, made[best]


# %%
# Attackers who do not know: fewer steps
# --------------------------------------
# A step is one forward and one backward pass of encoder and views for one image. "Loss" is the self-supervised loss of the
# corrected images.

steps = (1, 2, 5)
curves = {"plain, tuned": [], "landscape": []}
print("steps  way                       clean   attacked   loss")
for num_steps in steps:
    best, tuned = plain_reversal(num_steps)
    learned = defence.Reversal(classifier, inverter, num_steps)
    for name, label, reversal in (("plain, tuned", f"plain ({best})", tuned), ("landscape", "landscape", learned)):
        right = accuracy(reversal, attacked.images, held_out)
        loss = float(reversal.correct(attacked.images).loss.mean())
        print(f"{num_steps:5}  {label:22}{accuracy(reversal, held_out.images, held_out):7.1f} %{right:9.1f} %{loss:7.3f}")
        curves[name].append(right)
nothing = accuracy(defence.Reversal(classifier, plain, 0), attacked.images, held_out)
print(f"without any correction {nothing:.1f} % of the attacked images are classified right")

# %%
# The claim: under this attacker one step in the landscape does more than five of plain reversal, however it steps.

assert curves["landscape"][0] > max(curves["plain, tuned"]) > nothing, "a fifth of the steps should be enough here"

# %%
# The price stands in the column of clean images: every correction costs some that were right before.
#
# The attacker looks at the defence
# ---------------------------------
# ``evaluate`` gives no robust accuracy without an attack that goes *through* the defence. Three do so here, one after the
# other: BPDA takes the correction for a constant, *unrolled* differentiates every step, and a random search needs no
# gradient. Each is of ten iterations, which is a modest attacker: a stronger one lowers these figures and never raises
# them.


def through(reversal, data):
    """Images right under all attacks, those of the attacker who does not know included."""
    threats = defence.adaptive_threats(reversal, ball, num_steps=10)
    return defence.evaluate(reversal, data, crafted=[attack.craft(data)], adaptive=threats)


few = images.test.first(64)
ways = {
    "no correction": defence.Reversal(classifier, plain, 0),
    "plain, 5 steps": defence.Reversal(classifier, plain, 5),  # with backtracking, which can be unrolled exactly
    "landscape, 1 step": defence.Reversal(classifier, inverter, 1),
    "landscape, 5 steps": defence.Reversal(classifier, inverter, 5),
}
records = {name: through(reversal, few) for name, reversal in ways.items()}
print(f"{'64 images, percent right':26}clean    PGD   BPDA  unrolled  random search")
for name, record in records.items():
    one, two, three = (outcome.accuracy for outcome in record.adaptive)
    print(f"{name:26}{record.clean_accuracy:5.1f}{record.crafted[0].accuracy:7.1f}{one:7.1f}{two:10.1f}{three:15.1f}")

# %%
# From left to right an attack is added; the last column is the robust accuracy. What the landscape had won in one step is
# almost gone, and plain reversal keeps more than it does: what a landscape does first is largely the output of a smooth
# network, and its gradient serves the attacker well.

quick, slow = records["landscape, 1 step"], records["plain, 5 steps"]
assert quick.robust_accuracy < 0.5 * quick.crafted[0].accuracy, "the adaptive attack breaks most of what was reversed"
assert quick.robust_accuracy < slow.robust_accuracy, "under an attacker who knows, the landscape loses to plain reversal"

figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=(1, 1.2))
for name, right in curves.items():
    panels[0].plot(steps, right, "o-", label=name)
panels[0].axhline(nothing, color="0.5", linestyle=":", label="no correction")
panels[0].set(xlabel="steps", ylabel="attacked images right, %", ylim=(0, 100), title="the attacker does not know")
panels[0].legend()
places = torch.arange(len(records))
for offset, (label, values) in enumerate(
    {
        "PGD on the classifier": [record.crafted[0].accuracy for record in records.values()],
        "attacks through the defence": [record.robust_accuracy for record in records.values()],
    }.items()
):
    panels[1].bar(places + 0.4 * offset - 0.2, values, width=0.4, label=label)
panels[1].set_xticks(places, [name.replace(", ", "\n") for name in records], fontsize=8)
panels[1].set(ylim=(0, 100), title="and then he does")
_ = panels[1].legend()

# %%
# Left: images that were attacked without knowledge of the correction, classified after so many steps of it. Right: what is
# left when the attack goes through the correction.

reversal = ways["landscape, 1 step"]
corrected = reversal.correct(attacked.images[:12]).images
figure, axes = plt.subplots(3, 12, figsize=(9, 2.9), layout="constrained")
figure.suptitle("digits as they were, attacked, and corrected", fontsize=10)
for line, (name, shown) in enumerate(
    {"clean": held_out.images, "attacked": attacked.images, "corrected": corrected}.items()
):
    said = classifier(shown[:12]).argmax(1)
    for panel, image, label, truth in zip(axes[line], shown, said, held_out.labels, strict=False):
        panel.imshow(image, cmap="gray_r", vmin=0.0, vmax=1.0)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_title(str(int(label)), fontsize=9, color="black" if label == truth else "red", pad=2)
    axes[line, 0].set_ylabel(name, fontsize=8)
plt.show()

# %%
# Twelve held-out digits, attacked without knowledge of the correction, and corrected by one step in the landscape. Above
# each stands what the classifier says; red is wrong.
#
# What a longer run says
# ----------------------
# ``python examples/adversarial_defence.py --seeds 1`` prints the tables of :doc:`/applications/adversarial_defence`: digits
# and letters, a robust classifier beside the standard one, five attacks that do not know and three that do, of twenty
# iterations. A robust classifier is better left alone there.
#
# Where to go from here
# ---------------------
# * :doc:`/applications/adversarial_defence`: your own classifier and encoder, and the tables.
# * :doc:`/differentiable`: gradients through an inversion, which the unrolled attack uses.
# * :doc:`/concepts`: how a landscape fails.
