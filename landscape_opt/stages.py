"""A schedule of stages: something easier is minimised first, and its answer is where the next stage begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from .batches import Batch
from .inversion import Request
from .results import InversionResult
from .terms import ExtraTerm


@dataclass(frozen=True)
class Stage:
    """A part of the budget in which other weights and terms are in force.

    Attributes:
        num_evaluations: of every row, taken from ``max_evaluations``.
        observed: as in ``invert``, for this stage: weights of the target's elements; None takes all alike.
        extra_terms: as in ``invert``, for this stage.

    Raises:
        ValueError: if ``num_evaluations`` is below 1.

    Example:
        >>> import torch
        >>> Stage(10, observed=torch.ones(4, 3)).num_evaluations
        10
    """

    num_evaluations: int
    observed: Batch | None = None
    extra_terms: tuple[ExtraTerm, ...] = ()

    def __post_init__(self) -> None:
        if self.num_evaluations < 1:
            raise ValueError(f"a stage needs at least 1 evaluation, got {self.num_evaluations}")
        object.__setattr__(self, "extra_terms", tuple(self.extra_terms))

    def of(self, request: Request) -> Request:
        """The request of this stage: one answer for every target, and nothing ends it early but the clock."""
        return replace(
            request,
            max_evaluations=self.num_evaluations,
            observed=self.observed,
            extra_terms=self.extra_terms,
            atol=0.0,
            rtol=0.0,
            target_loss=None,
            num_hypotheses=1,
            starts=None,
            differentiable=None,
        )


def in_stages(invert: Callable[[Request], InversionResult], request: Request, stages: Sequence[Stage]) -> InversionResult:
    """Each stage from the answer of the one before it; then the request itself with what is left of its budget.

    Args:
        invert: runs one request.
        request: of the whole.
        stages: before the last.

    Raises:
        ValueError: if the stages leave nothing of the budget.
    """
    left = request.max_evaluations - sum(stage.num_evaluations for stage in stages)
    if left < 1:
        raise ValueError(
            f"the stages take {request.max_evaluations - left} of {request.max_evaluations} evaluations and leave none for "
            "what is asked for in the end; raise max_evaluations"
        )
    began, counts = time.monotonic(), []
    for stage in stages:
        found = invert(_in_time(stage.of(request), began))
        request = replace(request, warm_start=found)
        counts.append(found.num_evaluations)
    last = invert(_in_time(replace(request, max_evaluations=left), began))
    return replace(last, num_evaluations=torch.stack([*counts, last.num_evaluations]).sum(0))


def _in_time(request: Request, began: float) -> Request:
    if request.max_seconds is None:
        return request
    return replace(request, max_seconds=max(1e-6, request.max_seconds - (time.monotonic() - began)))
