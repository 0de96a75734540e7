r"""
Camera pose from a silhouette
=============================

A known object stands before a camera, and all that the camera gives is a soft silhouette of 24 by 24 pixels. How is the
object turned, and where is it? A silhouette pulls only where it overlaps the right one, so that descent from a fixed start
is caught by turns that look alike. A landscape is fitted to silhouettes alone, and then asked for poses; also where half of
the image is hidden, and for turns that it has not met.
"""

# %%
# The renderer is F
# -----------------
# ``x`` is a rotation vector and a translation. The renderer lays Gaussian blobs along the limbs of the object and lets
# light through between them: smooth, and differentiable everywhere. The loss is half the sum of squared differences of
# pixels.

import math

import matplotlib.pyplot as plt
import torch

from landscape_opt import LandscapeInverter
from landscape_opt.fitting import Cosine
from landscape_opt.problems import camera
from landscape_opt.problems.camera import rotation_matrix
from landscape_opt.solvers import LBFGS

torch.set_num_threads(1)  # with a fixed number, sums are rounded in the same order every time

problem = camera()
renderer = problem.forward_model
inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, seed=0)
inverter.fit(problem.train, num_rounds=8, schedule=Cosine(), progress=False)

# %%
# Poses to be found
# -----------------
# Drawn like those of the fit, turned by up to 60°, but by another generator, and with their x kept, so that the answers
# can be judged in degrees and millimetres. One unit of length is taken for 100 mm; the object is 150 mm wide and 400 mm
# away.

MILLIMETRES = 60.0  # per unit of x


def draw_poses(number, lowest, highest, generator):
    """x (number, 6), turned by ``lowest`` to ``highest`` degrees about any axis."""
    axis = torch.nn.functional.normalize(torch.randn(number, 3, generator=generator))
    angle = lowest + (highest - lowest) * torch.rand(number, 1, generator=generator)
    translation = 2 * torch.rand(number, 3, generator=generator) - 1
    return torch.cat([axis * angle * math.pi / 180, translation], dim=1)


