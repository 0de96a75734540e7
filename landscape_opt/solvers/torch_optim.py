"""Any torch.optim optimizer, in the learned space or in X."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..mappings.context import Context
from ..mappings.mapping import Mapping
from ..objective import Evaluation
from ..results import Status
from .solver import Run, Solver, Start

OptimizerFactory: TypeAlias = Callable[[list[Tensor]], torch.optim.Optimizer]


MAX_HALVINGS = 5


class TorchOptim(Solver):
    """An optimizer of ``torch.optim`` on z, without a safeguard: exactly what it would do in a loop of one's own.

    But for a row that it leads to a loss or gradient that is not finite: that one goes back half-way to its last finite
    point, five times at most, while the optimizer's state of it stays as it was.

    With a :class:`~landscape_opt.mappings.PlainMapping`, z is the displacement in X and this is plain torch.optim.

    Args:
        mapping: θ.
        factory: takes a list with the parameter z (B, dim_z), returns the optimizer:
            ``partial(torch.optim.Adam, lr=0.1)``.

    Raises:
        ValueError: if the optimizer couples rows (torch.optim.LBFGS, Muon, Adafactor), so that the answer for one
            target would depend on the others.

    Example:
        >>> from functools import partial
        >>> import torch
        >>> from landscape_opt import LearnedLandscape
        >>> from landscape_opt.descent import Limits, descend
        >>> from landscape_opt.layout import Layout
        >>> from landscape_opt.objective import Objective
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> objective = Objective(torch.sinh, squares, Layout(torch.zeros(2)))
        >>> start, target = Start(torch.zeros(1, 2)), torch.tensor([[3.0, -4.0]])
        >>> plain = LearnedLandscape(torch.sinh, torch.zeros(2)).plain()
        >>> descent = descend(objective, TorchOptim(plain, partial(torch.optim.Adam, lr=0.1)), start, target, Limits(100))
        >>> bool(descent.loss < 0.1)
        True
    """

    def __init__(self, mapping: Mapping, factory: OptimizerFactory) -> None:
        refuse_coupled_rows(factory)
        self.mapping, self.factory = mapping, factory

    def start(self, start: Start) -> TorchOptimRun:
        """Begin at z = 0 with a fresh optimizer."""
        return TorchOptimRun(self.mapping, self.factory, start)


class TorchOptimRun(Run):
    """The state of a torch optimizer on a batch.

    Attributes:
        parameter: what the optimizer moves, z, (B, dim_z).
        context: what θ is told, with the last evaluation of every row that was finite.
        at_z: where that was, (B, dim_z).
        halvings: of the step that led to a point that is not finite, (B,).
    """

    def __init__(self, mapping: Mapping, factory: OptimizerFactory, start: Start) -> None:
        self.mapping, self.told = mapping, start.context
        self.in_x = not list(mapping.parameters())
        self.parameter = nn.Parameter(start.x.new_zeros(start.x.shape[0], mapping.dim_z))
        self.optimizer = factory([self.parameter])
        self.context = self.told
        self.at_z = self.parameter.detach().clone()
        self.halvings = torch.zeros(len(start.x), dtype=torch.long, device=start.x.device)

    @property
    def z(self) -> Tensor:  # type: ignore[override]  # read from the parameter that the optimizer moves
        """The parameter that the optimizer moves, (B, dim_z)."""
        return self.parameter.detach().clone()

    def observe(self, evaluation: Evaluation) -> None:
        """Anchor the chart at the point just evaluated, where the mapping does so; never at one that is not finite."""
        evaluation, finite, before = evaluation.without_prediction(), evaluation.finite, self.context.evaluation
        if before is None:
            self.halvings = torch.where(finite, 0, MAX_HALVINGS + 1)
        else:
            self.halvings = torch.where(finite, 0, self.halvings + 1)
            evaluation = evaluation.where(finite, before)
        if self.mapping.reanchors:
            self.parameter.data[finite] = 0.0
        self.at_z = torch.where(finite[:, None], self.parameter.detach(), self.at_z)
        self.context = Context(self.told.target, self.told.known, evaluation)

    def propose(self) -> Tensor:
        """One step of the optimizer; half of the last one for rows that it led to a point that is not finite."""
        evaluation = self.context.evaluation
        assert evaluation is not None
        local = self.mapping.local(self.context)
        self.parameter.grad = local.pull_back(self.at_z, evaluation.grad_x).detach()
        failed = (self.halvings > 0).nonzero()[:, 0]
        if len(failed) == 0:
            self.optimizer.step()  # the line that moves z
        else:
            self._step_but_for(failed)
        return local(self.parameter.detach()).detach()

    def _step_but_for(self, failed: Tensor) -> None:
        """A step of the optimizer in which these rows keep their state, and go back half-way."""
        half_way = torch.lerp(self.parameter.detach()[failed], self.at_z[failed], 0.5)
        kept = {name: value[failed] for name, value in self._state_of_rows().items()}
        self.optimizer.step()
        self.parameter.data[failed] = half_way
        for name, value in kept.items():
            self.optimizer.state[self.parameter][name][failed] = value

    def _state_of_rows(self) -> dict[str, Tensor]:
        """What the optimizer keeps for every row."""
        state = self.optimizer.state[self.parameter].items()
        return {name: value for name, value in state if isinstance(value, Tensor) and value.shape == self.parameter.shape}

    def verdict(self) -> Tensor | None:
        """NONFINITE where the start was, or the step after it was halved five times."""
        given_up = self.halvings > MAX_HALVINGS
        return torch.where(given_up, Status.NONFINITE, Status.MAX_EVALUATIONS) if bool(given_up.any()) else None

    def keep(self, index: Tensor) -> None:
        """Go on with these rows of z and of the optimizer's state."""
        for name, value in self._state_of_rows().items():
            self.optimizer.state[self.parameter][name] = value[index]
        self.parameter.data = self.parameter.data[index]
        self.parameter.grad = None
        self.at_z, self.halvings = self.at_z[index], self.halvings[index]
        self.told = self.told.rows(index)
        self.context = self.context.rows(index)


def refuse_coupled_rows(factory: OptimizerFactory) -> None:
    """Law 1 at the door: run two rows together and one alone, and compare."""
    gradients = torch.tensor([[1.0, -2.0, 0.5], [30.0, 10.0, -20.0]])
    try:
        together, alone = _three_steps(factory, gradients), _three_steps(factory, gradients[:1])
    except TypeError as error:
        raise ValueError(
            f"the optimizer cannot be built on [z] or stepped without a closure ({error}); for L-BFGS use "
            "landscape_opt.solvers.LBFGS, which keeps a memory for every row"
        ) from error
    if not torch.allclose(together[:1], alone, rtol=1e-5, atol=1e-7):
        raise ValueError(
            "this optimizer couples the rows of z: the answer for one target would depend on the others in the batch. "
            "Use an element-wise one (Adam, SGD, RMSprop, …) or landscape_opt.solvers.LBFGS."
        )


def _three_steps(factory: OptimizerFactory, gradients: Tensor) -> Tensor:
    parameter = nn.Parameter(torch.ones_like(gradients))
    optimizer = factory([parameter])
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"expected a torch.optim.Optimizer, got {type(optimizer).__name__}")
    for _ in range(3):
        parameter.grad = gradients.clone()
        optimizer.step()
    return parameter.detach()
