"""Two frequencies, the control: is it stated rightly, and does the grid solve what descent does not?"""

from __future__ import annotations

import math

import numpy as np
import problem_laws
import pytest
import torch

from landscape_opt import LandscapeInverter
from landscape_opt.problems.frequencies import frequencies, grid_start, two_sinusoids
from landscape_opt.problems.metrics import relative_error


@pytest.fixture(scope="module")
def problem():
    return frequencies()


def scaled(num, seed=1):
    return 2.0 * torch.rand(num, 2, generator=torch.Generator().manual_seed(seed)) - 1.0


def inverted(problem, which, start=None):
    landscape = LandscapeInverter(problem.landscape(), problem.loss_fn)
    return landscape.invert(which.targets, 100, observed=which.observed, warm_start=start, allow_unfitted=True)


def test_the_samples_are_those_of_the_formula():
    x = scaled(5)
    for row, samples in zip(x.tolist(), two_sinusoids(x), strict=True):
        first, second = (10.0 + 6.0 * value for value in row)
        times = [(k + 0.5) / 64 for k in range(64)]
        expected = [math.sin(2 * math.pi * first * t) + 0.6 * math.sin(2 * math.pi * second * t) for t in times]
        assert samples.tolist() == pytest.approx(expected, abs=1e-4)


def test_the_spectrum_peaks_at_the_two_frequencies():
    samples = two_sinusoids(torch.tensor([[-5.0 / 6.0, 0.5]], dtype=torch.float64))[0].numpy()
    amplitudes = np.abs(np.fft.rfft(samples)) / 32
    assert amplitudes[[5, 13]] == pytest.approx([1.0, 0.6])
    assert amplitudes.sum() == pytest.approx(1.6)


def test_first_and_second_derivatives_are_right():
    x = scaled(3).double().requires_grad_(True)
    assert torch.autograd.gradcheck(two_sinusoids, x)
    assert torch.autograd.gradgradcheck(lambda x: two_sinusoids(x)[:, ::16], x)


def test_rows_never_meet():
    problem_laws.rows_do_not_meet(two_sinusoids, scaled(9))


def test_the_two_frequencies_cannot_change_places():
    x = torch.tensor([[-0.5, 0.5]])
    assert float((two_sinusoids(x) - two_sinusoids(x.flip(1))).norm()) > 1.0


def test_the_grid_finds_the_nearest_of_its_pairs():
    targets, observed = two_sinusoids(scaled(6)), torch.rand(6, 64, generator=torch.Generator().manual_seed(0)) < 0.5
    points = torch.linspace(-1.5, 1.5, 12)
    pairs = torch.cartesian_prod(points, points)
    for mask in (None, observed):
        weights = torch.ones(6, 64) if mask is None else mask.float()
        distances = (weights[:, None] * (targets[:, None] - two_sinusoids(pairs)[None]).square()).sum(2)
        assert torch.allclose(grid_start(targets, mask, num_points=12), pairs[distances.argmin(1)])


def test_the_grid_and_then_descent_solve_every_target(problem):
    """So that the truth has no loss either, and no other pair does."""
    for which in problem.test_sets().values():
        start = grid_start(which.targets, which.observed)
        result = inverted(problem, which, start)
        assert float(result.loss.max()) < 1e-7
        assert float(problem.metric.of(result.x, result.prediction, which.targets).max()) < 0.1
        assert float((result.x - start).abs().max()) < 0.05


def test_descent_from_the_middle_of_the_band_does_not(problem):
    for which in problem.test_sets().values():
        assert float((inverted(problem, which).loss < 1e-3).float().mean()) < 0.05


def test_truths_lie_where_they_are_said_to(problem):
    sets = problem.test_sets()
    inside = inverted(problem, sets["in distribution"], grid_start(problem.test)).x
    outside = inverted(problem, sets["out of distribution"], grid_start(problem.unfamiliar.targets)).x
    assert float(inside.abs().max()) < 1.001
    assert float(outside.abs().min()) > 0.999
    assert float(outside.abs().max()) < 1.501
    for x in (inside, outside):
        assert float((x[:, 0] - x[:, 1]).abs().min()) > 0.999 / 6.0


def test_splits_are_of_different_targets_from_a_seed_of_their_own(problem):
    problem_laws.a_seed_of_its_own(problem, frequencies)
    rows = torch.cat([*(getattr(problem, split) for split in problem_laws.SPLITS), problem.unfamiliar.targets])
    assert len(rows) == len({row.numpy().tobytes() for row in rows}) == 4096 + 3 * 512
    assert bool(rows.isfinite().all())


def test_half_of_the_samples_are_lost(problem):
    observed = problem.partly.observed
    assert observed.shape == problem.partly.targets.shape
    assert observed.dtype == torch.bool
    assert (observed.sum(1) == 32).all()
    assert (observed.float().mean(0) - 0.5).abs().max() < 0.1


def test_every_target_can_be_descended_on(problem):
    for targets in (one.targets for one in problem.test_sets().values()):
        problem_laws.finite_with_a_slope(problem, targets, 1e-2)


def test_the_metric_is_of_any_rows(problem):
    x = scaled(4)
    prediction = two_sinusoids(x)
    figures = problem.metric.of(x, prediction, problem.test[:4])
    assert torch.equal(figures[2:], problem.metric.of(x[2:], prediction[2:], problem.test[2:4]))
    assert torch.allclose(relative_error(x, 1.1 * problem.test[:4], problem.test[:4]), torch.tensor(10.0), atol=1e-3)
