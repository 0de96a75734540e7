"""Full waveform inversion: the speed of sound along a borehole, from a shot at its top and receivers down its length."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from landscape_opt.least_squares import LeastSquares
from landscape_opt.problems.problem import Metric, Problem, TargetSet

DEPTH = 1000.0
"""Of the profile, in m."""
BACKGROUND = 2000.0
"""Speed at x = 0, in m/s."""
PEAK_FREQUENCY = 10.0
"""Of the source, in Hz: the wavelength in the background is 200 m."""
STEP = 0.0025
"""Of time, in s; every fourth is recorded."""
NUM_CELLS, NUM_STEPS, SAMPLE_EVERY = 80, 360, 4
NUM_COEFFICIENTS, NUM_RECEIVERS = 16, 8

_CELL = DEPTH / NUM_CELLS
_SOURCE, _RECEIVERS = 4, slice(9, None, 10)
# With this contrast L-BFGS from the constant speed skips a cycle for about a third of the profiles.
_CONTRAST, _SMOOTHNESS = 0.15, 6.0
# The speed stays below 4400 m/s whatever x is, and the Courant number below 0.88: the scheme is stable below 1.
_LARGEST_LOG_RATIO = math.log(2.2)
_UNFAMILIAR = 1.7
_TRAIN, _VALIDATION, _TEST = 4096, 512, 512


def ricker(time: Tensor, peak_frequency: float) -> Tensor:
    """The Ricker wavelet (1 − 2a) exp(−a) with a = (π f t)²: the second derivative of a Gaussian, negated, 1 at t = 0.

    Args:
        time: t in s, of any shape.
        peak_frequency: f in Hz, where its spectrum is highest.

    Example:
        >>> ricker(torch.tensor([0.0, 10.0]), 10.0).abs()
        tensor([1., 0.])
    """
    a = (math.pi * peak_frequency * time).square()
    return (1.0 - 2.0 * a) * torch.exp(-a)


class WaveEquation(nn.Module):
    """What the receivers record: ``u_tt / c² = u_zz + s(t) δ(z − z_s)`` for pressure u(z, t) and speed c(z).

    The speed is ``log c = log 2000 m/s + bounded(Σ_j w_j x_j cos(π j z / 1 km))`` on 80 cells of 12.5 m, with
    ``w_j = 0.15 / (1 + (j/6)²)``, so that ``x ~ N(0, I)`` makes smooth profiles, and ``bounded(r) = b tanh(r / b)``,
    ``b = log 2.2``. The equation is stepped by leapfrog, second order in z and t (Alford, Kelly and Boore 1974). What
    reaches an end leaves by Mur's first-order condition (1981). In one dimension ``u = (c/2) ∫ s``, so that the source
    is the derivative of a Ricker wavelet: in the background a Ricker wavelet of height 1 arrives.

    Receivers stand every 125 m from 119 m to 994 m, the shot at 56 m; its wavelet is highest at 0.12 s. With 16 cells to
    a wavelength the grid disperses: arrivals at 1 km are a few ms late. Targets are simulated on the same grid.

    Example:
        >>> WaveEquation()(torch.zeros(3, 16)).shape
        torch.Size([3, 8, 90])
    """

    profiles: Tensor
    pulse: Tensor

    def __init__(self) -> None:
        super().__init__()
        orders = torch.arange(NUM_COEFFICIENTS, dtype=torch.float64)
        depths = (torch.arange(NUM_CELLS, dtype=torch.float64) + 0.5) / NUM_CELLS
        weights = _CONTRAST / (1.0 + (orders / _SMOOTHNESS).square())
        profiles = weights[:, None] * torch.cos(math.pi * orders[:, None] * depths)
        pulse = torch.zeros(NUM_CELLS - 2)
        pulse[_SOURCE - 1] = 1.0  # the first of the inner cells is cell 1
        self.register_buffer("profiles", profiles.float())
        self.register_buffer("pulse", pulse)
        self.amplitudes = _source_amplitudes()

    def speed(self, x: Tensor) -> Tensor:
        """The speed in each cell, in m/s, from ``x`` of shape ``(B, 16)`` to ``(B, 80)``.

        Example:
            >>> WaveEquation().speed(torch.zeros(1, 16))[0, :3]
            tensor([2000., 2000., 2000.])
        """
        log_ratio: Tensor = x @ self.profiles
        return BACKGROUND * torch.exp(_LARGEST_LOG_RATIO * torch.tanh(log_ratio / _LARGEST_LOG_RATIO))

    def forward(self, x: Tensor) -> Tensor:
        """Map coefficients ``x`` of shape ``(B, 16)`` to traces ``(B, 8 receivers, 90 samples)``."""
        courant = self.speed(x) * (STEP / _CELL)
        squared = courant[:, 1:-1].square()
        injected = squared * self.pulse
        top_factor, bottom_factor = ((edge - 1.0) / (edge + 1.0) for edge in (courant[:, :1], courant[:, -1:]))
        before = now = torch.zeros_like(courant)
        recorded = []
        for number, amplitude in enumerate(self.amplitudes, start=1):
            inner = now[:, 1:-1]
            curvature = now[:, 2:] - 2.0 * inner + now[:, :-2]
            after = 2.0 * inner - before[:, 1:-1] + squared * curvature + amplitude * injected
            top = now[:, 1:2] + top_factor * (after[:, :1] - now[:, :1])
            bottom = now[:, -2:-1] + bottom_factor * (after[:, -1:] - now[:, -1:])
            before, now = now, torch.cat([top, after, bottom], dim=1)
            if number % SAMPLE_EVERY == 0:
                recorded.append(now[:, _RECEIVERS])
        return torch.stack(recorded, dim=2)


def _source_amplitudes() -> list[float]:
    """The derivative of the wavelet at the time of each step, × cell for the δ; floats, for they know no device."""
    time = STEP * torch.arange(NUM_STEPS, dtype=torch.float64) - 1.2 / PEAK_FREQUENCY
    later, earlier = (ricker(time + shift, PEAK_FREQUENCY) for shift in (0.5 * STEP, -0.5 * STEP))
    amplitudes: list[float] = (2.0 / BACKGROUND * _CELL * (later - earlier) / STEP).tolist()
    return amplitudes


def waveform_misfit(_x: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    """100 ‖prediction − target‖ / ‖target‖ of each row, in %, ``(B,)``.

    Example:
        >>> waveform_misfit(torch.zeros(2, 1), torch.full((2, 8, 90), 0.5), torch.ones(2, 8, 90))
        tensor([50., 50.])
    """
    misfit: Tensor = 100.0 * (prediction - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)
    return misfit


def wave(seed: int = 0) -> Problem:
    """Find the profile of the speed of sound whose simulated traces are the recorded ones.

    ``F`` is a :class:`WaveEquation`, the loss half the sum of squared differences over the 8 × 90 samples, and the start
    is the constant speed, ``x = 0``. An evaluation of F, forward and backward, takes about 0.5 ms per row in a batch of
    256 on one CPU thread. Targets are simulated by F itself, so that a loss of 0 is within reach.

    Args:
        seed: of the targets. The global random state is not touched.

    Returns:
        The problem; ``x`` has shape ``(16,)``, targets ``(8, 90)``; 4096 train, 512 validation and 512 test targets. In
        ``partly`` four of the eight receivers are dead, others for every target; in ``unfamiliar`` the logarithm of the
        speed varies 1.7 times as much (before its bound).

    Example:
        >>> problem = wave()
        >>> problem.test.shape, problem.partly.observed[0].all(1).sum()
        (torch.Size([512, 8, 90]), tensor(4))
    """
    generator = torch.Generator().manual_seed(seed)
    forward_model = WaveEquation()
    num_rows = _TRAIN + _VALIDATION + _TEST
    profiles = torch.randn(num_rows + _TEST, NUM_COEFFICIENTS, generator=generator)
    profiles[num_rows:] *= _UNFAMILIAR
    with torch.no_grad():
        targets = torch.cat([forward_model(rows) for rows in profiles.split(512)])
    train, validation, test, unfamiliar = (part.clone() for part in targets.split([_TRAIN, _VALIDATION, _TEST, _TEST]))
    order = torch.rand(_TEST, NUM_RECEIVERS, generator=generator).argsort(dim=1)
    alive = order < NUM_RECEIVERS // 2
    return Problem(
        name="wave",
        forward_model=forward_model,
        loss_fn=LeastSquares(torch.sub),
        x_init=torch.zeros(NUM_COEFFICIENTS),
        train=train,
        validation=validation,
        test=test,
        hard_because="Where simulated arrivals are off by more than about half a period, descent aligns them with the "
        "wrong cycle: L-BFGS from the constant speed ends in such a minimum for about a third of the targets.",
        partly=TargetSet(
            targets=test,
            observed=alive[:, :, None].expand_as(test).clone(),
            described_as="four of the eight receivers are dead",
        ),
        unfamiliar=TargetSet(targets=unfamiliar, described_as="the speed varies 1.7 times as much"),
        metric=Metric(name="waveform misfit", unit="%", of=waveform_misfit),
    )
