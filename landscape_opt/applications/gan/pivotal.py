"""Pivotal tuning: the weights of the synthesis moved around an inverted w, for every target its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...inverter import LandscapeInverter
from ...landscape import LearnedLandscape
from ...results import InversionResult
from ...solvers import TorchOptim
from .perceptual import Perceived
from .spaces import Space


class TunedWeights(nn.Module):
    """A forward model whose x are all weights of a synthesis, beside a w that stays where it is.

    Every row has weights of its own, so the module is mapped over the rows with ``torch.func.vmap``.

    Args:
        synthesis: A module; its own weights stay as they are.

    Attributes:
        x_init: The weights of the module, by name.
    """

    def __init__(self, synthesis: nn.Module) -> None:
        super().__init__()
        self.synthesis = synthesis
        self.names = [name for name, _ in synthesis.named_parameters()]
        self.x_init = {name.replace(".", "_"): weight.detach().clone() for name, weight in synthesis.named_parameters()}

    def forward(self, x: dict[str, Tensor], w: Tensor) -> Tensor:
        """The picture of every w, ``(B, …)``, with the weights of its row."""

        def one(weights: dict[str, Tensor], row: Tensor) -> Tensor:
            named = {name: weights[name.replace(".", "_")] for name in self.names}
            picture: Tensor = torch.func.functional_call(self.synthesis, named, (row[None],))
            return picture[0]

        return torch.func.vmap(one)(x, w)


class _Tuned(nn.Module):
    """:class:`TunedWeights`, and the features of its pictures."""

    def __init__(self, weights: TunedWeights, perceived: Perceived) -> None:
        super().__init__()
        self.weights, self.perceived = weights, perceived

    def forward(self, x: dict[str, Tensor], w: Tensor) -> dict[str, Tensor]:
        return self.perceived.perceive(self.weights(x, w))


def pivotal_tuning(
    perceived: Perceived,
    loss_fn: Callable[[Any, Any], Tensor],
    found: InversionResult,
    target: dict[str, Tensor],
    num_evaluations: int = 100,
    lr: float = 1e-3,
) -> InversionResult:
    """Go on from an inversion by moving the weights of the synthesis, after Roich et al., "Pivotal Tuning" (2021).

    Adam on the loss of the inversion. Theirs also keeps the pictures of other w as they were; here the weights serve one
    target and are thrown away. An evaluation counts as one, though it is dearer than one of w.

    Args:
        perceived: F of the inversion, around one of the spaces.
        loss_fn: Of the inversion.
        found: Where it ended: the pivot.
        target: Its targets.
        num_evaluations: Of the tuning.
        lr: Of Adam.

    Returns:
        The inversion in weights, whose ``x`` holds those of every row.

    Raises:
        TypeError: if F is not one of the spaces, or its synthesis is no module.

    Example:
        >>> from landscape_opt.applications.gan import StyleModel, WSpace, glyph_inversion, load_generator
        >>> problem = glyph_inversion(WSpace(StyleModel.of(load_generator())), num_test=2, num_validation=2, num_train=8)
        >>> inverter = LandscapeInverter(problem.landscape(), problem.loss_fn)
        >>> pivot = inverter.invert(problem.test, 2, allow_unfitted=True)
        >>> tuned = pivotal_tuning(problem.forward_model, problem.loss_fn, pivot, problem.test, num_evaluations=3)
        >>> bool((tuned.loss < pivot.loss).all())
        True
    """
    space = perceived.forward_model
    if not isinstance(space, Space) or not isinstance(space.model.synthesis, nn.Module):
        raise TypeError(f"pivotal tuning needs a space whose synthesis is an nn.Module, got {type(space).__name__}")
    weights = TunedWeights(space.model.synthesis)
    landscape = LearnedLandscape(_Tuned(weights, perceived), weights.x_init, given=lambda both: both["w"])
    with torch.no_grad():
        both = {"target": target, "w": space.w(found.x).contiguous()}
    inverter = LandscapeInverter(landscape, lambda prediction, both: loss_fn(prediction, both["target"]))
    solver = TorchOptim(landscape.plain(), partial(torch.optim.Adam, lr=lr))
    return inverter.invert(both, num_evaluations, solver=solver, allow_unfitted=True)
