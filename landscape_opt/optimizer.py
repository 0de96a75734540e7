"""LandscapeOptimizer: the landscape as a torch.optim.Optimizer, for a loop that already exists."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from . import batches
from .batches import Batch
from .checks import check_fitted
from .closure import Closure, checked_answer, evaluated, seen
from .landscape import LearnedLandscape
from .mappings.context import Context
from .parameters import Parameters
from .path import Path, chosen
from .results import Status
from .solvers import Start
from .solvers.torch_optim import OptimizerFactory, refuse_coupled_rows
from .targets import refuse_nonfinite


class LandscapeOptimizer(torch.optim.Optimizer):
    r"""Moves the user's own x in a learned landscape, in a loop that was written for ``torch.optim``.

    The first call of :meth:`step` settles how x is moved; what is known decides:

    * ``step()`` after ``backward()`` knows the target, x and ``x.grad``, but no loss. θ is told the target alone: a fixed
      mapping pulls ``x.grad`` back to z, an anchored one gives its learned start and no charts. The length of a row's
      steps follows from its gradients (:class:`~landscape_opt.solvers.adaptive.AdaptiveStep`).
    * ``step(closure)``, where the closure returns (losses, prediction), knows all, and takes the path of
      :meth:`LandscapeInverter.invert(…, restarts=False) <landscape_opt.LandscapeInverter.invert>`: landscape steps with
      a safeguard, then L-BFGS with the learned metric. A fixed mapping, or an unfitted one, needs the losses alone.

    With ``z_optimizer`` that optimizer moves z in both. Every step costs what the loop's own evaluation of F costs.
    Where the loop changes x between two steps, by a clamp for example, the descent goes on from there.

    Args:
        params: ``[x]``, a leaf tensor (B, …) that requires a gradient; where ``x_init`` is a dict, the tensors of its
            parts in that order, or a dict of them.
        landscape: θ, as in ``inverter.landscape``. F is not called.
        target: a batch of B targets, for θ to read; None tells it nothing of them.
        start: "learned" writes θ(0; target) into x at once, "given" begins at x as it is; None takes the learned start
            where x is ``x_init`` in every row. A fixed mapping that begins elsewhere is moved there, row by row, and
            with a closure it hands over at once.
        z_optimizer: a factory of a ``torch.optim`` optimizer on z, as ``partial(torch.optim.Adam, lr=0.1)``. Its settings
            are those in ``param_groups``, for schedulers; its weight decay is that of z. Without it ``lr`` is a factor on
            the steps of ``step()``, 1 by default, and must stay 1 with a closure.
        allow_unfitted: run before any fit, as descent in X.

    Raises:
        TypeError: for a landscape or parameters of another kind.
        ValueError: for an x or a target that does not fit, or is not finite.
        RuntimeError: before any fit, unless ``allow_unfitted``.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LandscapeOptimizer, LearnedLandscape
        >>> A = torch.tensor([[1.0, 0.0], [0.3, 0.1]])
        >>> F, loss_fn = lambda x: x @ A.T, lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(F, torch.zeros(2)), loss_fn)
        >>> targets = torch.randn(512, 2, generator=torch.Generator().manual_seed(0)) @ A.T
        >>> inverter = inverter.fit(targets, num_rounds=40, progress=False)
        >>> x, target = torch.zeros(4, 2, requires_grad=True), targets[:4]
        >>> optimizer = LandscapeOptimizer([x], inverter.landscape, target)  # was torch.optim.Adam([x], lr=0.1)
        >>> for _ in range(20):
        ...     optimizer.zero_grad()
        ...     loss = loss_fn(F(x), target)
        ...     loss.sum().backward()
        ...     optimizer.step()
        >>> bool((loss < 1e-3).all())
        True
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Mapping[str, Tensor],
        landscape: LearnedLandscape,
        target: Batch | None = None,
        *,
        start: Literal["learned", "given"] | None = None,
        z_optimizer: OptimizerFactory | None = None,
        allow_unfitted: bool = False,
    ) -> None:
        if not isinstance(landscape, LearnedLandscape):
            raise TypeError(f"expected a LearnedLandscape, got {type(landscape).__name__}; give inverter.landscape")
        if start not in (None, "learned", "given"):
            raise ValueError(f"start must be 'learned', 'given' or None, got {start!r}")
        check_fitted(landscape.is_fitted, allow_unfitted)
        self.landscape, self.z_optimizer = landscape, z_optimizer
        self.point = Parameters(params, landscape.layout)
        super().__init__(self.point.parts, _settings(z_optimizer))
        mapping, features = landscape.in_use(), self._features(target)
        with torch.no_grad():
            zeros = self.point.x.new_zeros(len(self.point.x), mapping.dim_z)
            learned = mapping(zeros, Context(features))
        if start == "learned" or (start is None and bool((self.point.x == landscape.layout.row).all())):
            self.point.write(learned)
        self.begin = Start(self.point.x, features)
        self.is_moved = not torch.equal(self.point.x, learned)
        self.offset = self.point.x - learned  # of a fixed mapping that begins elsewhere
        self.path: Path | None = None

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Move x by one step.

        Args:
            closure: evaluates F at x and returns the losses (B,), or a pair (losses, prediction). It is called once, and
                must not call ``backward()``: gradients are taken of the sum of the losses, in x and in the prediction
                alone, and no ``.grad`` is written. None takes ``x.grad``.

        Returns:
            What the closure returned.

        Raises:
            RuntimeError: without a closure, where there is no ``x.grad``, or from a closure that calls ``backward()``.
            TypeError: for a closure that returns something else.
            ValueError: for losses that are not per sample, or do not depend on x; for a ``lr`` that would have no effect;
                where steps with and without a closure are mixed.
        """
        self._follow()
        self._check_mode(closure is not None)
        if closure is None:
            evaluation, answer = seen(self.point.parts, self.point.x), None
        else:
            evaluation, answer = evaluated(closure, self.point.parts, self.point.x, self._num_residuals)
        path = self._begun(closure is not None)
        path.set(self.param_groups[0])
        self.point.write(path.next(evaluation, None if self._reanchors else self.offset))
        return answer

    @property
    def status(self) -> Tensor:
        """A :class:`~landscape_opt.Status` per row, (B,): MAX_EVALUATIONS while it moves. A row that has ended stays."""
        going = torch.full((len(self.point.x),), int(Status.MAX_EVALUATIONS), device=self.point.x.device)
        return going if self.path is None else self.path.status.clone()

    @property
    def best_x(self) -> Any:
        """The x with the lowest loss of every row so far, (B, …) in the format of ``x_init``; known with a closure."""
        return self.landscape.layout.structured(self._known().best_x)

    @property
    def best_loss(self) -> Tensor:
        """The loss there, (B,)."""
        loss = self._known().best_loss
        assert loss is not None
        return loss.clone()

    @torch.no_grad()
    def finish(self, closure: Closure | None = None) -> Tensor:
        """Write the best point of every row into x, at the end of a loop with a closure.

        Args:
            closure: the same again, to read the loss where the last step has led; F is only run forward. Without it
                that point is not looked at.

        Returns:
            The losses there, (B,).
        """
        path = self._known()
        if closure is not None:
            self._follow()
            path.take(self.point.x, checked_answer(closure(), len(self.point.x))[0].to(self.point.x))
        self.point.write(path.best_x)
        return self.best_loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refused: x is one batch of rows, and θ reads it whole.

        Raises:
            ValueError: always, once the optimizer is made.
        """
        if self.param_groups:
            raise ValueError("a LandscapeOptimizer moves the x of its landscape alone; make another one for other tensors")
        super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """As in ``torch.optim``, and under "landscape" where x stands and the run that moves it, in plain tensors."""
        self._follow()
        run = None if self.path is None else self.path.state_dict()
        own = {"x": self.point.x.clone(), "offset": self.offset.clone(), "is_moved": self.is_moved, "path": run}
        return {**super().state_dict(), "landscape": own}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on exactly where :meth:`state_dict` was called, in an optimizer made with the same arguments; x is set.

        Raises:
            ValueError: for the state of another kind of optimizer, or of an x of another size.
        """
        own = state_dict.get("landscape")
        if own is None:
            raise ValueError("this is not the state of a LandscapeOptimizer: it has no 'landscape'")
        if own["x"].shape != self.point.x.shape:
            here, there = tuple(self.point.x.shape), tuple(own["x"].shape)
            raise ValueError(f"the state is of an x of (rows, numbers in a row) = {there}, this one is of {here}")
        super().load_state_dict({name: part for name, part in state_dict.items() if name != "landscape"})
        self.offset, self.is_moved, self.path = own["offset"].clone(), own["is_moved"], None
        if own["path"] is not None:
            self._begun(own["path"]["knows_loss"]).load_state_dict(own["path"])
        self.point.write(own["x"].clone())

    def _follow(self) -> None:
        """Where the loop has changed x by itself, go on from there."""
        self.offset = self.offset + self.point.changes()

    def _begun(self, with_closure: bool) -> Path:
        if self.path is None:
            solver = chosen(self.landscape, self.z_optimizer, with_closure, self.is_moved)
            self.path = Path(solver, self.begin, knows_loss=with_closure)
        return self.path

    @property
    def _num_residuals(self) -> int:
        """Numbers of ∂L/∂prediction that θ reads."""
        spec = self.landscape.mapping.spec
        return spec.num_prediction_features if self.landscape.is_fitted and self._reanchors and spec is not None else 0

    @property
    def _reanchors(self) -> bool:
        return self.landscape.in_use().reanchors

    def _features(self, target: Batch | None) -> Tensor | None:
        if target is None:
            return None
        if (found := batches.size(target)) != len(self.point.x):
            raise ValueError(f"there are {found} targets for {len(self.point.x)} rows of x; give one target per row")
        if self.landscape.is_fitted:
            self.landscape.check_fits(target)
        return self.landscape.features(refuse_nonfinite(target))

    def _check_mode(self, with_closure: bool) -> None:
        if self.path is not None and self.path.knows_loss != with_closure:
            raise ValueError("this optimizer began its steps the other way: either all of them take a closure or none does")
        if with_closure and self.z_optimizer is None and self.param_groups[0]["lr"] != 1.0:
            raise ValueError(
                f"lr = {self.param_groups[0]['lr']} would have no effect: with a closure the default method finds its own "
                "step lengths. Leave the scheduler out, or give z_optimizer=partial(torch.optim.Adam, lr=0.1)"
            )

    def _known(self) -> Path:
        if self.path is None or not self.path.knows_loss:
            raise RuntimeError("no loss is known: the best point takes step(closure), with a closure that returns losses")
        return self.path


def _settings(z_optimizer: OptimizerFactory | None) -> dict[str, Any]:
    """What ``param_groups`` shows: the settings of the optimizer of z."""
    if z_optimizer is None:
        return {"lr": 1.0}
    refuse_coupled_rows(z_optimizer)
    group = z_optimizer([nn.Parameter(torch.zeros(1, 1))]).param_groups[0]
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
