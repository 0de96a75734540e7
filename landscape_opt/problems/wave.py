"""Full waveform inversion: the speed of sound along a borehole, from a shot at its top and receivers down its length."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from landscape_opt.least_squares import LeastSquares
from landscape_opt.problems.metrics import relative_error
from landscape_opt.problems.problem import Metric, Problem, TargetSet

BACKGROUND = 2000.0
"""Speed at x = 0, in m/s."""
PEAK_FREQUENCY = 10.0
"""Of the source, in Hz: the wavelength in the background is 200 m."""
SPACING = 25.0
"""Between the points of the grid, in m: eight to that wavelength."""
STEP = 0.005
"""Of time, in s; every fourth is recorded."""
NUM_POINTS, NUM_STEPS, SAMPLE_EVERY = 41, 180, 4
NUM_COEFFICIENTS, NUM_RECEIVERS = 16, 8

_SOURCE, _RECEIVERS = 2, slice(4, None, 5)
# The wavelet is highest here, in s, and lasts twice as long; at either end it is 2e-5 of its height.
_DELAY = 1.2 / PEAK_FREQUENCY
# With this contrast L-BFGS from the constant speed skips a cycle for three in ten of the profiles.
_CONTRAST, _SMOOTHNESS = 0.15, 6.0
# The speed stays below 4200 m/s whatever x is, and the Courant number below 0.84: the scheme is stable below √3 / 2.
_LARGEST_LOG_RATIO = math.log(2.1)
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

    The speed is ``log c = log 2000 m/s + bounded(Σ_j w_j x_j cos(π j z / 1 km))`` on 41 points 25 m apart, with
    ``w_j = 0.15 / (1 + (j/6)²)``, so that ``x ~ N(0, I)`` makes smooth profiles, and ``bounded(r) = b tanh(r / b)``,
    ``b = log 2.1``. The equation is stepped by leapfrog, fourth order in z and second in t (Alford, Kelly and Boore 1974).
    At the ends ``u_t = ± c u_z``, centred in time: a dashpot takes up what arrives (Lysmer and Kuhlemeyer 1969). In one
    dimension ``u = (c/2) ∫ s``, so that the source is the derivative of a Ricker wavelet: in the background a Ricker
    wavelet of height 1 arrives.

    Receivers stand every 125 m from 100 m to 975 m, the shot at 50 m; its wavelet is highest at 0.12 s. The grid
    disperses: from one eight times finer the traces differ by a quarter of their norm (median). Targets are simulated on
    the same grid.

    Example:
        >>> WaveEquation()(torch.zeros(3, 16)).shape
        torch.Size([3, 8, 45])
    """

    profiles: Tensor
    curvature: Tensor
    ends: Tensor
    sources: Tensor

    def __init__(self) -> None:
        super().__init__()
        orders = torch.arange(NUM_COEFFICIENTS, dtype=torch.float64)
        depths = torch.linspace(0.0, 1.0, NUM_POINTS, dtype=torch.float64)
        weights = _CONTRAST / (1.0 + (orders / _SMOOTHNESS).square())
        profiles = weights[:, None] * torch.cos(math.pi * orders[:, None] * depths)
        ends = torch.zeros(NUM_POINTS)
        ends[[0, -1]] = 1.0
        self.register_buffer("profiles", profiles.float())
        self.register_buffer("curvature", _second_difference().float())
        self.register_buffer("ends", ends)
        self.register_buffer("sources", _sources().float())

    def speed(self, x: Tensor) -> Tensor:
        """The speed at each point, in m/s, from ``x`` of shape ``(B, 16)`` to ``(B, 41)``.

        Example:
            >>> WaveEquation().speed(torch.zeros(1, 16))[0, :3]
            tensor([2000., 2000., 2000.])
        """
        log_ratio: Tensor = x @ self.profiles
        return BACKGROUND * torch.exp(_LARGEST_LOG_RATIO * torch.tanh(log_ratio / _LARGEST_LOG_RATIO))

    def forward(self, x: Tensor) -> Tensor:
        """Map coefficients ``x`` of shape ``(B, 16)`` to traces ``(B, 8 receivers, 45 samples)``."""
        courant = self.speed(x) * (STEP / SPACING)
        dashpot = courant * self.ends
        gain, kept = courant.square() / (1.0 + dashpot), (1.0 - dashpot) / (1.0 + dashpot)
        sources = self.sources.unbind()
        # The rate is the change of u in a step over ``gain``: whatever is added to it needs no factor of the row. Three
        # operations a step, without slices, make most of the speed: the curvature is a product with a small matrix.
        pressure = rate = torch.zeros_like(courant)
        recorded = []
        for step in range(NUM_STEPS):
            carried = torch.addcmul(sources[step], kept, rate) if step < len(sources) else kept * rate
            rate = torch.addmm(carried, pressure, self.curvature)
            pressure = torch.addcmul(pressure, gain, rate)
            if (step + 1) % SAMPLE_EVERY == 0:
                recorded.append(pressure)
        return torch.stack(recorded)[:, :, _RECEIVERS].permute(1, 2, 0).contiguous()


