"""LandscapeInverter: fit a landscape once, then invert with it. Joins the parts, and owns no mathematics."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, Self

import torch

from .adaptation import Adaptation
from .batches import Batch
from .calibration import calibrate
from .checks import check_fitted, check_length_of_fit, check_parts
from .compiled_steps import compile_steps as compile_steps_of
from .differentiable import Differentiable
from .fitting import (
    Callback,
    Checkpoints,
    Constant,
    Cosine,
    DivergenceGuard,
    Log,
    Logging,
    ProgressBar,
    Rehearsal,
    Schedule,
    Validation,
)
from .fitting.agreement import of_fit, of_inversion, of_round
from .fitting.loop import FitLoop
from .fitting.ranks import Alone, Ranks, ranks_of
from .fitting.round import Backward, Updater, play
from .fitting.shared_inversion import inverted
from .fitting.shared_objective import shared
from .guest import frozen, private_randomness
from .hypotheses import Starts
from .inversion import Inversion, Request, WarmStart
from .landscape import LearnedLandscape
from .layout import X
from .mappings.mapping import Mapping
from .mappings.residual import ResidualMapping
from .memory import Memory
from .objective import ForwardModel, Given, LossFn, Objective
from .persistence import COUNTERS, mapping_state, new_optimizer, optimizer_state
from .precision import Autocast
from .replay import Alternating, Guide, Replay, Streaming
from .results import InversionResult, RoundRecord
from .solvers import HandOver, LandscapeStep, Solver, TorchOptim
from .solvers.torch_optim import OptimizerFactory, refuse_coupled_rows
from .stages import Stage, in_stages
from .targets import TargetFeed, refuse_empty, refuse_nonfinite
from .terms import Bounds, ExtraTerm, Terms
from .theta_objective import DistanceToEnd, LossAtPoint, LossRatio, ThetaObjective


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
        memory: takes solutions met in fitting, which give other starts to unfamiliar targets; None takes a fresh
            :class:`~landscape_opt.memory.Memory`, ``Memory(capacity=0)`` none. Where F is ``given`` more than x, stored
            predictions say nothing of another target: stalled rows then try eight points, an evaluation each.
        batch_size: targets of one round, and of the default ``replay`` the rows of an update. None takes 256 targets, and
            on a CPU as few as 64 rows where F is expensive (:class:`~landscape_opt.replay.Streaming`).
        seed: of everything random; the global random state is never touched.
        compile_steps: whether what a step reads of θ goes through ``torch.compile``
            (:func:`~landscape_opt.compiled_steps.compile_steps`, which also takes its options).
        ranks: processes that fit, and invert, together (:class:`~landscape_opt.fitting.Ranks`). None takes those of torch's
            default process group where there is one; ``Alone()`` leaves this process to itself.

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
        memory: Memory | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        compile_steps: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        check_parts(landscape, loss_fn, replay, theta_objective, batch_size, seed)
        if z_optimizer is not None:
            refuse_coupled_rows(z_optimizer)
        if compile_steps:
            compile_steps_of(landscape.mapping)
        self.landscape, self.loss_fn = landscape, loss_fn
        self.z_optimizer = z_optimizer
        self.theta_optimizer = theta_optimizer or partial(torch.optim.AdamW, lr=2e-3)
        self.replay = Streaming(num_rows=batch_size) if replay is None else replay
        self.theta_objective = LossRatio() if theta_objective is None else theta_objective
        self.memory = Memory() if memory is None else memory
        self.batch_size, self.seed = 256 if batch_size is None else batch_size, seed
        self.given_ranks = ranks
        self.history: list[RoundRecord] = []
        self.generator = torch.Generator().manual_seed(seed)
        self.num_batches = 0
        self.num_updates = 0
        self.num_evaluations = 0
        self.optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def published(
        cls, forward_model: ForwardModel, x_init: X, loss_fn: LossFn, *, given: Given | None = None, seed: int = 0
    ) -> Self:
        """The algorithm as published: θ(z), alternating collection and update, Adam in Z, AdamW for θ.

        T = 20 steps of Adam with lr 0.1, a buffer of 500 batches of 256 points, a three-layer MLP (LeakyReLU 0.2) around
        the identity, AdamW with lr 1e-4 on the loss at the points. The hyper-parameters are reported second hand.

        Args:
            forward_model: F.
            x_init: the plain start, without batch dimension.
            loss_fn: (prediction, target) → (B,).
            given: what F is told of a target beside x, as in :class:`~landscape_opt.LearnedLandscape`.
            seed: of everything random.
        """
        mapping = ResidualMapping(widths=(1024, 1024), scale=1.0, linear=False)
        return cls(
            LearnedLandscape(forward_model, x_init, mapping, given),
            loss_fn,
            z_optimizer=partial(torch.optim.Adam, lr=0.1),
            theta_optimizer=partial(torch.optim.AdamW, lr=1e-4),
            replay=Alternating(num_steps=20, updates_per_round=20, batch_size=256, capacity=500 * 256),
            theta_objective=LossAtPoint(),
            memory=Memory(capacity=0),
            seed=seed,
        )

    @property
    def ranks(self) -> Ranks:
        """The processes that fit, and invert, together."""
        return ranks_of() if self.given_ranks is None else self.given_ranks

    def step(
        self,
        targets: Batch,
        *,
        learning_rate_factor: float = 1.0,
        optimizer: torch.optim.Optimizer | None = None,
        backward: Backward | None = None,
    ) -> RoundRecord:
        """One round of the method: collect with θ frozen, then update θ.

        Args:
            targets: a batch of targets.
            learning_rate_factor: scales θ's learning rate in this round.
            optimizer: of ``landscape.parameters()``, where a trainer of your own has one; its learning rate is left alone.
                :meth:`prepare` makes the parameters.
            backward: what is called in place of ``value.backward()``, as ``accelerator.backward``.

        Example:
            >>> import torch
            >>> from landscape_opt import LandscapeInverter, LearnedLandscape
            >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
            >>> inverter = LandscapeInverter(LearnedLandscape(torch.nn.Linear(2, 2), torch.zeros(2)), squares)
            >>> targets = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
            >>> optimizer = torch.optim.Adam(inverter.prepare(targets).parameters(), lr=1e-3)
            >>> inverter.step(targets, optimizer=optimizer).learning_rate
            0.001
        """
        with self.ranks.together("a round of fitting"):
            return self._step(refuse_nonfinite(targets), learning_rate_factor, optimizer, backward)

    def _step(
        self, targets: Batch, factor: float, optimizer: torch.optim.Optimizer | None, backward: Backward | None
    ) -> RoundRecord:
        began, ranks = time.monotonic(), self.ranks
        ranks.same(of_round(self, targets))
        with self.opened(self._seed_of("round", len(self.history))) as local:
            objective = shared(local, ranks)
            self._make_ready(objective, targets)
            updater = Updater(
                optimizer=self._made_optimizer() if optimizer is None else optimizer,
                factor=factor if optimizer is None else None,
                num_updates=self.num_updates,
                backward=backward or torch.Tensor.backward,
                ranks=ranks,
            )
            landscape = self.landscape
            guide = Guide(
                objective, landscape.mapping, landscape.features, self._collect_solver, self.generator, self.memory
            )
            outcome = play(targets, guide, self.replay, self.theta_objective, updater)
        self.num_evaluations += objective.num_evaluations
        self.num_updates = updater.num_updates
        record = RoundRecord(
            round=len(self.history),
            seconds=ranks.from_first(time.monotonic() - began),
            num_evaluations=objective.num_evaluations,
            objective=outcome.objective,
            trajectory_loss=outcome.trajectory_loss,
            learning_rate=updater.learning_rate,
            skipped_updates=updater.num_skipped,
        )
        self.history.append(record)
        return record

    def prepare(self, targets: Batch) -> LearnedLandscape:
        """Make θ and measure the scales of the problem, as the first round would; returns the landscape.

        Args:
            targets: a batch of them, which shows the sizes.
        """
        targets, ranks = refuse_nonfinite(targets), self.ranks
        with ranks.together("prepare"), self.opened(self._seed_of("round", len(self.history))) as local:
            ranks.same(of_round(self, targets))
            objective = shared(local, ranks)
            self._make_ready(objective, targets)
        self.num_evaluations += objective.num_evaluations
        return self.landscape

    def fit(
        self,
        targets: Any,
        *,
        max_seconds: float | None = None,
        num_rounds: int | None = None,
        schedule: Schedule | None = None,
        validation: Validation | Batch | None = None,
        checkpoint: Checkpoints | str | os.PathLike[str] | None = None,
        callbacks: Sequence[Callback] = (),
        rehearse: Rehearsal | Batch | None = None,
        log: Log | None = None,
        progress: bool = True,
    ) -> Self:
        """Learn the landscape from targets alone; a loop over :meth:`step`.

        Args:
            targets: a Tensor, a tuple or dict of Tensors, a ``Dataset``, a ``DataLoader``, or a re-iterable of batches.
            max_seconds: wall time after which no new round begins.
            num_rounds: rounds at most.
            schedule: of θ's learning rate. None takes a :class:`~landscape_opt.fitting.Cosine` over ``max_seconds``; with
                ``num_rounds`` alone a :class:`~landscape_opt.fitting.Constant`, so that fits compose: k + m rounds are
                k rounds, save, load, and m more.
            validation: held-out targets, or a :class:`~landscape_opt.fitting.Validation` of them, which also says at which
                budgets, how often, and whether the best θ is kept.
            checkpoint: a folder, or :class:`~landscape_opt.fitting.Checkpoints` of one: called again with the same
                arguments, also in another process, the fit goes on from there, and ends as if never interrupted.
            callbacks: told of every round, in order.
            rehearse: old targets, or a :class:`~landscape_opt.fitting.Rehearsal` of them, which are to stand among the new
                ones, so that what the landscape knows of them is not lost.
            log: ``log(dict, step)``, called after every round.
            progress: whether to show a progress bar.

        Returns:
            The inverter itself.

        Raises:
            ValueError: for targets that are empty, not finite (rows are named), or of another size than before; for a
                checkpoint of another fit.
        """
        check_length_of_fit(max_seconds, num_rounds)
        if schedule is None:
            schedule = Constant() if max_seconds is None else Cosine()
        if validation is not None and not isinstance(validation, Validation):
            validation = Validation(validation)
        if checkpoint is not None and not isinstance(checkpoint, Checkpoints):
            checkpoint = Checkpoints(checkpoint)
        if rehearse is not None and not isinstance(rehearse, Rehearsal):
            rehearse = Rehearsal(rehearse)
        told: list[Callback | None] = [
            DivergenceGuard(),
            rehearse,  # not told anything, but its old targets are part of what is resumed
            validation,
            *callbacks,
            None if log is None else Logging(log),
            ProgressBar() if progress else None,
            checkpoint,  # last, so that it writes what the others have seen
        ]
        loop = FitLoop(self, schedule, [one for one in told if one is not None], max_seconds, num_rounds)
        with self.ranks.together("the fit"):
            if rehearse is not None:
                rehearse.begin(self, targets)
            if checkpoint is not None:
                checkpoint.resume(self, loop, targets)
            self.ranks.same(of_fit(self, targets))
            if not loop.is_over:
                feed = TargetFeed if rehearse is None else rehearse.feed
                loop.run(feed(targets, self.batch_size, self.seed, self.num_batches, self.landscape.layout.device))
        return self

    def invert(
        self,
        target: Batch,
        max_evaluations: int = 20,
        *,
        refine: bool | None = None,
        solver: Solver | None = None,
        restarts: bool = True,
        warm_start: WarmStart | None = None,
        observed: Batch | None = None,
        extra_terms: Sequence[ExtraTerm] = (),
        bounds: Bounds | None = None,
        atol: float = 0.0,
        rtol: float = 0.0,
        target_loss: float | None = None,
        patience: int | None = None,
        max_seconds: float | None = None,
        max_batch_size: int | None = None,
        num_hypotheses: int = 1,
        starts: Starts | None = None,
        stages: Sequence[Stage] = (),
        differentiable: Differentiable | str | None = None,
        adapt: Adaptation | bool | None = None,
        allow_unfitted: bool = False,
    ) -> InversionResult:
        """Find x with F(x) ≈ y for every target.

        Args:
            target: a batch of targets, in the format that ``loss_fn`` takes.
            max_evaluations: evaluations of F per row, all counted. Reading the last point's loss is one forward more.
            refine: hand rows over to L-BFGS in X when steps no longer halve their loss, or after three; None does so
                unless a ``z_optimizer`` was chosen.
            solver: what moves x after the hand-over (before any fit: from the start), one of ``landscape_opt.solvers``;
                None takes L-BFGS. ``LevenbergMarquardt()`` needs a :class:`~landscape_opt.LeastSquares` loss.
            restarts: whether the memory is used: what a mask hides is filled in from stored predictions before θ is
                asked for a start, and (without a ``z_optimizer``) a row that starts badly or gets nowhere goes on from a
                stored point.
            warm_start: where to begin instead of the landscape's own start: x (B, …) in the format of ``x_init``, an
                earlier result, or a function of the batch of targets (an encoder) that returns x.
            observed: which elements of the target were observed, of its shape, or without its last dimensions: True and
                False, or weights ≥ 0 of their squared errors. What was not observed may be NaN.
            extra_terms: functions (x, prediction) → (B,), added to the loss of this inversion alone; a
                :class:`~landscape_opt.PerTarget` is told something of every target, too.
            bounds: (lower, upper) of x, each a number, a Tensor, or in the format of ``x_init``; points are projected.
            atol: a row has converged when its loss is at most ``atol + rtol · loss at the start``.
            rtol: see ``atol``.
            target_loss: or when it is at most this.
            patience: a row has stalled when so many evaluations have not lowered its best loss by a thousandth.
            max_seconds: wall time after which the best so far is returned; every target is evaluated once in any case.
            max_batch_size: so many rows go through F at a time, and the next targets take the places of those that have
                finished; the answers are the same.
            num_hypotheses: descend from so many starts for every target, give up the weaker half at 8, 16, 32, …
                evaluations, and return all in ``result.hypotheses``; ``max_evaluations`` is then the budget of each.
            starts: where hypotheses begin, one of those in ``landscape_opt.hypotheses``; None takes
                :class:`~landscape_opt.hypotheses.Remembered`.
            stages: what is minimised first, each a :class:`~landscape_opt.Stage` with its part of ``max_evaluations``, other
                weights and other terms. The next begins at its answer; the last is what is asked for here, and loss,
                status and history are of that one.
            differentiable: ``"implicit"`` or ``"unrolled"``, a :class:`~landscape_opt.Differentiable`: ``result.x``,
                ``result.prediction`` and ``result.loss`` carry gradients in the target and in tensors that the loss
                holds. What that costs in F is not counted.
            adapt: True, or an :class:`~landscape_opt.Adaptation`: a copy of θ learns from these very targets first, which
                takes a part of ``max_evaluations``, and inverts them. This inverter stays as it is.
            allow_unfitted: run before any fit, as plain descent in X.

        Raises:
            RuntimeError: before any fit, unless ``allow_unfitted``.
            ValueError: for targets that are not finite, or of another size than those of the fit.

        Example:
            >>> import torch
            >>> from landscape_opt import LandscapeInverter, LearnedLandscape
            >>> landscape = LearnedLandscape(lambda x: x.cumsum(1), x_init=torch.zeros(3))
            >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
            >>> inverter = LandscapeInverter(landscape, squares)
            >>> hidden = torch.tensor([[1.0, 4.0, torch.nan]])
            >>> result = inverter.invert(hidden, 50, observed=~hidden.isnan(), bounds=(0.0, 2.0), allow_unfitted=True)
            >>> [round(float(value), 3) for value in result.x[0, :2]]
            [1.5, 2.0]
        """
        request = Request(
            max_evaluations,
            refine=refine,
            solver=solver,
            restarts=restarts,
            warm_start=warm_start,
            observed=observed,
            extra_terms=tuple(extra_terms),
            bounds=bounds,
            atol=atol,
            rtol=rtol,
            target_loss=target_loss,
            patience=patience,
            max_seconds=max_seconds,
            max_batch_size=max_batch_size,
            num_hypotheses=num_hypotheses,
            starts=starts,
            differentiable=None if differentiable is None else Differentiable(differentiable),
        )
        adaptation = Adaptation.of(adapt)
        check_fitted(self.landscape.is_fitted, allow_unfitted and adaptation is None)
        if self.landscape.is_fitted:
            self.landscape.check_fits(refuse_empty(target))
        target = refuse_empty(target)
        if adaptation is None:
            return self._answer(target, request, stages)
        if not isinstance(self.ranks, Alone):
            raise ValueError("adapt= learns in one process alone: leave it out where ranks invert together")
        with self.opened(self._seed_of("adapt", 0), request.terms(self.landscape.layout)) as objective:
            adapted = adaptation.run(self, target, request, objective)
        return adapted.charged(adapted.inverter._answer(target, adapted.request, stages))

    def _answer(self, target: Batch, request: Request, stages: Sequence[Stage]) -> InversionResult:
        with self.ranks.together("an inversion"):
            if stages:
                return in_stages(partial(self._invert, target), request, stages)
            return self._invert(target, request)

    def _invert(self, target: Batch, request: Request) -> InversionResult:
        """By this process, or by all ranks together."""
        ranks = self.ranks
        ranks.same(of_inversion(self, target, request))
        with self.opened(self._seed_of("invert", 0), request.terms(self.landscape.layout)) as objective:
            return inverted(self._run, objective, target, request, ranks)

    def _run(self, objective: Objective, target: Batch, request: Request) -> InversionResult:
        return Inversion(self.landscape, objective, self.memory, self.z_optimizer, request).run(target)

    def to(self, device: torch.device | str) -> Self:
        """Move x, θ, the memory and the state of the fit. F is yours to move, and so are targets; returns the inverter.

        Args:
            device: as of :meth:`torch.nn.Module.to`.

        Example:
            >>> import torch
            >>> from landscape_opt import LandscapeInverter, LearnedLandscape
            >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
            >>> F = torch.nn.Linear(2, 2)
            >>> inverter = LandscapeInverter(LearnedLandscape(F, torch.zeros(2)), squares)
            >>> device = "cuda" if torch.cuda.is_available() else "cpu"
            >>> inverter = inverter.to(F.to(device).weight.device)
        """
        self.landscape.to(device)
        home = self.landscape.layout.device
        self.memory.to(home)
        self.replay.to(home)
        if self.optimizer is not None:
            self.optimizer.load_state_dict(self.optimizer.state_dict())  # which sends moments to where the weights are now
        return self

    def unfitted(self) -> Self:
        """An inverter for the same F and loss that has learned nothing: its inversions are plain descent."""
        landscape = LearnedLandscape(
            self.landscape.forward_model,
            self.landscape.layout.x_init,
            given=self.landscape.given,
            precision=self.landscape.precision,
        )
        return type(self)(landscape, self.loss_fn, seed=self.seed, ranks=self.given_ranks)

    def remember(self, x: X) -> None:
        """Add solutions of your own to the memory; costs one forward of F each.

        Args:
            x: (B, …) in the format of ``x_init``.

        Raises:
            ValueError: if F is ``given`` more than x: predictions then belong to a target, and come with results:
                ``inverter.memory.add(x, prediction)``.

        Example:
            >>> import torch
            >>> from landscape_opt import LandscapeInverter, LearnedLandscape
            >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
            >>> inverter = LandscapeInverter(LearnedLandscape(torch.sin, torch.zeros(2)), squares)
            >>> inverter.remember(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
            >>> len(inverter.memory)
            2
        """
        if self.landscape.given is not None:
            raise ValueError("F is given more than x: add results of invert instead, memory.add(x, prediction)")
        rows, ranks = self.landscape.layout.flat(x), self.ranks
        with ranks.together("remember"), self.opened(self._seed_of("remember", 0)) as objective:
            self.memory.add(rows, shared(objective, ranks).prediction(rows, None))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next round depends on: θ, its optimizer, the replay, generators and counters."""
        return {
            "mapping": mapping_state(self.landscape.mapping),
            "optimizer": optimizer_state(self.optimizer),
            "replay": self.replay.state_dict(),
            "memory": self.memory.state_dict(),
            "generator": self.generator.get_state(),
            "history": [asdict(record) for record in self.history],
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave, in an inverter made with the same settings: all of it, or nothing.

        Raises:
            CheckpointError: where a part is missing, or is not what this inverter can take; nothing has changed then.
        """
        from .restore import restore  # here, as all about files: most programs begin without

        restore(self, state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the inverter to one file (safetensors, no pickle), and its card to ``path`` with ``.json`` behind it.

        F, ``loss_fn``, ``given`` and optimizer factories are code and are not saved; a fingerprint of F is.

        Raises:
            NotWrittenError: an ``OSError``, where the disk is full or may not be written to; old files are as they were.
        """
        from . import saving

        saving.save(self, path)

    def saved(self) -> dict[str, Any]:
        """What :meth:`save` writes: the settings, and :meth:`state_dict`."""
        from . import saving

        return saving.saved(self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        forward_model: ForwardModel,
        loss_fn: LossFn,
        *,
        given: Given | None = None,
        mapping: Mapping | None = None,
        z_optimizer: OptimizerFactory | None = None,
        theta_optimizer: OptimizerFactory | None = None,
        replay: Replay | None = None,
        theta_objective: ThetaObjective | None = None,
        precision: Autocast | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """An inverter from a file; goes on fitting exactly where it was saved.

        Args:
            path: of the file.
            forward_model: F; a warning says where its weights differ from those at saving.
            loss_fn: as at saving.
            given: needed where the saved landscape had one; code is not saved.
            mapping: of the user's own, if the saved one was.
            z_optimizer: as at saving, where there was one.
            theta_optimizer: as at saving, where there was one.
            replay: of the user's own, if the saved one was.
            theta_objective: of the user's own, if the saved one was.
            precision: what F is computed in, as in :class:`~landscape_opt.LearnedLandscape`.
            device: where x and θ are to lie; None is where the weights of F lie, and the CPU for an F without.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if it is not a landscape file, or was damaged; as ``NewerFormatError`` if a later release wrote
                it, as ``MismatchError`` if parts of the user's own are missing, all of which are named.
        """
        from . import saving

        return saving.load(
            cls,
            path,
            forward_model,
            loss_fn,
            given=given,
            mapping=mapping,
            z_optimizer=z_optimizer,
            theta_optimizer=theta_optimizer,
            replay=replay,
            theta_objective=theta_objective,
            precision=precision,
            device=device,
        )

    def push(self, repo_id: str | os.PathLike[str], **options: Any) -> str:
        """Publish the inverter on the Hugging Face Hub, or in a folder; options as of :func:`landscape_opt.hub.push`.

        Example:
            >>> import tempfile, torch
            >>> from landscape_opt import LandscapeInverter, LearnedLandscape
            >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
            >>> inverter = LandscapeInverter(LearnedLandscape(torch.sin, torch.zeros(2)), squares, seed=3)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     where = inverter.push(folder)
            ...     LandscapeInverter.from_pretrained(folder, torch.sin, squares).seed
            3
        """
        from . import hub

        return hub.push(self, repo_id, **options)

    @classmethod
    def from_pretrained(
        cls, repo_id: str | os.PathLike[str], forward_model: ForwardModel, loss_fn: LossFn, **options: Any
    ) -> Self:
        """An inverter that was published; options as of :func:`landscape_opt.hub.from_pretrained`, and of :meth:`load`."""
        from . import hub

        return hub.from_pretrained(cls, repo_id, forward_model, loss_fn, **options)

    @contextmanager
    def opened(self, seed: int, terms: Terms | None = None) -> Iterator[Objective]:
        """A context with what is minimised: F and the loss as guests, with randomness of their own (law 5).

        Args:
            seed: of that randomness.
            terms: what is asked for beside the loss.
        """
        landscape = self.landscape
        with (
            landscape.guest() as forward_model,
            frozen(self.loss_fn) as loss_fn,
            private_randomness(seed, landscape.layout.device),
        ):
            yield Objective(forward_model, loss_fn, landscape.layout, landscape.given, terms)

    def _collect_solver(self) -> Solver:
        """How trajectories are collected: to convergence where θ is drawn towards their end."""
        mapping = self.landscape.mapping
        if self.z_optimizer is not None:
            return TorchOptim(mapping, self.z_optimizer)
        converge = isinstance(self.theta_objective, DistanceToEnd) and mapping.reanchors
        return HandOver(mapping) if converge else LandscapeStep(mapping)

    def _make_ready(self, objective: Objective, target: Batch) -> None:
        """Before the first round: build θ, and calibrate."""
        mapping = self.landscape.mapping
        self.landscape.build(objective.forward_model, target, self._seed_of("weights", 0))
        if not self.landscape.is_fitted:
            mapping.calibrate(calibrate(objective, self.landscape.layout, target, self.landscape.features(target)))

    def _made_optimizer(self) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = new_optimizer(self.theta_optimizer, list(self.landscape.mapping.parameters()))
        return self.optimizer

    def _seed_of(self, what: str, number: int) -> int:
        """A seed of its own for every use, the same in every run."""
        return (self.seed * 1_000_003 + number * 7919 + sum(what.encode())) % 2**31
