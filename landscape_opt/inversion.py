"""One inversion: from what the user asks for to a descent and its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import batches
from .batches import Batch
from .descent import Descent, Limits, descend
from .differentiable import Answer, Differentiable, implicit, unrolled
from .hypotheses import Hypotheses, Place, Remembered, Starts, distinct, diversity
from .landscape import LearnedLandscape
from .layout import Layout, X
from .look_up import LookUp, StoredPoints, UnrankedPoints
from .mappings.mapping import Mapping
from .memory import Memory
from .objective import Objective
from .results import InversionResult
from .solvers import LBFGS, HandOver, LandscapeStep, Restarts, Solver, Start, TorchOptim, Tournament
from .solvers.torch_optim import OptimizerFactory
from .targets import refuse_nonfinite
from .terms import Bounds, ExtraTerm, Terms, checked_bounds, checked_mask, given_target, without_hidden

WarmStart: TypeAlias = "X | InversionResult | Callable[[Any], X]"


@dataclass(frozen=True)
class Request:
    """What an inversion is asked for. Attributes as the arguments of ``LandscapeInverter.invert``."""

    max_evaluations: int
    refine: bool | None = None
    solver: Solver | None = None
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
    num_hypotheses: int = 1
    starts: Starts | None = None
    differentiable: Differentiable | None = None

    def __post_init__(self) -> None:
        if self.max_evaluations < 0:
            raise ValueError(f"max_evaluations must not be negative, got {self.max_evaluations}")
        if self.atol < 0 or self.rtol < 0:
            raise ValueError(f"tolerances must not be negative, got atol={self.atol}, rtol={self.rtol}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be positive, got {self.max_seconds}")
        for name in ("patience", "max_batch_size", "num_hypotheses"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.solver is not None and not isinstance(self.solver, Solver):
            raise TypeError(f"solver must be a landscape_opt.solvers.Solver, got {type(self.solver).__name__}")
        if self.solver is not None and self.refine is False:
            raise ValueError("refine=False stays in the learned space, a solver moves x: give one or the other")
        if self.starts is not None and not isinstance(self.starts, Starts):
            raise TypeError(f"starts must be a landscape_opt.hypotheses.Starts, got {type(self.starts).__name__}")
        if not all(callable(term) for term in self.extra_terms):
            raise TypeError("extra_terms must be functions (x, prediction) → (B,)")
        if self.differentiable is Differentiable.UNROLLED and (self.refine or self.solver or self.num_hypotheses > 1):
            raise ValueError(
                "differentiable='unrolled' goes through the landscape's own steps, without refine=True, a solver and "
                "further hypotheses; leave those out, or use 'implicit', which takes any answer"
            )

    def limits(self, clock: Callable[[float], float]) -> Limits:
        """When rows end; the clock, which says what time it is in so many seconds, starts now."""
        count = self.num_hypotheses
        at_a_time = None if self.max_batch_size is None else count * max(1, self.max_batch_size // count)
        return Limits(
            self.max_evaluations,
            target_loss=self.target_loss,
            absolute=self.atol,
            relative=self.rtol,
            patience=self.patience,
            deadline=None if self.max_seconds is None else clock(self.max_seconds),
            clock=partial(clock, 0.0),
            max_active=at_a_time,
            admitted_together=count,
        )

    def bundled(self, target: Batch) -> Batch:
        """The batch of targets as the objective takes it, with its mask and what terms are told of it."""
        mask = None if self.observed is None else checked_mask(self.observed, target)
        shown = target if mask is None else without_hidden(target, mask)
        bundle: Batch = self._additions().bundle(refuse_nonfinite(shown), mask)
        return bundle

    def _additions(self) -> Terms:
        return Terms(self.observed is not None, tuple(self.extra_terms))

    def terms(self, layout: Layout) -> Terms:
        """What is asked for beside the loss."""
        lower, upper = checked_bounds(self.bounds, layout)
        return replace(self._additions(), lower=lower, upper=upper)


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
        """All targets, so many at a time as the request allows."""
        bundle, size = self.request.bundled(target), batches.size(target)
        count = self.request.num_hypotheses
        everything = self._descent(bundle, self._warm_x(target, size), self.request.limits(self.objective.clock))
        found, hypotheses = (everything, None) if count == 1 else self._ranked(everything, count)
        if self.request.differentiable is Differentiable.IMPLICIT and torch.is_grad_enabled():
            found = self._attached(found, bundle)
        return InversionResult(
            x=self.landscape.layout.structured(found.x),
            z=found.z,
            prediction=found.prediction,
            loss=found.loss,
            status=found.status,
            num_evaluations=found.num_evaluations,
            history=found.history,
            hypotheses=hypotheses,
        )

    def _ranked(self, found: Descent, count: int) -> tuple[Descent, Hypotheses]:
        """The best answer of every target with the evaluations of all, and all of them in order."""
        loss = torch.where(found.loss.isfinite(), found.loss, torch.inf).reshape(-1, count)
        order = loss.argsort(dim=1, stable=True) + count * torch.arange(len(loss), device=loss.device)[:, None]
        x, scale = found.x[order], float(self.landscape.in_use().move)
        structured = self.landscape.layout.structured(x.flatten(0, 1))
        hypotheses = Hypotheses(
            x=batches.map_leaves(lambda part: part.unflatten(0, order.shape), structured),
            loss=found.loss[order],
            status=found.status[order],
            num_evaluations=found.num_evaluations[order],
            num_distinct=distinct(x, scale),
            diversity=diversity(x),
        )
        best = found.rows(order[:, 0])
        return replace(best, num_evaluations=found.num_evaluations[order].sum(1)), hypotheses

    def _attached(self, found: Descent, bundle: Any) -> Descent:
        """The same answers with their gradient in the targets and in what the loss holds."""
        pieces = torch.arange(len(found.x)).split(self.request.max_batch_size or max(1, len(found.x)))
        answers = [implicit(self.objective, found.x[rows], batches.rows(bundle, rows)) for rows in pieces]
        answer = Answer.joined(answers)
        return replace(found, x=answer.x, prediction=answer.prediction, loss=answer.loss)

    def _descent(self, bundle: Any, warm_x: Tensor | None, limits: Limits) -> Descent:
        if self.request.differentiable is Differentiable.UNROLLED:
            if self.z_optimizer is not None:
                raise ValueError("differentiable='unrolled' cannot go through a z_optimizer; use 'implicit'")
            return unrolled(self.landscape, self.objective, bundle, warm_x, limits)
        bundle = batches.detached(bundle)
        mapping = self.landscape.in_use()
        look_up = self._look_up(mapping, bundle)
        start = self._start(bundle, warm_x, look_up if self.request.restarts else None)
        if self.request.num_hypotheses > 1:
            return self._several(mapping, bundle, start, look_up, limits)
        solver = self.solver(mapping, is_warm=warm_x is not None)
        if self.request.restarts and self.z_optimizer is None and look_up is not None:
            solver = Restarts(solver, self.solver(mapping, is_warm=True), look_up)
        return descend(self.objective, solver, start, bundle, limits)

    def _several(self, mapping: Mapping, bundle: Any, own: Start, look_up: LookUp | None, limits: Limits) -> Descent:
        """Descents from several starts for every target, in rows below one another."""
        count, size = self.request.num_hypotheses, len(own.x)
        # The global generator is seeded by the inverter here (law 5), so this one is too.
        generator = torch.Generator().manual_seed(torch.initial_seed())
        place = Place(self.landscape.layout, float(mapping.move), look_up, generator)
        x = (self.request.starts or Remembered()).draw(own.x, count, place).flatten(0, 1)
        again = torch.arange(size, device=x.device).repeat_interleave(count)
        wide = own.rows(again)
        if wide.target is not None:
            # The target's features speak for the landscape's own start: the others are there for where it is wrong.
            known = torch.ones_like(wide.target) if wide.known is None else wide.known
            wide = replace(wide, known=torch.where((x == wide.x).all(1)[:, None], known, 0.0))
        solver = Tournament(self.solver(mapping, is_warm=True), count)
        return descend(self.objective, solver, replace(wide, x=x), batches.rows(bundle, again), limits)

    def _start(self, bundle: Any, warm_x: Tensor | None, look_up: LookUp | None) -> Start:
        """Where to begin: where the user says, or where θ says, who is told what the memory makes of hidden parts."""
        masked = self.objective.terms.masked
        target = given_target(bundle, self.objective.terms)
        features = self.landscape.features(target)
        known = self.landscape.known_features(target, bundle["observed"]) if masked else None
        if (whole := None if look_up is None else look_up.completed()) is not None:
            features, known = self.landscape.features(whole), None
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
        refine, second = self.request.refine, self.request.solver
        if self.z_optimizer is not None:
            if is_warm and not mapping.reanchors:
                raise ValueError(
                    f"{type(mapping).__name__} begins at θ(0): a warm_start, or other hypotheses, need an anchored mapping"
                )
            first = TorchOptim(mapping, self.z_optimizer)
            return HandOver(mapping, first, second=second) if refine or second is not None else first
        if not self.landscape.is_fitted:
            return LBFGS() if second is None else second
        if is_warm and not mapping.reanchors:
            return HandOver(mapping, num_steps=0, second=second)
        return LandscapeStep(mapping) if refine is False else HandOver(mapping, second=second)

    def _look_up(self, mapping: Mapping, bundle: Batch) -> LookUp | None:
        if mapping.spec is None or not self.landscape.is_fitted or len(self.memory) == 0:
            return None
        if self.landscape.given is not None:  # a stored prediction was made with what another target gave
            return UnrankedPoints(self.memory, float(mapping.loss), float(mapping.attained))
        return StoredPoints(
            self.memory, bundle, self.objective.loss_of, mapping.x_init, float(mapping.loss), mapping.spec.evaluation_cost,
            self.objective.terms, float(mapping.attained), mapping,
        )  # fmt: skip
