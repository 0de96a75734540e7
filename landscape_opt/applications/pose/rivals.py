"""What else one would do: fit in stages as SMPLify does, with any solver, and train a network that says the pose at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from ... import batches
from ...benchmark.encoder import Encoder
from ...benchmark.sets import hidden
from ...hypotheses import Given
from ...inverter import LandscapeInverter
from ...landscape import LearnedLandscape
from ...problems.camera import rotation_matrix
from ...problems.problem import Problem, TargetSet
from ...results import InversionResult
from ...solvers import LBFGS, LevenbergMarquardt, Solver, TorchOptim
from ...stages import Stage
from .keypoints import KeypointModel, Pose, keypoint_loss
from .metrics import mpjpe
from .photographs import Photographs

TORSO = (
    *("pelvis", "left hip", "right hip", "lower spine", "middle spine", "upper spine", "neck"),
    *("left collar", "right collar", "left shoulder", "right shoulder"),
)
TURNS = (0.0, 90.0, 180.0, 270.0)
"""Degrees about the vertical from which the torso is fitted."""
_TORSO_EVALUATIONS = 15
_TORSO_PRIOR = 10.0
SCHEDULES: tuple[tuple[float, ...], ...] = ((10.0, 3.0), (100.0, 10.0), (3.0,))
"""Weights of the priors in the stages before the last, in which they count once."""


@dataclass(frozen=True, eq=False)
class Fitter:
    """A method with all of its numbers set.

    Attributes:
        name: as in a table.
        fit: photographs to an answer; every evaluation is in ``num_evaluations``.
        model: whose x the answer is.
    """

    name: str
    fit: Callable[[Photographs], InversionResult] = field(repr=False)
    model: KeypointModel = field(repr=False)


def by_landscape(
    name: str, inverter: LandscapeInverter, model: KeypointModel, max_evaluations: int, **options: Any
) -> Fitter:
    """The public verb; options are those of ``invert``."""

    def fit(seen: Photographs) -> InversionResult:
        return inverter.invert(seen.target(model), max_evaluations, observed=seen.observed(model), **options)

    return Fitter(name, fit, model)


def plain(model: KeypointModel) -> LandscapeInverter:
    """F with nothing learned: descent in X."""
    return LandscapeInverter(LearnedLandscape(model, model.x_init), keypoint_loss())


@dataclass(frozen=True)
class Staged:
    """Fitting in stages, in the manner of SMPLify (Bogo et al., 2016).

    First the torso from four turns about the vertical, fifteen evaluations each, the weaker half given up after eight, and
    with strong priors; then, from the best, all keypoints in stages of equal length with weaker and weaker priors.

    Args:
        model: F.
        schedule: weights of the priors in the stages before the last.
        solver: of all stages; None takes per-sample L-BFGS.
        max_evaluations: of each photograph, all counted.
    """

    model: KeypointModel = field(repr=False)
    schedule: tuple[float, ...] = SCHEDULES[0]
    solver: Solver | None = None
    max_evaluations: int = 300

    def __call__(self, seen: Photographs) -> InversionResult:
        """The answer for every photograph."""
        inverter, target = plain(self.model), seen.target(self.model)
        options: dict[str, Any] = {"solver": self.solver, "allow_unfitted": True}
        torso = torch.tensor([name in TORSO for name in self.model.body.joint_names]).to(seen.confidence)
        weights = self.model.weights(target, seen.confidence * torso, _TORSO_PRIOR)
        turned = Given(self._turned(len(seen)))
        first = inverter.invert(
            target, _TORSO_EVALUATIONS, observed=weights, num_hypotheses=len(TURNS), starts=turned, **options
        )
        left = self.max_evaluations - int(first.num_evaluations.max())
        each = left // (len(self.schedule) + 1)
        stages = [Stage(each, self.model.weights(target, seen.confidence, prior)) for prior in self.schedule]
        last = inverter.invert(
            target, left, observed=seen.observed(self.model), warm_start=first, stages=stages, restarts=False, **options
        )
        return replace(last, num_evaluations=first.num_evaluations + last.num_evaluations)

    def _turned(self, size: int) -> Pose:
        """The plain start turned about the vertical, (B, 4, …)."""
        angles = torch.tensor(TURNS).deg2rad()
        zero = torch.zeros_like(angles)
        turn = rotation_matrix(torch.stack([zero, angles, zero], dim=1))[:, :, :2].mT.flatten(1)
        starts = {name: part.expand(len(TURNS), *part.shape) for name, part in self.model.x_init.items()}
        starts["turn"] = turn.to(starts["turn"])
        return {name: part.expand(size, *part.shape) for name, part in starts.items()}


def adam(rate: float) -> Callable[[KeypointModel], Solver]:
    """Adam in X with this learning rate."""
    factory: Any = partial(torch.optim.Adam, lr=rate)
    return lambda model: TorchOptim(LearnedLandscape(model, model.x_init).plain(), factory)


def lbfgs(first_step: float | None) -> Callable[[KeypointModel], Solver]:
    """Per-sample L-BFGS with this first step."""
    return lambda _: LBFGS(first_step=first_step)


def lm(damping: float) -> Callable[[KeypointModel], Solver]:
    """Levenberg–Marquardt with this damping; a Jacobian is charged with as many evaluations as x has numbers."""
    return lambda _: LevenbergMarquardt(damping)


METHODS: dict[str, tuple[Callable[[KeypointModel], Solver], ...]] = {
    "Adam": tuple(adam(rate) for rate in (0.01, 0.03, 0.1)),
    "L-BFGS": tuple(lbfgs(step) for step in (None, 1e-3)),
    "LM": tuple(lm(damping) for damping in (1e-3, 1e-1)),
}
"""Solvers of the stages, and what they are tuned over."""


def tuned(
    name: str,
    model: KeypointModel,
    solvers: Sequence[Callable[[KeypointModel], Solver]],
    validation: Photographs,
    max_evaluations: int = 300,
) -> Fitter:
    """The schedule and the solver's number with the lowest mean error on validation photographs.

    Args:
        name: as in a table.
        model: F.
        solvers: that are tried.
        validation: photographs that no figure is reported on.
        max_evaluations: of each photograph.
    """

    def error(staged: Staged) -> float:
        found = mpjpe(model.joints(staged(validation).x), validation.joints).mean()
        return float(found) if found.isfinite() else math.inf

    def least(tried: Sequence[Staged], errors: list[float]) -> Staged:
        errors += [error(one) for one in tried[len(errors) :]]
        return tried[errors.index(min(errors))]

    # The number first, with the first schedule; then the schedule.
    numbers = [Staged(model, SCHEDULES[0], make(model), max_evaluations) for make in solvers]
    errors: list[float] = []
    best = least(numbers, errors)
    rest = [replace(best, schedule=schedule) for schedule in SCHEDULES[1:]]
    return Fitter(name, least([best, *rest], [min(errors)]), model)


@dataclass(frozen=True, eq=False)
class Regression:
    """A network from keypoints to x, trained through F on the same loss and the same targets.

    Attributes:
        encoder: the network.
        model: F.
        seconds: of training.
    """

    encoder: Encoder = field(repr=False)
    model: KeypointModel = field(repr=False)
    seconds: float

    @classmethod
    def trained(cls, model: KeypointModel, train: Photographs, seconds: float, seed: int = 0) -> Regression:
        """So many seconds of training."""
        target, began = train.target(model), time.monotonic()
        problem = Problem(
            name="human pose",
            forward_model=model,
            loss_fn=keypoint_loss(),
            x_init=model.x_init,
            train=target,
            validation=target,
            test=target,
            hard_because="Depth is not seen.",
        )
        encoder = Encoder(problem, seed=seed).fit(problem, seconds)
        return cls(encoder, model, time.monotonic() - began)

    def start(self, seen: Photographs) -> Pose:
        """What the network says; hidden keypoints are taken for their means."""
        some = TargetSet(targets=seen.target(self.model), observed=seen.observed(self.model))
        with torch.no_grad():
            said: Any = self.encoder(hidden(some))
        return dict(batches.detached(said))

    def fitter(self, name: str, max_evaluations: int, solver: Solver | None = None) -> Fitter:
        """The network alone for 0 evaluations, otherwise refined by per-sample L-BFGS or another solver."""

        def fit(seen: Photographs) -> InversionResult:
            return plain(self.model).invert(
                seen.target(self.model),
                max_evaluations,
                observed=seen.observed(self.model),
                warm_start=self.start(seen),
                solver=solver,
                allow_unfitted=True,
            )

        return Fitter(name, fit, self.model)