def _second_difference() -> Tensor:
    """u @ this is h² u_zz, with u even about both ends: what flows there is the dashpot's part."""
    beside = torch.ones(NUM_POINTS - 1, dtype=torch.float64)
    second = beside.diag(1) + beside.diag(-1) - 2.0 * torch.eye(NUM_POINTS, dtype=torch.float64)
    second[1, 0] = second[-2, -1] = 2.0
    # Fourth order, less the flow at the ends: there the second difference is no curvature, and taken for one it reflects.
    return second - second[:, 1:-1] @ second[1:-1] / 12.0


def _sources() -> Tensor:
    """h² s(t) δ(z − z_s) at every step of the shot, (steps, points): differences of the wavelet over a step."""
    time = STEP * torch.arange(round(2.0 * _DELAY / STEP), dtype=torch.float64) - _DELAY
    later, earlier = (ricker(time + shift, PEAK_FREQUENCY) for shift in (0.5 * STEP, -0.5 * STEP))
    sources = torch.zeros(len(time), NUM_POINTS, dtype=torch.float64)
    sources[:, _SOURCE] = 2.0 / BACKGROUND * SPACING * (later - earlier) / STEP
    return sources


def wave(seed: int = 0) -> Problem:
    """Find the profile of the speed of sound whose simulated traces are the recorded ones.

    ``F`` is a :class:`WaveEquation`, the loss half the sum of squared differences over the 8 × 45 samples, and the start
    is the constant speed, ``x = 0``. An evaluation of F, forward and backward, takes about 0.1 ms per row in a batch of
    256 on one CPU thread. Targets are simulated by F itself, so that a loss of 0 is within reach.

    Args:
        seed: of the targets. The global random state is not touched.

    Returns:
        The problem; ``x`` has shape ``(16,)``, targets ``(8, 45)``; 4096 train, 512 validation and 512 test targets. In
        ``partly`` four of the eight receivers are dead, others for every target; in ``unfamiliar`` the logarithm of the
        speed varies 1.7 times as much (before its bound).

    Example:
        >>> problem = wave()
        >>> problem.test.shape, problem.partly.observed[0].all(1).sum()
        (torch.Size([512, 8, 45]), tensor(4))
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
        "wrong cycle: L-BFGS from the constant speed ends in such a minimum for three in ten of the targets.",
        partly=TargetSet(
            targets=test,
            observed=alive[:, :, None].expand_as(test).clone(),
            described_as="four of the eight receivers are dead",
        ),
        unfamiliar=TargetSet(targets=unfamiliar, described_as="the speed varies 1.7 times as much"),
        metric=Metric(name="waveform misfit", unit="%", of=relative_error),
    )
