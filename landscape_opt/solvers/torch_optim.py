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


class TorchOptim(Solver):
    """An optimizer of ``torch.optim`` on z, without a safeguard: exactly what it would do in a loop of one's own.

    With a :class:`~landscape_opt.mappings.PlainMapping`, z is the displacement in X and this is plain torch.optim.

    Args:
        mapping: θ.
        factory: takes a list with the parameter z (B, dim_z), returns the optimizer:
            ``partial(torch.optim.Adam, lr=0.1)``.

    Raises:
        ValueError: if the optimizer couples rows (torch.optim.LBFGS, Muon, Adafactor), so that the answer for one
            target would depend on the others.
    """

    def __init__(self, mapping: Mapping, factory: OptimizerFactory) -> None:
        refuse_coupled_rows(factory)
        self.mapping, self.factory = mapping, factory

    def start(self, start: Start) -> TorchOptimRun:
        """Begin at z = 0 with a fresh optimizer."""
        return TorchOptimRun(self.mapping, self.factory, start)


class TorchOptimRun(Run):
    """The state of a torch optimizer on a batch."""

    def __init__(self, mapping: Mapping, factory: OptimizerFactory, start: Start) -> None:
        self.mapping, self.told = mapping, start.context
        self.in_x = not list(mapping.parameters())
        self.parameter = nn.Parameter(start.x.new_zeros(start.x.shape[0], mapping.dim_z))
        self.optimizer = factory([self.parameter])
        self.context = self.told

    @property
    def z(self) -> Tensor:  # type: ignore[override]  # read from the parameter that the optimizer moves
        """The parameter that the optimizer moves, (B, dim_z)."""
        return self.parameter.detach().clone()

    def observe(self, evaluation: Evaluation) -> None:
        """Anchor the chart at the point just evaluated, where the mapping does so."""
        if self.mapping.reanchors:
            self.parameter.data.zero_()
        self.context = Context(self.told.target, self.told.known, evaluation.without_prediction())

    def propose(self) -> Tensor:
        """One step of the optimizer."""
        evaluation = self.context.evaluation
        assert evaluation is not None
        local = self.mapping.local(self.context)
        self.parameter.grad = local.pull_back(self.parameter, evaluation.grad_x).detach()
        self.optimizer.step()  # the line that moves z
        return local(self.parameter.detach()).detach()

    def verdict(self) -> Tensor | None:
        """NONFINITE where the gradient was: the optimizer's state of that row is spoilt."""
        evaluation = self.context.evaluation
        if evaluation is None or bool(evaluation.finite.all()):
            return None
        return torch.where(evaluation.finite, Status.MAX_EVALUATIONS, Status.NONFINITE)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows of z and of the optimizer's state."""
        before = self.parameter.shape
        for key, value in self.optimizer.state[self.parameter].items():
            if isinstance(value, Tensor) and value.shape == before:
                self.optimizer.state[self.parameter][key] = value[index]
        self.parameter.data = self.parameter.data[index]
        self.parameter.grad = None
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
