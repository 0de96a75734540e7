"""Full waveform inversion: is the wave equation solved, is the problem well formed, and does descent skip cycles?"""

from __future__ import annotations

import math

import numpy as np
import problem_laws
import pytest
import torch

from landscape_opt.benchmark.rivals import curves, second_order
from landscape_opt.problems.metrics import relative_error
from landscape_opt.problems.wave import (
    BACKGROUND,
    NUM_COEFFICIENTS,
    PEAK_FREQUENCY,
    SPACING,
    STEP,
    WaveEquation,
    ricker,
    wave,
)

SHOT, RECEIVERS = 50.0, 100.0 + 125.0 * np.arange(8)  # m, as the documentation states them
TIMES = 0.02 * np.arange(1, 46)  # s
DELAY = 0.12  # s


@pytest.fixture(scope="module")
def problem():
    return wave()


def drawn(num, seed=1):
    return torch.randn(num, NUM_COEFFICIENTS, generator=torch.Generator().manual_seed(seed))


def slope_of_wavelet(t):
    """The derivative of (1 − 2a) exp(−a), a = (10 Hz π t)²."""
    a = (10.0 * math.pi * t) ** 2
    return -2.0 * (10.0 * math.pi) ** 2 * t * (3.0 - 2.0 * a) * math.exp(-a)


def speed_at(x, depths):
    """What the documentation says of log c, with depths in km."""
    orders = np.arange(NUM_COEFFICIENTS)
    log_ratio = np.cos(np.pi * np.outer(depths, orders)) @ (0.15 / (1.0 + (orders / 6.0) ** 2) * x.double().numpy())
    return 2000.0 * np.exp(math.log(2.1) * np.tanh(log_ratio / math.log(2.1)))


def second_difference(u):
    return np.diff(np.pad(u, 1, mode="reflect"), 2)


def simulated(x, finer=1, order=4):
    """The traces of one profile by a plain leapfrog in NumPy, on a grid that may be so many times finer in z and in t.

    Of order 4 it is the documented scheme; of order 2 it has another stencil, and Mur's condition at the ends.
    """
    spacing, step, size = 25.0 / finer, 0.005 / finer, 40 * finer + 1
    speed = speed_at(x, np.linspace(0.0, 1.0, size))
    courant = speed * step / spacing
    at = np.rint(np.array([SHOT, *RECEIVERS]) / spacing).astype(int)
    end = np.isin(np.arange(size), [0, size - 1]) * courant
    now, before, traces = np.zeros(size), np.zeros(size), []
    for n in range(180 * finer):
        force = second_difference(now)
        if order == 4:
            force -= second_difference(np.where(end == 0.0, force, 0.0)) / 12.0
        force[at[0]] += spacing * 2.0 / 2000.0 * slope_of_wavelet(n * step - DELAY) * (n * step < 2.0 * DELAY)
        if order == 4:
            after = (2.0 * now - (1.0 - end) * before + courant**2 * force) / (1.0 + end)
        else:
            after = 2.0 * now - before + courant**2 * force
            for edge, inside in ((0, 1), (-1, -2)):  # Mur: u_t = ± c u_z, centred half a cell inside and half a step on
                ratio = (courant[edge] - 1.0) / (courant[edge] + 1.0)
                after[edge] = now[inside] + ratio * (after[inside] - now[edge])
        now, before = after, now
        if (n + 1) % (4 * finer) == 0:
            traces.append(now[at[1:]])
    return np.array(traces).T


def delayed_wavelets(ratio):
    """D'Alembert's answer for the constant speed of ratio · 2000 m/s: u = ratio · w(t − |z − z_s| / c)."""
    arrival = np.abs(RECEIVERS - SHOT) / (ratio * BACKGROUND)
    return ratio * ricker(torch.as_tensor(TIMES - DELAY - arrival[:, None]), PEAK_FREQUENCY).numpy()


def constant(ratio):
    x = torch.zeros(1, NUM_COEFFICIENTS)
    x[0, 0] = math.log(2.1) * math.atanh(math.log(ratio) / math.log(2.1)) / 0.15
    return x


def test_the_wavelet_is_the_second_derivative_of_a_gaussian():
    time = torch.linspace(-0.2, 0.2, 401, dtype=torch.float64, requires_grad=True)
    gaussian = torch.exp(-((math.pi * PEAK_FREQUENCY * time) ** 2))
    (slope,) = torch.autograd.grad(gaussian.sum(), time, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), time)
    wavelet = ricker(time.detach(), PEAK_FREQUENCY)
    assert torch.allclose(wavelet, -bend / (2.0 * (math.pi * PEAK_FREQUENCY) ** 2), atol=1e-12)
    spectrum = np.abs(np.fft.rfft(wavelet.numpy(), 40_000))
    assert np.fft.rfftfreq(40_000, 0.001)[spectrum.argmax()] == pytest.approx(PEAK_FREQUENCY, abs=0.05)


