"""Gradients of an answer x*(φ) in the target and in what the loss holds, φ: through the answer, or through the steps."""

from __future__ import annotations

from enum import Enum

from .stationary import Answer, implicit
from .steps import unrolled

__all__ = ["Answer", "Differentiable", "implicit", "unrolled"]


class Differentiable(Enum):
    r"""How an answer x* = argmin L(F(x), y; φ) gets its gradient in φ: the target, and tensors that the loss holds.

    Attributes:
        IMPLICIT: from the stationary point. However x* was found, ∂L/∂x (x*(φ), φ) = 0 there, so that

                dx*/dφ = − H⁻¹ ∂²L/∂x∂φ,        H = ∂²L/∂x² at x*, (d, d) for every row.

            Memory does not grow with the evaluations. Right only at a stationary point: the error is of the size of the
            distance to it, so look at ``result.status`` and give budget enough. Where H is singular, directions in
            which the loss is flat get no gradient; a coordinate that a bound holds gets none either.
        UNROLLED: from the steps. The descent itself is differentiated, in the learned space with its safeguard, but
            without hand-over and restarts, as with ``refine=False, restarts=False``; before any fit, gradient descent
            in X with backtracking. The gradient is that of the point returned, converged or not, with the path that
            every row took (which points were accepted, which one was best) as it was. Memory grows with the evaluations.
    """

    IMPLICIT = "implicit"
    UNROLLED = "unrolled"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"differentiable must be 'implicit', 'unrolled' or None, got {value!r}")
