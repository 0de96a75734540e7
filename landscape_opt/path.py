"""A run that is driven from outside, one evaluation at a time, with the best point of every row; it can be written down."""

from __future__ import annotations

import copy
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor

from .landscape import LearnedLandscape
from .objective import Evaluation
from .results import Status
from .solvers import LBFGS, HandOver, Run, Solver, Start, TorchOptim
from .solvers.adaptive import AdaptiveRun, AdaptiveStep
from .solvers.line_search import LineSearch
from .solvers.torch_optim import OptimizerFactory, TorchOptimRun

_TENSORS = ("status", "best_x", "best_loss")


class Path:
    """A run in somebody else's loop. Rows that have ended stay in the batch, at their best point.

    To be read again, the first evaluations are kept and shown once more: they decide which parts a run has, and the
    metric that a hand-over makes is a function, which cannot be written. All else is tensors, put in their places.

    Args:
        solver: begins the run.
        start: where.
        knows_loss: whether evaluations come with their losses.

    Attributes:
        status: a :class:`~landscape_opt.results.Status` per row, (B,): MAX_EVALUATIONS while it moves.
        best_x: of every row, (B, d); without losses the last point whose gradient was finite.
        best_loss: there, (B,); None while no loss is known.
    """

    def __init__(self, solver: Solver, start: Start, knows_loss: bool) -> None:
        self.run: Run = solver.start(start)
        self.knows_loss = knows_loss
        self.status = torch.full((len(start.x),), int(Status.MAX_EVALUATIONS), device=start.x.device)
        self.best_x = start.x
        self.best_loss: Tensor | None = None
        self.num_steps = 0
        self.num_shown = solver.num_steps + 1 if isinstance(solver, HandOver) else 1
        self.shown: list[Evaluation] = []

    def next(self, evaluation: Evaluation, offset: Tensor | None = None) -> Tensor:
        """Take in an evaluation, and say where to evaluate next, (B, d).

        Args:
            evaluation: at the point proposed last.
            offset: added to the points of a fixed mapping that was moved, (B, d).
        """
        if self.knows_loss:
            self.take(evaluation.x, evaluation.loss)
        else:
            self.best_x = torch.where(evaluation.finite[:, None], evaluation.x, self.best_x)
        x = self._shown(evaluation)
        self._judge(evaluation)
        self.num_steps += 1
        x = x + offset if offset is not None and self.run.in_x is False else x
        return torch.where((self.status == Status.MAX_EVALUATIONS)[:, None], x, self.best_x)

    def set(self, settings: dict[str, Any]) -> None:
        """What a scheduler has written into ``param_groups`` reaches whoever moves z."""
        if isinstance(self.run, TorchOptimRun):
            inner = self.run.optimizer.param_groups[0]
            inner.update({name: value for name, value in settings.items() if name in inner and name != "params"})
        elif isinstance(self.run, AdaptiveRun):
            self.run.factor = float(settings["lr"])

    def take(self, x: Tensor, loss: Tensor) -> None:
        """Keep what is better: NaN never is, nor is minus infinity, which is no loss at all."""
        if self.best_loss is None:
            self.best_x, self.best_loss = x, loss
            return
        better = (loss < self.best_loss) & loss.isfinite()
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best_x = torch.where(better[:, None], x, self.best_x)

    def _shown(self, evaluation: Evaluation) -> Tensor:
        if len(self.shown) < self.num_shown:
            self.shown.append(evaluation.without_prediction())
        self.run.observe(evaluation)
        return self.run.propose()

    def _judge(self, evaluation: Evaluation) -> None:
        """Rows that have ended by themselves, as in an inversion."""
        verdict = self.run.verdict()
        ended = torch.full_like(self.status, int(Status.MAX_EVALUATIONS)) if verdict is None else verdict.to(self.status)
        if self.knows_loss:
            flat = (evaluation.grad_x == 0).all(1) & evaluation.finite
            ended = ended.masked_fill(flat, int(Status.NO_GRADIENT))
            ended = ended.masked_fill(flat & (evaluation.loss == 0), int(Status.CONVERGED))  # no loss can be lower
        if self.num_steps == 0:
            ended = ended.masked_fill(~evaluation.finite, int(Status.NONFINITE_START))
        self.status = torch.where(self.status == Status.MAX_EVALUATIONS, ended, self.status)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers, and dicts and lists of them."""
        state: dict[str, Any] = {name: packed(getattr(self, name)) for name in (*_TENSORS, "knows_loss", "num_steps")}
        if isinstance(self.run, TorchOptimRun):
            return {**state, "z": self.run.z, "z_optimizer": copy.deepcopy(self.run.optimizer.state_dict())}
        return {**state, "shown": [packed(evaluation) for evaluation in self.shown], "run": packed(self.run)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was called; this path must not have begun.

        Raises:
            ValueError: if the state is of another kind of run.
        """
        if ("z_optimizer" in state) != isinstance(self.run, TorchOptimRun):
            raise ValueError("the state is of an optimizer with another z_optimizer; make this one with the same arguments")
        for name in (*_TENSORS, "num_steps"):
            setattr(self, name, packed(state[name]))
        if isinstance(self.run, TorchOptimRun):
            self.run.parameter.data.copy_(state["z"])
            self.run.optimizer.load_state_dict(state["z_optimizer"])
            return
        for evaluation in state["shown"]:
            self._shown(Evaluation(**packed(evaluation)))
        self.run = unpacked(self.run, state["run"])


def chosen(landscape: LearnedLandscape, z_optimizer: OptimizerFactory | None, knows_loss: bool, is_moved: bool) -> Solver:
    """How x moves: as in an inversion from a given start; where no loss is known, by gradients alone."""
    mapping = landscape.in_use()
    if not knows_loss and mapping.reanchors:  # its charts read whole evaluations: what is left without is x_k + z
        plain = landscape.plain()
        plain.step.copy_(mapping.step)
        mapping = plain
    if z_optimizer is not None:
        return TorchOptim(mapping, z_optimizer)
    if not knows_loss:
        return AdaptiveStep(mapping, None if landscape.is_fitted else 1.0)
    if not landscape.is_fitted:
        return LBFGS()
    return HandOver(mapping, num_steps=0) if is_moved and not mapping.reanchors else HandOver(mapping)


def packed(part: Any) -> Any:
    """A copy of the tensors and numbers in a part of a run; what is neither is left out."""
    if isinstance(part, Tensor):
        return part.detach().clone()
    if isinstance(part, list):
        return [packed(one) for one in part]
    if isinstance(part, dict):
        return {name: packed(one) for name, one in part.items()}
    if _has_parts(part):
        return {name: packed(one) for name, one in vars(part).items() if _is_state(one)}
    return part


def unpacked(template: Any, state: Any) -> Any:
    """A copy of ``template`` with the tensors and numbers of ``state`` in it."""
    if isinstance(state, list):
        return [unpacked(one, part) for one, part in zip(template, state, strict=True)]
    if not isinstance(state, dict):
        return packed(state)
    filled = copy.copy(template)
    for name, part in state.items():
        if name not in vars(filled):
            raise ValueError(f"the state is of another kind of run: this {type(template).__name__} has no {name!r}")
        vars(filled)[name] = unpacked(vars(filled)[name], part)  # past the guard of frozen dataclasses: the copy is ours
    return filled


def _has_parts(part: Any) -> bool:
    return isinstance(part, Run | LineSearch) or (is_dataclass(part) and not isinstance(part, type))


def _is_state(part: Any) -> bool:
    return part is None or isinstance(part, Tensor | bool | int | float | list) or _has_parts(part)
