"""An encoder that looks at the target and at what it has so far, pass after pass."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from ... import batches
from ...guest import frozen, private_randomness
from ...landscape import LearnedLandscape
from ...layout import Layout
from ...objective import Evaluation, Objective
from ...problems.problem import Problem
from ...solvers import HandOver, Run, Solver, Start

NUM_PASSES = 5
RATE = 2e-3


class PassNetwork(nn.Module):
    """``x ← x + spread · E(target, picture of x)``, zero at birth.

    Args:
        image: Shape of one picture, ``(channels, height, width)``.
        dim: Numbers in one x.
        spread: What an element of x is moved by, in its own units.
        channels: Of the three convolutions, each of which halves height and width.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     network = PassNetwork((3, 32, 32), 6, spread=1.0)
        >>> network(torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 6])
    """

    def __init__(
        self, image: tuple[int, int, int], dim: int, spread: float, channels: tuple[int, int, int] = (24, 48, 64)
    ) -> None:
        super().__init__()
        self.image, self.spread = image, spread
        layers: list[nn.Module] = []
        for before, after in zip((2 * image[0], *channels[:2]), channels, strict=True):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        size = channels[-1] * (image[1] // 8) * (image[2] // 8)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, 256), nn.LeakyReLU(0.2))
        self.last = nn.Linear(256, dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, target: Tensor, picture: Tensor) -> Tensor:
        """The step of flat rows of x, ``(B, dim)``."""
        step: Tensor = self.last(self.layers(torch.cat([target, picture], dim=1)))
        return self.spread * step


class ReStyle(Solver):
    """The passes as a solver, an evaluation each; ``restyle_refined`` goes on with another solver after some.

    Hidden pixels of a target are 0 in both pictures, so that the network sees no difference there.

    Args:
        network: Trained.

    Example:
        >>> from landscape_opt.applications.gan import StyleModel, WSpace, glyph_inversion, load_generator
        >>> problem = glyph_inversion(WSpace(StyleModel.of(load_generator())), num_test=2, num_validation=2, num_train=8)
        >>> network = train_passes(problem, spread=0.5, num_batches=1, batch_size=2)
        >>> from landscape_opt import LandscapeInverter
        >>> inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)
        >>> inverter.invert(problem.test, 3, solver=ReStyle(network), allow_unfitted=True).num_evaluations
        tensor([3, 3])
    """

    def __init__(self, network: PassNetwork) -> None:
        self.network = network

    def start(self, start: Start) -> ReStyleRun:
        """Begin at the start's x."""
        if start.target is None:
            raise ValueError("ReStyle reads the target, and these targets cannot be read as floats")
        return ReStyleRun(self.network, start)


class ReStyleRun(Run):
    """What the next pass looks at."""

    def __init__(self, network: PassNetwork, start: Start) -> None:
        self.network = network
        self.seen = _pictures(start.known, network.image)
        self.targets = self._looked_at(_pictures(start.target, network.image))
        self.x, self.picture = start.x, start.x.new_zeros(len(start.x), *network.image)

    def observe(self, evaluation: Evaluation) -> None:
        """Keep the picture."""
        assert isinstance(evaluation.prediction, dict)
        self.x, self.picture = evaluation.x, evaluation.prediction["image"]

    def propose(self) -> Tensor:
        """One pass."""
        with torch.no_grad():
            step: Tensor = self.network(self.targets, self._looked_at(self.picture))
        return self.x + step

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.x, self.picture, self.targets = self.x[index], self.picture[index], self.targets[index]
        self.seen = None if self.seen is None else self.seen[index]

    def _looked_at(self, pictures: Tensor | None) -> Tensor:
        assert pictures is not None
        return pictures if self.seen is None else torch.where(self.seen > 0, pictures, 0.0)


def restyle_refined(network: PassNetwork, num_passes: int, landscape: LearnedLandscape, first_step: float) -> Solver:
    """So many passes, then per-sample L-BFGS with this first step, which is given their (s, y) pairs."""
    plain = landscape.plain()
    plain.step.fill_(first_step)
    return HandOver(plain, ReStyle(network), num_passes)


def train_passes(
    problem: Problem,
    spread: float,
    *,
    max_seconds: float = math.inf,
    num_batches: float = math.inf,
    seed: int = 0,
    batch_size: int = 64,
) -> PassNetwork:
    """Fit the passes to the loss of the problem: five passes of a batch, an update after each.

    As Alaluf et al., "ReStyle" (2021) train: no gradient flows from a pass to the one before it. AdamW with a cosine.

    Args:
        problem: Whose targets hold an ``"image"``; the training targets alone are looked at.
        spread: What an element of x is moved by, in its own units: the spread of w.
        max_seconds: Wall time.
        num_batches: Batches at most.
        seed: Of weights and of the order of targets. The global random state is not touched.
        batch_size: Targets of an update.

    Raises:
        ValueError: if neither a time nor a number of batches is given.

    Example:
        >>> from landscape_opt.applications.gan import StyleModel, WSpace, glyph_inversion, load_generator
        >>> problem = glyph_inversion(WSpace(StyleModel.of(load_generator())), num_test=2, num_validation=2, num_train=8)
        >>> network = train_passes(problem, spread=0.5, num_batches=1, batch_size=2)
        >>> any(weight.requires_grad for weight in network.parameters())  # trained, and frozen
        False
    """
    if math.isinf(max_seconds) and math.isinf(num_batches):
        raise ValueError("say how long: max_seconds, num_batches, or both")
    layout, size = Layout(problem.x_init), batches.size(problem.train)
    generator, began, done = torch.Generator().manual_seed(seed), time.monotonic(), 0
    with private_randomness(seed, layout.device):
        network = PassNetwork(tuple(problem.train["image"].shape[1:]), layout.dim, spread)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    with frozen(problem.forward_model) as forward_model, frozen(problem.loss_fn) as loss_fn:
        objective = Objective(forward_model, loss_fn, layout)
        while (spent := max((time.monotonic() - began) / max_seconds, done / num_batches)) < 1.0:
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1.0 + math.cos(math.pi * spent))
            target = batches.rows(problem.train, torch.randint(size, (batch_size,), generator=generator))
            _five_passes(network, optimizer, objective, target)
            done += 1
    return network.requires_grad_(False).eval()


def _five_passes(
    network: PassNetwork, optimizer: torch.optim.Optimizer, objective: Objective, target: dict[str, Tensor]
) -> None:
    x = objective.layout.start(batches.size(target))
    with torch.no_grad():
        prediction = objective.prediction(x, target)
    for _ in range(NUM_PASSES):
        moved = x + network(target["image"], prediction["image"])
        prediction = objective.prediction(moved, target)
        loss = objective.loss_of(moved, prediction, target).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        x, prediction = moved.detach(), batches.detached(prediction)


def _pictures(features: Tensor | None, image: tuple[int, int, int]) -> Tensor | None:
    """The picture in the features of a target: it comes first."""
    return None if features is None else features[:, : math.prod(image)].reshape(-1, *image)