def degrees_off(x, pose):
    """Angle of the rotation between two poses, (B,)."""
    between = rotation_matrix(x[:, :3]).double() @ rotation_matrix(pose[:, :3]).double().mT
    cosine = (between.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    return cosine.clamp(-1, 1).acos().rad2deg()


def millimetres_off(x, pose):
    """Distance between two translations, (B,)."""
    return MILLIMETRES * (x[:, 3:] - pose[:, 3:]).norm(dim=1)


generator = torch.Generator().manual_seed(1)
pose = draw_poses(80, 0, 60, generator)
silhouette = renderer(pose)

# %%
# Half of the image is hidden
# ---------------------------
# A mask is an argument of ``invert``. Here one side of the image is behind a wall: the side that shows less of the
# object. What is hidden may hold anything, so it is NaN.

left = (torch.arange(24) < 12).expand(24, 24)
more_on_the_left = (silhouette * left).sum((1, 2)) > silhouette.sum((1, 2)) / 2
seen = torch.where(more_on_the_left[:, None, None], left, ~left)
half = silhouette.masked_fill(~seen, torch.nan)

# %%
# Invert, beside rivals
# ---------------------
# Everyone gets 32 evaluations of the renderer for every silhouette. Adam's learning rate and the first step of L-BFGS are
# tuned on silhouettes of the fit, complete and half hidden apart.

BUDGET = 32
tuning = problem.train[:24]
tuning_seen = left.expand(24, 24, 24)
unfitted = inverter.unfitted()


def adam(target, rate, observed):
    """Adam from the object face on, with a mask; the best x so far, (B, 6), and its loss."""
    x = problem.x_init.repeat(len(target), 1).requires_grad_(True)
    target = torch.where(observed, target, 0.0)
    optimizer = torch.optim.Adam([x], lr=rate)
    best, best_x = torch.full((len(target),), torch.inf), x.detach().clone()
    for _ in range(BUDGET + 1):
        optimizer.zero_grad()
        loss = problem.loss_fn(torch.where(observed, renderer(x), 0.0), target)
        better = loss.detach() < best
        best[better], best_x[better] = loss.detach()[better], x.detach()[better]
        loss.sum().backward()
        optimizer.step()
    return best_x, best


def lbfgs(target, first_step, observed):
    """L-BFGS from the object face on."""
    found = unfitted.invert(target, BUDGET, observed=observed, solver=LBFGS(first_step=first_step), allow_unfitted=True)
    return found.x, found.loss


def tuned(method, settings, observed):
    """The setting with the lowest mean loss on silhouettes of the fit."""
    return min(settings, key=lambda setting: method(tuning, setting, observed)[1].mean().item())


def tuned_both(observed):
    """Learning rate of Adam, first step of L-BFGS."""
    return tuned(adam, (0.1, 0.2), observed), tuned(lbfgs, (None, 0.1), observed)


def compare(target, observed, rate, first_step):
    """The x that every method finds, by its name."""
    return {
        f"Adam, lr {rate}": adam(target, rate, observed)[0],
        "L-BFGS": lbfgs(target, first_step, observed)[0],
        "landscape": inverter.invert(target, BUDGET, observed=observed).x,
    }


def found(x, pose):
    """Share of poses within 2° and 2 mm."""
    return ((degrees_off(x, pose) < 2) & (millimetres_off(x, pose) < 2)).float().mean().item()


def table(title, answers, pose):
    """Print the error of every method against the true poses; the metric of the problem is the overlap."""
    target = renderer(pose)
    print(f"{title:40}{'found':>6}{'median':>10}{'':>9}{'nine in ten within':>22}{'overlap':>9}")
    for name, x in answers.items():
        degrees, millimetres = degrees_off(x, pose), millimetres_off(x, pose)
        overlap = problem.metric.of(x, renderer(x), target).mean()
        print(
            f"{name:40}{100 * found(x, pose):4.0f} %{degrees.median():9.2f}°{millimetres.median():6.2f} mm"
            f"{degrees.quantile(0.9):13.1f}°{millimetres.quantile(0.9):6.1f} mm{overlap:7.1f} %"
        )


whole = torch.ones_like(seen)
settings = tuned_both(whole[:24])
in_sight = compare(silhouette, whole, *settings)
half_hidden = compare(half, seen, *tuned_both(tuning_seen))
table("all in sight", in_sight, pose)
table("half of the image hidden", half_hidden, pose)

# %%
# Look at it
# ----------
# The first five silhouettes: the target with its hidden half in grey, the start that all methods share, the answer of the
# landscape after five evaluations and after all 32, and what was behind the wall.

five, last = inverter.invert(half[:5], 5, observed=seen[:5]), inverter.invert(half[:5], BUDGET, observed=seen[:5])
start = renderer(problem.x_init[None]).expand(5, 24, 24)
figure, grid = plt.subplots(5, 5, figsize=(7.5, 7.5), layout="constrained")
figure.suptitle("five silhouettes, half hidden: what was seen, the start, two answers, the truth", fontsize=10)
palette = plt.get_cmap("magma").with_extremes(bad="0.75")
rows = {
    "target": half[:5],
    "start": start,
    "5 evaluations": renderer(five.x),
    f"{BUDGET} evaluations": renderer(last.x),
    "truth": silhouette[:5],
}
for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
    for axes, image in zip(axes_row, images, strict=True):
        axes.imshow(image.numpy(), cmap=palette, vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
    axes_row[0].set_ylabel(name)

# %%
# Beyond the fit
# --------------
# Turned by 60° to 90°, where the fit has seen at most 60°. The landscape has no start for these; what remains are its
# memory and the solver behind it.

beyond = draw_poses(48, 60, 90, generator)
far = compare(renderer(beyond), whole[: len(beyond)], *settings)
table("turned by 60° to 90°", far, beyond)

# %%
# How large the errors are, over all poses: the share of silhouettes whose pose is off by at most so many degrees.

figure, panels = plt.subplots(1, 3, figsize=(10, 3), sharey=True, layout="constrained")
parts = {"all in sight": (in_sight, pose), "half hidden": (half_hidden, pose), "60° to 90°": (far, beyond)}
for axes, (title, (answers, truth)) in zip(panels, parts.items(), strict=True):
    for name, x in answers.items():
        errors = degrees_off(x, truth).sort().values.clamp_min(1e-2)
        axes.plot(errors, torch.linspace(0, 1, len(errors)), label=name)
    axes.set(xlabel="degrees off", xscale="log", title=title)
panels[0].set_ylabel("share of silhouettes")
panels[0].legend(fontsize="small")

# %%
# What it is worth
# ----------------
# This page claims, of silhouettes that no fit and no tuning has seen, with the same evaluations for all:

shares = {title: [found(x, truth) for x in answers.values()] for title, (answers, truth) in parts.items()}
for title in ("all in sight", "half hidden"):
    by_adam, by_lbfgs, by_landscape = shares[title]
    assert by_landscape > by_lbfgs + 0.05, f"{title}: more poses are found than by L-BFGS"
    assert by_landscape > by_adam + 0.2, f"{title}: and many more than by Adam"
assert shares["all in sight"][2] > 0.9, "all in sight, nine poses in ten are found"

# %%
# Where it ends otherwise, it is seldom a little off. These are the turns of the landscape's answers that are wrong, in
# degrees:

for title, (answers, truth) in parts.items():
    errors = degrees_off(answers["landscape"], truth)
    print(f"{title:14}", [round(error) for error in errors[errors > 2].sort().values.tolist()])

# %%
# Most of those are not inexact answers but other ones. Where that matters, ask for several (``num_hypotheses=``, on the
# page :doc:`../asking`), and let a second view decide.
#
# Where to go from here: :doc:`plot_constraints_and_masks` for more on masks, :doc:`../diagnostics` to look at basins,
# :doc:`../howto_noisy` for renderers that are differentiable only in part, and :doc:`../choose` where an encoder with
# refinement is the better tool.
