"""Levenberg–Marquardt with a damping for every row, all rows in lock-step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..objective import Evaluation, Jacobian
from ..results import Status
from .solver import Run, Solver, Start, Wanted

MIN_RATIO = 1e-4
"""Actual over predicted decrease at which a step is accepted."""
MAX_REJECTIONS = 30


class LevenbergMarquardt(Solver):
    r"""Damped Gauss–Newton for a :class:`~landscape_opt.LeastSquares` loss.

    A step p solves (JᵀJ + λ D) p = −∂L/∂x with D the largest diagonal of JᵀJ met so far (Moré 1978). A row that
    lowers its loss is accepted, asks for the Jacobian there, and lowers λ by the agreement of the model with the loss;
    a rejected one raises λ and tries again with the Jacobian that it has (Nielsen 1999). A trial point is one
    evaluation. A Jacobian of m residuals in d numbers is charged as min(m, d) more, one for each product with a vector.

    Args:
        damping: λ at the start.

    Raises:
        ValueError: if ``damping`` is not positive.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape, LeastSquares
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), LeastSquares(torch.sub))
        >>> target = torch.tensor([[3.0, -4.0]])
        >>> result = inverter.invert(target, 60, solver=LevenbergMarquardt(), allow_unfitted=True)
        >>> bool(result.loss < 1e-6)
        True
    """

    def __init__(self, damping: float = 1e-3) -> None:
        if not damping > 0:
            raise ValueError(f"damping must be positive, got {damping}")
        self.damping = damping

    def start(self, start: Start) -> LevenbergMarquardtRun:
        """Begin without a Jacobian."""
        return LevenbergMarquardtRun(self, start)


class LevenbergMarquardtRun(Run):
    """The state of Levenberg–Marquardt on a batch. Normal matrices are kept and solved in float64."""

    def __init__(self, settings: LevenbergMarquardt, start: Start) -> None:
        size, dim = start.x.shape
        like = start.x.double()
        self.at: Evaluation | None = None
        self.normal = like.new_zeros(size, dim, dim)
        self.scale = like.new_zeros(size, dim)
        self.damping = like.new_full((size,), settings.damping)
        self.growth = like.new_full((size,), 2.0)
        self.step = torch.zeros_like(like)
        self.predicted = like.new_zeros(size)
        self.outdated = torch.ones(size, dtype=torch.bool, device=like.device)
        self.rejections = torch.zeros(size, dtype=torch.long, device=like.device)

    def observe(self, evaluation: Evaluation) -> None:
        """Accept the rows whose loss fell as the model said, to a part."""
        evaluation = evaluation.without_prediction()
        if self.at is None:
            self.at = evaluation
            return
        gain = (self.at.loss - evaluation.loss).double()
        ratio = gain / self.predicted.clamp_min(torch.finfo(gain.dtype).tiny)
        accepted = evaluation.finite & (gain > 0) & (ratio > MIN_RATIO)
        agreement = (1.0 - (2.0 * ratio.nan_to_num(0.0).clamp(0.0, 1.0) - 1.0) ** 3).clamp_min(1.0 / 3.0)
        self.damping = self.damping * torch.where(accepted, agreement, self.growth)
        self.growth = torch.where(accepted, 2.0, 2.0 * self.growth)
        self.rejections = torch.where(accepted, 0, self.rejections + 1)
        self.outdated = accepted
        self.at = evaluation.where(accepted, self.at)

    @property
    def wanted(self) -> Wanted | None:
        """Rows that have moved since their last Jacobian."""
        assert self.at is not None
        positions = self.outdated.nonzero()[:, 0]
        return Wanted(positions, self.at.x[positions]) if len(positions) else None

    def take(self, jacobian: Jacobian) -> None:
        """Build JᵀJ of the rows that asked, in their order."""
        positions = self.outdated.nonzero()[:, 0]
        matrix = jacobian.matrix.double()
        normal = matrix.mT @ matrix
        usable = normal.isfinite().flatten(1).all(1)
        self.normal[positions] = torch.where(usable[:, None, None], normal, self.normal[positions])
        diagonal = self.normal[positions].diagonal(dim1=1, dim2=2)
        self.scale[positions] = torch.maximum(self.scale[positions], diagonal)
        self.outdated[positions] = False

    def propose(self) -> Tensor:
        """x + p."""
        assert self.at is not None
        gradient = self.at.grad_x.double()
        free = (gradient != 0).to(gradient)  # a coordinate held by a bound has no gradient, and does not move
        smallest = self.scale.amax(1, keepdim=True).clamp_min(torch.finfo(gradient.dtype).tiny) * 1e-12
        damped = self.normal * free[:, :, None] * free[:, None, :]
        damped = damped + torch.diag_embed(self.damping[:, None] * torch.maximum(self.scale, smallest) + (1.0 - free))
        solution, info = torch.linalg.solve_ex(damped, -gradient[:, :, None])
        self.step = torch.where((info == 0)[:, None], solution[:, :, 0], -gradient / damped.diagonal(dim1=1, dim2=2))
        curvature = (self.step[:, None] @ self.normal @ self.step[:, :, None])[:, 0, 0]
        self.predicted = -(gradient * self.step).sum(1) - 0.5 * curvature
        return self.at.x + self.step.to(self.at.x)

    def verdict(self) -> Tensor:
        """STALLED where no damping lowers the loss."""
        return torch.where(self.rejections > MAX_REJECTIONS, Status.STALLED, Status.MAX_EVALUATIONS)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.at = None if self.at is None else self.at.rows(index)
        for name in ("normal", "scale", "damping", "growth", "step", "predicted", "outdated", "rejections"):
            setattr(self, name, getattr(self, name)[index])
