r"""
Invert a small network
======================

A forward model :math:`F` takes four numbers to a curve. Given a curve, which numbers made it? Plain gradient descent
answers, slowly, and sometimes with the wrong hill of the curve. We fit a landscape from curves alone and ask it the
same.
"""

# %%
# The forward model and the targets
# ---------------------------------
# Any differentiable function will do, if it is batched in its first dimension. This one is a network with three layers
# and random weights, scaled so that its curves have several hills.

import matplotlib.pyplot as plt
import torch
from torch import nn

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.fitting import Cosine

torch.set_num_threads(1)  # with a fixed number, sums are rounded in the same order every time
generator = torch.Generator().manual_seed(0)


class Curve(nn.Module):
    """Four numbers to a curve of 48 points."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))
        for layer, spread in ((self.layers[0], 1.2), (self.layers[2], 0.25), (self.layers[4], 0.07)):
            nn.init.normal_(layer.weight, std=spread, generator=generator)
            nn.init.zeros_(layer.bias)
        position = torch.linspace(0.0, torch.pi, 48)
        self.register_buffer("waves", torch.stack([torch.sin((k + 1) * position) for k in range(8)]))

    def forward(self, x):
        """(B, 4) to (B, 48)."""
        return 4.0 * self.layers(x) @ self.waves


forward_model = Curve()
targets = forward_model(torch.randn(2048 + 256, 4, generator=generator)).detach()
fit_targets, held_out = targets[:2048], targets[2048:]


def loss_fn(prediction, target):
    """One loss per sample."""
    return (prediction - target).square().mean(dim=1)


# %%
# Fit once
# --------
# ``x_init`` is where plain descent would start. The fit sees curves, never the numbers that made them. ``num_rounds``
# makes this page the same every time; with ``max_seconds=`` you say instead what the fit is worth to you, and the
# learning rate is annealed, as ``Cosine`` does here.

landscape = LearnedLandscape(forward_model, x_init=torch.zeros(4))
inverter = LandscapeInverter(landscape, loss_fn, seed=0)
inverter.fit(fit_targets, num_rounds=30, schedule=Cosine(), progress=False)

# %%
# Invert
# ------
# One evaluation is one forward and one backward pass of the forward model for one curve. ``history.best`` is what a
# smaller budget would have returned.

result = inverter.invert(held_out, max_evaluations=30)
print("statuses:", sorted({status.name for status in result.statuses()}))

# %%
# Plain gradient descent with Adam, for comparison. Its learning rate is the best of six on the *fit* targets, since the
# held-out ones are there to be judged on.


def plain_descent(target, learning_rate, num_steps=30):
    """The loss after every step of Adam, best so far, (num_steps + 1, B)."""
    x = torch.zeros(len(target), 4, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=learning_rate)
    losses = []
    for _ in range(num_steps + 1):
        optimizer.zero_grad()
        loss = loss_fn(forward_model(x), target)
        losses.append(loss.detach())
        loss.sum().backward()
        optimizer.step()
    return torch.stack(losses).cummin(dim=0).values


rates = [0.01, 0.03, 0.1, 0.2, 0.3, 0.5]
best_rate = min(rates, key=lambda rate: plain_descent(fit_targets[:256], rate)[-1].median().item())
plain = plain_descent(held_out, best_rate)

# %%
# The medians, with the range of the middle half of the curves.

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for losses, label in ((plain, f"Adam on x, lr {best_rate}"), (result.history.best, "landscape")):
    low, median, high = torch.quantile(losses.double(), torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), dim=1)
    axes.fill_between(range(len(median)), low, high, alpha=0.2)
    axes.plot(median, label=label)
axes.set(xlabel="evaluations of the forward model", ylabel="loss", yscale="log", title="Adam and the landscape")
axes.legend()

# %%
# And some of the curves, after five evaluations each.

five = inverter.invert(held_out[:4], max_evaluations=5)
figure, grid = plt.subplots(1, 4, figsize=(9, 2.2), sharey=True, layout="constrained")
for axes, target, prediction in zip(grid, held_out, five.prediction, strict=False):
    axes.plot(target, color="0.7", linewidth=4)
    axes.plot(prediction)
    axes.set_xticks([])
figure.suptitle("targets (grey) and the landscape's answers after five evaluations")

# %%
# This page claims, of curves that neither the fit nor the choice of a learning rate has seen:

landscape_after_ten, adam_after_thirty = result.history.best[10].median(), plain[30].median()
print(f"median loss: landscape after 10 evaluations {landscape_after_ten:.1e}, Adam after 30 {adam_after_thirty:.1e}")
assert landscape_after_ten < adam_after_thirty / 10, "a third of the evaluations leave less than a tenth of the loss"

# %%
# An Adam loop is the plainest of rivals. :doc:`plot_own_model` compares with L-BFGS, too, and asks when a fit is worth
# it.
#
# Where to go from here: :doc:`../quickstart` shows what a result holds and how a landscape is saved,
# :doc:`plot_own_model` takes a model of your own, :doc:`../method` says what is learned.