@pytest.mark.parametrize("x", [drawn(1)[0], 1.7 * drawn(1, seed=2)[0]])
def test_the_traces_are_those_of_a_plain_leapfrog(x):
    """The scheme written out for one profile, which on a finer grid tends to what another scheme says."""
    forward_model = WaveEquation()
    assert np.allclose(forward_model.speed(x[None])[0].numpy(), speed_at(x, np.linspace(0.0, 1.0, 41)), rtol=1e-5)
    traces = forward_model(x[None])[0].numpy()
    # The plain one has the exact derivative of the wavelet, not a difference over one step.
    assert np.abs(traces - simulated(x)).max() < 0.01
    other = simulated(x, finer=8, order=2)
    fine_error = np.linalg.norm(simulated(x, finer=3) - other)
    assert fine_error < 0.07 * np.linalg.norm(other)
    assert np.linalg.norm(traces - other) > 9.0 * fine_error


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.3])
def test_at_constant_speed_the_delayed_wavelet_arrives(ratio):
    """The scheme disperses: on a grid three times finer its error is many times less."""
    forward_model, exact = WaveEquation(), delayed_wavelets(ratio)
    assert torch.allclose(forward_model.speed(constant(ratio)), torch.tensor(ratio * BACKGROUND))
    traces = forward_model(constant(ratio))[0].numpy()
    fine_error = np.linalg.norm(simulated(constant(ratio)[0], finer=3) - exact)
    assert np.abs(traces[0] - exact[0]).max() < 0.12 * ratio
    assert fine_error < 0.03 * np.linalg.norm(exact)
    assert np.linalg.norm(traces - exact) > 6.0 * fine_error
    assert np.abs(traces[:2, -10:]).max() < 0.04 * ratio  # so little comes back from the ends


@pytest.mark.parametrize("size", [10.0, 1e4])
def test_it_is_stable_for_every_x(size):
    forward_model = WaveEquation()
    x = size * drawn(32)
    assert float(forward_model.speed(x).max()) * STEP / SPACING < math.sqrt(0.75)
    assert float(forward_model(x).abs().max()) < 20.0


def test_first_and_second_derivatives_are_right():
    forward_model, (x, along) = WaveEquation().double(), drawn(2).double()

    def loss(x):
        return 0.5 * (forward_model(x[None]) - 0.1).square().sum()

    def gradient(x):
        leaf = x.requires_grad_(True)
        return torch.autograd.grad(loss(leaf), leaf, create_graph=True)[0]

    step = 1e-5 * along
    slope = (loss(x + step) - loss(x - step)) / 2e-5
    assert torch.allclose(gradient(x.clone()) @ along, slope, rtol=1e-6)
    leaf = x.clone().requires_grad_(True)
    (product,) = torch.autograd.grad(gradient(leaf) @ along, leaf)
    bend = (gradient((x + step).detach()) - gradient((x - step).detach())) / 2e-5
    assert torch.allclose(product, bend, rtol=1e-5, atol=1e-5)


def test_rows_never_meet():
    problem_laws.rows_do_not_meet(WaveEquation(), drawn(7), atol=1e-5)


def test_the_truth_has_no_loss(problem):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4096 + 3 * 512, NUM_COEFFICIENTS, generator=generator)
    for truth, targets in ((x[4608:5120], problem.test), (1.7 * x[5120:], problem.unfamiliar.targets)):
        assert float(problem.loss_fn(problem.forward_model(truth[::8]), targets[::8]).max()) < 1e-7


def test_splits_are_of_different_targets_from_a_seed_of_their_own(problem):
    problem_laws.a_seed_of_its_own(problem, wave)
    rows = torch.cat([*(getattr(problem, split) for split in problem_laws.SPLITS), problem.unfamiliar.targets]).flatten(1)
    assert len(rows) == len({row.numpy().tobytes() for row in rows}) == 4096 + 3 * 512
    assert bool(rows.isfinite().all())


def test_half_of_the_receivers_are_dead(problem):
    alive = problem.partly.observed
    assert alive.shape == problem.partly.targets.shape
    assert alive.dtype == torch.bool
    assert torch.equal(alive.all(2), alive.any(2))
    assert (alive[:, :, 0].sum(1) == 4).all()
    assert (alive[:, :, 0].float().mean(0) - 0.5).abs().max() < 0.1
    assert len(alive[:, :, 0].unique(dim=0)) == math.comb(8, 4)


def test_every_target_can_be_descended_on(problem):
    for targets in (one.targets for one in problem.test_sets().values()):
        problem_laws.finite_with_a_slope(problem, targets, 1e-2)


def test_descent_skips_cycles(problem):
    """From the start towards a constant speed that is much higher the loss rises before it falls."""
    x = torch.zeros(31, NUM_COEFFICIENTS)
    x[:, 0] = torch.linspace(0.0, 3.0, 31)
    traces = problem.forward_model(x)
    losses = problem.loss_fn(traces, traces[-1:].expand_as(traces))
    assert float(losses[-1]) == 0.0
    assert float(losses[1]) > float(losses[0])
    assert float(losses.max()) > 1.1 * float(losses[0])


def test_for_three_in_ten_of_the_targets_lbfgs_ends_in_a_wrong_cycle(problem):
    best = curves(second_order((None,))[0], problem, problem.validation[:32], 100).best
    stuck = (best[-1] > 0.05 * best[0]) & (best[-1] > 0.95 * best[-30])  # far from a fit, and no longer moving
    assert 0.2 < float(stuck.double().mean()) < 0.5
    assert float((best[-1] < 1e-4 * best[0]).double().mean()) > 0.4


def test_the_metric_is_of_any_rows(problem):
    prediction = problem.forward_model(drawn(4)).detach()
    figures = problem.metric.of(drawn(4), prediction, problem.test[:4])
    assert torch.equal(figures[2:], problem.metric.of(drawn(4)[2:], prediction[2:], problem.test[2:4]))
    assert torch.allclose(relative_error(drawn(4), 1.1 * problem.test[:4], problem.test[:4]), torch.tensor(10.0), atol=1e-3)
