"""Phase retrieval: are the magnitudes right, is the problem well formed, and is the answer the only one?"""

from __future__ import annotations

import numpy as np
import problem_laws
import pytest
import torch

from landscape_opt import LandscapeInverter
from landscape_opt.problems.phase import DARK, REFERENCE, CodedDiffraction, phase, r_factor, smooth_images, spikes


@pytest.fixture(scope="module")
def problem():
    return phase()


def images(num=6, seed=1):
    return torch.randn(num, 8, 8, generator=torch.Generator().manual_seed(seed))


def masks():
    """The masks as F shows them: of a single bright pixel the unitary transform is the mask there, times a wave / 8."""
    forward_model = CodedDiffraction()
    at_origin = torch.complex(forward_model.real, forward_model.imaginary).reshape(8, 8, 3, 8, 8)[..., 0, 0]
    return 8.0 * at_origin.permute(2, 0, 1).numpy()


def test_the_magnitudes_are_those_of_numpys_fourier_transform():
    x = images()
    waves = np.fft.fft2(x[:, None].numpy() * masks(), norm="ortho") + REFERENCE
    assert np.allclose(CodedDiffraction()(x).numpy(), np.sqrt(np.abs(waves) ** 2 + DARK**2), atol=1e-5)


def test_masks_change_phases_alone_and_energy_is_kept():
    assert np.allclose(np.abs(masks()), 1.0, atol=1e-5)
    assert np.abs(masks().mean((1, 2))).max() < 0.3
    x, forward_model = images(), CodedDiffraction()
    flat = x.flatten(1)
    energy = (flat @ forward_model.real).square() + (flat @ forward_model.imaginary).square()
    assert torch.allclose(energy.reshape(6, 3, 64).sum(2), flat.square().sum(1, keepdim=True).expand(6, 3), rtol=1e-4)


def test_first_and_second_derivatives_are_right():
    forward_model, x = CodedDiffraction().double(), images(2).double().requires_grad_(True)
    few = torch.randn(2, 3, 8, 8, 4, generator=torch.Generator().manual_seed(0)).double()

    def summed(x):
        return torch.einsum("bkyx,bkyxn->bn", forward_model(x), few)

    assert torch.autograd.gradcheck(summed, x)
    assert torch.autograd.gradgradcheck(lambda x: summed(x)[:, 0], x)
    assert torch.autograd.gradcheck(summed, torch.zeros(2, 8, 8, dtype=torch.float64, requires_grad=True))


def test_rows_never_meet():
    problem_laws.rows_do_not_meet(CodedDiffraction(), images(9))


def test_the_reference_wave_tells_an_image_from_its_negative():
    x, forward_model = images(), CodedDiffraction()
    assert float((forward_model(x) - forward_model(-x)).flatten(1).norm(dim=1).min()) > 0.5


def test_the_truth_has_no_loss(problem):
    generator = torch.Generator().manual_seed(0)
    truth = smooth_images(4096 + 1024, generator)
    assert float(problem.loss_fn(problem.forward_model(truth[-512:]), problem.test).max()) < 1e-9
    unlike = spikes(512, generator)
    assert float(problem.loss_fn(problem.forward_model(unlike), problem.unfamiliar.targets).max()) < 1e-9


@pytest.mark.parametrize("hide", [False, True])
def test_no_other_image_has_no_loss(problem, hide):
    truth = smooth_images(4096 + 1024, torch.Generator().manual_seed(0))[-512:]
    landscape = LandscapeInverter(problem.landscape(), problem.loss_fn)
    observed = problem.partly.observed[:256] if hide else None
    result = landscape.invert(problem.test[:256], 200, observed=observed, allow_unfitted=True)
    solved = result.loss < 1e-8
    error = (result.x - truth[:256]).flatten(1).norm(dim=1) / truth[:256].flatten(1).norm(dim=1)
    assert int(solved.sum()) >= (5 if hide else 100)
    assert int((~solved).sum()) >= 40  # stuck
    assert float(error[solved].median()) < 1e-3
    assert float(error[~solved].median()) > 0.1


def test_splits_are_of_different_targets_from_a_seed_of_their_own(problem):
    other = problem_laws.a_seed_of_its_own(problem, phase)
    assert torch.equal(problem.forward_model.real, other.forward_model.real)
    rows = torch.cat([*(getattr(problem, split) for split in problem_laws.SPLITS), problem.unfamiliar.targets]).flatten(1)
    assert len(rows) == len({row.numpy().tobytes() for row in rows}) == 4096 + 3 * 512
    assert bool(rows.isfinite().all())
    assert not rows.requires_grad


def test_half_of_the_magnitudes_are_lost(problem):
    observed = problem.partly.observed
    assert observed.shape == problem.partly.targets.shape
    assert observed.dtype == torch.bool
    assert (observed.flatten(1).sum(1) == 96).all()
    assert (observed.float().mean(0) - 0.5).abs().max() < 0.1


def test_every_target_can_be_descended_on(problem):
    for targets in (one.targets for one in problem.test_sets().values()):
        problem_laws.finite_with_a_slope(problem, targets, 1e-2)


def test_the_images_are_what_they_are_said_to_be():
    generator = torch.Generator().manual_seed(0)
    smooth, sparse = smooth_images(2000, generator), spikes(2000, generator)
    assert ((sparse != 0).sum((1, 2)) == 6).all()
    assert float(smooth.mean().abs()) < 0.02
    neighbours = (smooth[:, :, 1:] * smooth[:, :, :-1]).mean() / smooth.square().mean()
    assert float(neighbours) > 0.5
    spread = smooth.flatten(1).square().sum(1).mean() / sparse.flatten(1).square().sum(1).mean()
    assert 0.5 < float(spread) < 2.0


def test_the_metric_is_of_any_rows(problem):
    x = images(4)
    prediction = problem.forward_model(x)
    figures = problem.metric.of(x, prediction, problem.test[:4])
    assert torch.allclose(figures[2:], problem.metric.of(x[2:], prediction[2:], problem.test[2:4]))
    assert torch.allclose(r_factor(x, 1.1 * problem.test[:4], problem.test[:4]), torch.tensor(10.0), atol=1e-3)
