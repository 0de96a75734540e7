"""One inversion: from what the user asks for to a descent and its record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .descent import Descent, Limits, descend
from .landscape import LearnedLandscape
from .layout import Layout, X
from .mappings.mapping import Mapping
from .memory import Memory, StoredPoints
from .objective import Objective
from .results import InversionResult
from .solvers import LBFGS, HandOver, LandscapeStep, Restarts, Solver, Start, TorchOptim
from .solvers.torch_optim import OptimizerFactory
from .targets import refuse_nonfinite
from .terms import Bounds, ExtraTerm, Terms, checked_bounds, checked_mask, without_hidden

WarmStart: TypeAlias = "X | InversionResult | Callable[[Any], X]"


@dataclass(frozen=True)
class Request:
    """What an inversion is asked for. Attributes as the arguments of ``LandscapeInverter.invert``."""

    max_evaluations: int
    refine: bool | None = None
    restarts: bool = True
    warm_start: WarmStart | None = None
    observed: Batch | None = None
    extra_terms: tuple[ExtraTerm, ...] = ()
    bounds: Bounds | None = None
    atol: float = 0.0
    rtol: float = 0.0
    target_loss: float | None = None
    patience: int | None = None
    max_seconds: float | None = None
    max_batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.max_evaluations < 0:
            raise ValueError(f"max_evaluations must not be negative, got {self.max_evaluations}")
        if self.atol < 0 or self.rtol < 0:
            raise ValueError(f"tolerances must not be negative, got atol={self.atol}, rtol={self.rtol}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be positive, got {self.max_seconds}")
        for name in ("patience", "max_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not all(callable(term) for term in self.extra_terms):
            raise TypeError("extra_terms must be functions (x, prediction) → (B,)")

    def limits(self) -> Limits:
        """When rows end; the clock starts now."""
        return Limits(
            self.max_evaluations,
            target_loss=self.target_loss,
            absolute=self.atol,
            relative=self.rtol,
            patience=self.patience,
            deadline=None if self.max_seconds is None else time.monotonic() + self.max_seconds,
        )

    def bundled(self, target: Batch) -> Batch:
        """The batch of targets as the objective takes it, with its mask where there is one."""
        if self.observed is None:
            return refuse_nonfinite(target)
        mask = checked_mask(self.observed, target)
        return {"target": refuse_nonfinite(without_hidden(target, mask)), "observed": mask}

    def terms(self, layout: Layout) -> Terms:
        """What is asked for beside the loss."""
        lower, upper = checked_bounds(self.bounds, layout)
        return Terms(self.observed is not None, tuple(self.extra_terms), lower, upper)


@dataclass(frozen=True)
class Inversion:
    """Runs a request on a landscape.

    Attributes:
        landscape: θ and F.
        objective: with the terms of the request.
        memory: of the fit.
        z_optimizer: the user's own, or None.
        request: what is asked for.
    """

    landscape: LearnedLandscape
    objective: Objective
    memory: Memory
    z_optimizer: OptimizerFactory | None
    request: Request

    def run(self, target: Batch) -> InversionResult:
        """All targets, in pieces where the request limits the batch."""
        bundle, size = self.request.bundled(target), batches.size(target)
        starts = self._warm_x(target, size)
        limits, piece = self.request.limits(), self.request.max_batch_size or max(1, size)
        descents = []
        for rows in torch.arange(size).split(piece):
            x = None if starts is None else starts[rows.to(starts.device)]
            descents.append(self._descent(batches.rows(bundle, rows), x, limits))
        found = Descent.joined(descents)
        return InversionResult(
            x=self.landscape.layout.structured(found.x),
            z=found.z,
            prediction=found.prediction,
            loss=found.loss,
            status=found.status,
            num_evaluations=found.num_evaluations,
            history=found.history,
        )

    def _descent(self, bundle: Any, warm_x: Tensor | None, limits: Limits) -> Descent:
        mapping, start = self.landscape.in_use(), self._start(bundle, warm_x)
        solver = self.solver(mapping, is_warm=warm_x is not None)
        if self.request.restarts and self.z_optimizer is None and self.landscape.is_fitted and len(self.memory):
            solver = Restarts(solver, self.solver(mapping, is_warm=True), self._look_up(mapping, bundle))
        return descend(self.objective, solver, start, bundle, limits)

    def _start(self, bundle: Any, warm_x: Tensor | None) -> Start:
        """Where to begin: where the user says, or where θ says."""
        masked = self.objective.terms.masked
        target = bundle["target"] if masked else bundle
        features = self.landscape.features(target)
        known = self.landscape.known_features(target, bundle["observed"]) if masked else None
        if warm_x is not None:
            return Start(warm_x, features, known)
        mapping = self.landscape.in_use()
        z = self.landscape.layout.row.new_zeros(batches.size(target), mapping.dim_z)
        with torch.no_grad():
            return Start(mapping(z, Start(z, features, known).context), features, known)

    def _warm_x(self, target: Batch, size: int) -> Tensor | None:
        given = self.request.warm_start
        if given is None:
            return None
        if isinstance(given, InversionResult):
            given = given.x
        elif callable(given):
            with torch.no_grad():
                given = given(target)
        x = self.landscape.layout.flat(given, "warm_start").detach()
        if len(x) != size:
            raise ValueError(f"warm_start has {len(x)} rows for {size} targets")
        if not bool(x.isfinite().all()):
            raise ValueError("warm_start holds NaN or infinity")
        return x

    def solver(self, mapping: Mapping, is_warm: bool = False) -> Solver:
        """How points move. A mapping that keeps one chart cannot begin elsewhere: it gives its metric alone."""
        refine = self.request.refine
        if self.z_optimizer is not None:
            if is_warm and not mapping.reanchors:
                raise ValueError(f"{type(mapping).__name__} begins at θ(0): a warm_start needs an anchored mapping")
            first = TorchOptim(mapping, self.z_optimizer)
            return HandOver(mapping, first) if refine else first
        if not self.landscape.is_fitted:
            return LBFGS()
        if is_warm and not mapping.reanchors:
            return HandOver(mapping, num_steps=0)
        return LandscapeStep(mapping) if refine is False else HandOver(mapping)

    def _look_up(self, mapping: Mapping, bundle: Batch) -> StoredPoints:
        assert mapping.spec is not None
        terms = self.objective.terms
        return StoredPoints(
            self.memory, bundle, self.objective.loss_of, float(mapping.loss), mapping.spec.evaluation_cost,
            is_familiar=not terms.masked and not terms.extra,
        )  # fmt: skip
