"""Two frequencies in a short record: the control, a problem that nobody should bring to this library."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape_opt.least_squares import LeastSquares
from landscape_opt.problems.metrics import relative_error
from landscape_opt.problems.problem import Metric, Problem, TargetSet

NUM_SAMPLES = 64
"""Of a record; its length is the unit of time."""
AMPLITUDES = (1.0, 0.6)
"""Of the two sinusoids; known, and unlike, so that the two frequencies cannot change places."""
MEAN_FREQUENCY, HALF_RANGE = 10.0, 6.0
"""Of x in [−1, 1], in cycles per record; the Nyquist frequency is 32."""
_OUTER = 1.5
_TRAIN, _VALIDATION, _TEST = 4096, 512, 512


def two_sinusoids(x: Tensor) -> Tensor:
    """The record ``sin(2π f₁ t) + 0.6 sin(2π f₂ t)``, ``f = 10 + 6 x`` cycles, at the middles of 64 steps of t in [0, 1].

    Args:
        x: the two scaled frequencies, ``(B, 2)``.

    Returns:
        The samples, ``(B, 64)``.

    Example:
        >>> two_sinusoids(torch.zeros(3, 2)).shape
        torch.Size([3, 64])
    """
    time = (torch.arange(NUM_SAMPLES, dtype=x.dtype, device=x.device) + 0.5) / NUM_SAMPLES
    frequencies = MEAN_FREQUENCY + HALF_RANGE * x
    sinusoids = torch.sin(2.0 * math.pi * frequencies[:, :, None] * time)
    return AMPLITUDES[0] * sinusoids[:, 0] + AMPLITUDES[1] * sinusoids[:, 1]


def grid_start(signal: Tensor, observed: Tensor | None = None, num_points: int = 64) -> Tensor:
    """The pair of frequencies on a grid whose record is nearest: what to use for this problem, with any descent after it.

    The distances to all pairs come from the products of the signal with each sinusoid alone, as in a periodogram:
    ``½‖y − a₁s_i − a₂s_j‖² = ½‖y‖² − a₁ y·s_i − a₂ y·s_j + a₁a₂ s_i·s_j + ½a₁²‖s_i‖² + ½a₂²‖s_j‖²``.

    Args:
        signal: y, ``(B, 64)``.
        observed: which samples were observed, ``(B, 64)``; None is all of them.
        num_points: of the grid over x in [−1.5, 1.5], for each frequency; minima are about 1/6 wide.

    Returns:
        x, ``(B, 2)``.

    Example:
        >>> x = torch.tensor([[0.3, -0.9]])
        >>> bool((grid_start(two_sinusoids(x)) - x).abs().max() < 0.03)
        True
    """
    weights = torch.ones_like(signal) if observed is None else observed.to(signal.dtype)
    points = torch.linspace(-_OUTER, _OUTER, num_points, dtype=signal.dtype, device=signal.device)
    # With x_2 = −10/6 the second sinusoid has frequency 0 and vanishes: what is left is the first, of amplitude 1.
    silent = torch.full_like(points, -MEAN_FREQUENCY / HALF_RANGE)
    sinusoids = two_sinusoids(torch.stack([points, silent], dim=1)) / AMPLITUDES[0]
    products = (weights * signal) @ sinusoids.T
    between = torch.einsum("bt,it,jt->bij", weights, sinusoids, sinusoids)
    alone = [a * products - 0.5 * a * a * between.diagonal(dim1=1, dim2=2) for a in AMPLITUDES]
    distances = AMPLITUDES[0] * AMPLITUDES[1] * between - alone[0][:, :, None] - alone[1][:, None, :]
    best = distances.flatten(1).argmin(dim=1)
    return torch.stack([points[best // num_points], points[best % num_points]], dim=1)


def frequencies(seed: int = 0) -> Problem:
    """Find the frequencies of two sinusoids of known amplitudes and phases in 64 samples.

    A control. Descent from the middle of the band ends in a wrong minimum for 99 % of the targets, for the loss has one
    about every cycle per record in each frequency. But there are two numbers to find and F costs next to nothing: look
    at all pairs on a grid (:func:`grid_start`, 0.1 ms per target), then descend. That solves every target of the three
    test sets, and no fit can pay for itself.

    ``F`` is :func:`two_sinusoids`, the loss half the sum of squared differences, and the start ``x = 0``, both
    frequencies in the middle of the band. An evaluation of F, forward and backward, takes about 2 µs per row in a batch
    of 256 on one CPU thread.

    Args:
        seed: of the targets. The global random state is not touched.

    Returns:
        The problem; ``x`` has shape ``(2,)``, targets ``(64,)``; 4096 train, 512 validation and 512 test targets with
        frequencies in 4 to 16 cycles, at least one cycle apart. In ``partly`` 32 of the 64 samples are lost, others for
        every target; in ``unfamiliar`` both frequencies are outside that band, in 1 to 4 or 16 to 19 cycles.

    Example:
        >>> problem = frequencies()
        >>> problem.test.shape, problem.partly.observed[0].sum()
        (torch.Size([512, 64]), tensor(32))
    """
    generator = torch.Generator().manual_seed(seed)
    inside = _apart(_TRAIN + _VALIDATION + _TEST, (0.0, 1.0), generator)
    train, validation, test = (two_sinusoids(part) for part in inside.split([_TRAIN, _VALIDATION, _TEST]))
    outside = _apart(_TEST, (1.0, _OUTER), generator)
    observed = torch.rand(test.shape, generator=generator).argsort(dim=1) < NUM_SAMPLES // 2
    return Problem(
        name="two frequencies",
        forward_model=two_sinusoids,
        loss_fn=LeastSquares(torch.sub),
        x_init=torch.zeros(2),
        train=train,
        validation=validation,
        test=test,
        hard_because="It is not: L-BFGS from the middle of the band ends in a wrong minimum for 99 % of the targets, but a "
        "grid over the two frequencies, and then descent, solves them all for next to nothing.",
        partly=TargetSet(targets=test, observed=observed, described_as="half of the samples are lost"),
        unfamiliar=TargetSet(
            targets=two_sinusoids(outside), described_as="both frequencies are outside the band of the fit"
        ),
        metric=Metric(name="relative error", unit="%", of=relative_error),
    )


def _apart(num: int, sizes: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Pairs x with |x| uniform between two sizes, a cycle per record or more apart; closer ones could not be told apart."""
    smallest, largest = sizes
    x = 2.0 * torch.rand(2 * num, 2, generator=generator) - 1.0
    x = x.sign() * (smallest + (largest - smallest) * x.abs())
    return x[(x[:, 0] - x[:, 1]).abs() > 1.0 / HALF_RANGE][:num]
