"""LandscapeInverter: fit a landscape once, then invert with it. Joins the parts, and owns no mathematics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from . import batches
from .batches import Batch
from .calibration import calibrate
from .descent import Limits, descend
from .guest import frozen, private_randomness
from .landscape import LearnedLandscape
from .layout import X
from .mappings.context import Context
from .mappings.residual import ResidualMapping
from .objective import ForwardModel, LossFn, Objective
from .replay import Alternating, Guide, Replay, Streaming
from .results import InversionResult, RoundRecord
from .solvers import LBFGS, HandOver, LandscapeStep, Solver, Start, TorchOptim
from .solvers.torch_optim import OptimizerFactory, refuse_coupled_rows
from .targets import TargetFeed, refuse_nonfinite
from .theta_objective import DistanceToEnd, LossAtPoint, LossRatio, ThetaObjective

MAX_GRADIENT_NORM = 1.0
WARM_UP = 50


class LandscapeInverter:
    r"""Learns a landscape from targets, and inverts F by descent in it.

    Args:
        landscape: θ and F.
        loss_fn: (prediction, target) → (B,), one loss per sample, not negative.
        z_optimizer: a factory of a ``torch.optim`` optimizer on z, as ``partial(torch.optim.Adam, lr=0.1)``; None takes
            gradient descent in Z with the calibrated step and a safeguard for every row.
        theta_optimizer: a factory of the optimizer of θ's parameters; None takes AdamW with lr 2e-3.
        replay: where the points of the fit come from; None takes :class:`~landscape_opt.replay.Streaming`.
        theta_objective: what θ is fitted to; None takes :class:`~landscape_opt.theta_objective.LossRatio`.
        batch_size: targets of one round.
        seed: of everything random; the global random state is never touched.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> A = torch.tensor([[1.0, 0.0], [0.3, 0.1]])
        >>> landscape = LearnedLandscape(lambda x: x @ A.T, x_init=torch.zeros(2))
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(landscape, squares, seed=0)
        >>> targets = torch.randn(512, 2, generator=torch.Generator().manual_seed(0)) @ A.T
        >>> inverter = inverter.fit(targets, num_rounds=20, progress=False)
        >>> result = inverter.invert(targets[:4], max_evaluations=10)
        >>> bool((result.loss < 1e-6).all())
        True
    """

    def __init__(
        self,
        landscape: LearnedLandscape,
        loss_fn: LossFn,
        *,
        z_optimizer: OptimizerFactory | None = None,
        theta_optimizer: OptimizerFactory | None = None,
        replay: Replay | None = None,
        theta_objective: ThetaObjective | None = None,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        _check_types(landscape, loss_fn, replay, theta_objective, batch_size, seed)
        if z_optimizer is not None:
            refuse_coupled_rows(z_optimizer)
        self.landscape, self.loss_fn = landscape, loss_fn
        self.z_optimizer = z_optimizer
        self.theta_optimizer = theta_optimizer or partial(torch.optim.AdamW, lr=2e-3)
        self.replay = Streaming(num_rows=batch_size) if replay is None else replay
        self.theta_objective = LossRatio() if theta_objective is None else theta_objective
        self.batch_size, self.seed = batch_size, seed
        self.history: list[RoundRecord] = []
        self.generator = torch.Generator().manual_seed(seed)
        self.num_batches = 0
        self.num_updates = 0
        self.num_evaluations = 0
        self.optimizer: torch.optim.Optimizer | None = None
