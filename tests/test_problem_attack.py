"""The attack problem: are views, loss and attacks those of the equations, and does descent on the loss restore digits?"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize
from scipy.signal import correlate2d

from landscape_opt import LandscapeInverter, batches
from landscape_opt.problems.attack import (
    _VIEWS,
    MAX_CORRECTION,
    Accuracy,
    ContrastiveLoss,
    CorrectedViews,
    attack,
    corrected,
    view_matrices,
)
from landscape_opt.problems.digits_defence import (
    ATTACK_RADIUS,
    EUCLIDEAN_RADIUS,
    DigitsNetwork,
    attacked,
    labelled_digits,
    load_defence,
)


@pytest.fixture(scope="module")
def problem():
    return attack()


def first(targets, count):
    return batches.rows(targets, torch.arange(count))


def corrections(count, seed=0):
    return torch.randn(count, 8, 8, generator=torch.Generator().manual_seed(seed))


# -------------------------------------------------------------------------------------------------------- forward model


def test_a_view_turns_shifts_and_scales_as_scipy_does():
    image = labelled_digits()[0][0][0].double().numpy()
    rows, columns = np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5, indexing="ij")
    for (degrees, right, down, scale), matrix in zip(_VIEWS, view_matrices().double().numpy(), strict=True):
        angle = math.radians(degrees)
        from_columns = scale * (math.cos(angle) * columns - math.sin(angle) * rows) + right
        from_rows = scale * (math.sin(angle) * columns + math.cos(angle) * rows) + down
        view = map_coordinates(image, [from_rows + 3.5, from_columns + 3.5], order=1, mode="grid-constant")
        np.testing.assert_allclose((image.ravel() @ matrix).reshape(8, 8), view, atol=1e-5)


def silu(values):
    return values / (1.0 + np.exp(-values))


def convolved(maps, kernel, bias, stride):
    wide = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    out = [sum(correlate2d(one, part, "valid") for one, part in zip(wide, row, strict=True)) for row in kernel]
    return (np.stack(out) + bias[:, None, None])[:, ::stride, ::stride]


def encoded(weights, image):
    maps = silu(convolved(2.0 * image[None] - 1.0, weights["fine.weight"], weights["fine.bias"], 1))
    values = silu(convolved(maps, weights["coarse.weight"], weights["coarse.bias"], 2)).ravel()
    for name in ("features", "hidden"):
        values = silu(weights[f"{name}.weight"] @ values + weights[f"{name}.bias"])
    values = weights["out.weight"] @ values + weights["out.bias"]
    return values / np.linalg.norm(values)


def test_the_forward_model_is_the_embedding_of_every_view(problem):
    F = problem.forward_model
    weights = {name: weight.double().numpy() for name, weight in F.encoder.state_dict().items()}
    x, images = corrections(2), problem.given(first(problem.test, 2))
    prediction = F(x, images)
    assert prediction.shape == (2, len(_VIEWS), 32)
    for row in range(2):
        image = images[row].double().numpy() + MAX_CORRECTION * np.sin(x[row].double().numpy())
        for view, (matrix, noise) in enumerate(zip(F.matrices.double().numpy(), F.noise.double().numpy(), strict=True)):
            expected = encoded(weights, (image.ravel() @ matrix + noise).reshape(8, 8))
            np.testing.assert_allclose(prediction[row, view].numpy(), expected, atol=1e-5)


def test_rows_do_not_meet(problem):
    x, target = corrections(6), first(problem.test, 6)
    together = problem.forward_model(x, problem.given(target))
    losses = problem.loss_fn(together, target)
    for row in range(6):
        one = batches.rows(target, torch.tensor([row]))
        alone = problem.forward_model(x[row : row + 1], problem.given(one))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(problem.loss_fn(alone, one)[0], losses[row], rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_finite_differences_once_and_twice():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        F = CorrectedViews(DigitsNetwork(32, channels=2)).double().requires_grad_(False)
        bank = torch.nn.functional.normalize(torch.randn(9, 32), dim=1)
    loss_fn, image = ContrastiveLoss(bank).double(), labelled_digits()[0][0][:1].double()
    x = corrections(1).double()
    part = x[:, 3, 2:4].clone().requires_grad_(True)

    def loss(part):
        moved = torch.cat([x[:, 3, :2], part, x[:, 3, 4:]], dim=1)
        return loss_fn(F(torch.cat([x[:, :3], moved[:, None], x[:, 4:]], dim=1), image), {})

    assert torch.autograd.gradcheck(loss, part)
    assert torch.autograd.gradgradcheck(loss, part)


# ----------------------------------------------------------------------------------------------------------------- loss


def test_the_loss_is_the_contrastive_one_above_its_bound():
    generator = torch.Generator().manual_seed(0)
    bank = torch.nn.functional.normalize(torch.randn(7, 32, generator=generator), dim=1)
    views = torch.nn.functional.normalize(torch.randn(3, 4, 32, generator=generator), dim=2)
    loss_fn = ContrastiveLoss(bank)
    bank, views = bank.double().numpy(), views.double()

    def smallest(p):  # of all embeddings, with the gradient: a convex problem
        scores = np.exp(bank @ p - 1.0)
        return math.log1p(scores.sum()), scores @ bank / (1.0 + scores.sum())

    inside = {"type": "ineq", "fun": lambda p: 1.0 - p @ p, "jac": lambda p: -2.0 * p}
    found = minimize(smallest, np.full(32, 0.01), jac=True, constraints=inside, method="SLSQP", options={"maxiter": 500})
    assert float(loss_fn.bound) == pytest.approx(found.fun, abs=1e-5)

    expected = []
    for e in views.numpy():
        pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
        shares = [math.exp(e[i] @ e[j]) / (math.exp(e[i] @ e[j]) + np.exp(bank @ e[i]).sum()) for i, j in pairs]
        expected.append(-np.log(shares).mean() - found.fun)
    np.testing.assert_allclose(loss_fn(views.float(), {}).numpy(), expected, atol=1e-5)


def test_the_loss_is_positive_and_has_a_slope_at_the_start(problem):
    assert problem.x_init.shape == (8, 8)
    assert problem.dim == 64
    for targets in (problem.test, problem.partly.targets, problem.unfamiliar.targets):
        x = problem.x_init.expand(512, 8, 8).clone().requires_grad_(True)
        loss = problem.loss_fn(problem.forward_model(x, problem.given(targets)), targets)
        (slope,) = torch.autograd.grad(loss.sum(), x)
        assert loss.isfinite().all()
        assert (loss > 0.0).all()
        assert (slope.flatten(1).norm(dim=1) > 1e-3).all()


def test_a_correction_is_bounded():
    x = 100.0 * corrections(50)
    change = corrected(x, torch.zeros_like(x))
    assert 0.24 < change.abs().max() <= MAX_CORRECTION


# -------------------------------------------------------------------------------------------------------------- attacks


def right(images, labels):
    with torch.no_grad():
        return (load_defence()[0](images).argmax(1) == labels).float().mean()


def test_attacks_stay_within_their_radius_and_fool_the_classifier():
    images, labels = labelled_digits()[2]
    classifier, generator = load_defence()[0], torch.Generator().manual_seed(0)
    assert right(images, labels) > 0.98
    changed = attacked(classifier, images, labels, generator)
    assert 0.0 <= changed.min() < changed.max() <= 1.0
    assert (changed - images).abs().max() <= ATTACK_RADIUS + 1e-6
    assert right(changed, labels) < 0.2
    changed = attacked(classifier, images, labels, generator, euclidean=True)
    assert 0.0 <= changed.min() < changed.max() <= 1.0
    assert (changed - images).flatten(1).norm(dim=1).max() <= EUCLIDEAN_RADIUS + 1e-5
    assert (changed - images).abs().max() > 2.0 * ATTACK_RADIUS
    assert right(changed, labels) < 0.2


def test_the_splits_are_distinct_and_labelled(problem):
    sets = [problem.train, problem.validation, problem.test, problem.partly.targets, problem.unfamiliar.targets]
    assert [len(one["label"]) for one in sets[1:]] == [261, 512, 512, 512]
    assert len(problem.train["label"]) >= 2048
    together = torch.cat([one["image"] for one in sets])
    assert len(together.unique(dim=0)) == len(together)
    assert together.shape[1:] == (8, 8)
    clean = [images for images, _ in labelled_digits()]
    for one, images in zip(sets[:3], clean, strict=True):
        distance = torch.cdist(one["image"].flatten(1), images.flatten(1), p=torch.inf)
        assert (distance.amin(1) <= ATTACK_RADIUS + 1e-6).all()
        assert one["label"].dtype == torch.int64
        assert 0 <= one["label"].min() < one["label"].max() <= 9


def test_dead_pixels_are_a_quarter_and_are_not_told(problem):
    assert problem.partly.observed is None
    images, whole = problem.partly.targets["image"], problem.test["image"]
    assert torch.equal(problem.partly.targets["label"], problem.test["label"])
    assert ((images == whole) | (images == 0.0)).all()
    assert ((images == 0.0).flatten(1).sum(1) >= 16).all()
    assert ((images != whole).flatten(1).sum(1) <= 16).all()


def test_same_seed_same_problem_and_no_global_randomness(problem):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    again = attack()
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("train", "validation", "test"):
        for mine, other in zip(getattr(problem, name).values(), getattr(again, name).values(), strict=True):
            assert torch.equal(mine, other)
    assert torch.equal(problem.partly.targets["image"], again.partly.targets["image"])
    assert torch.equal(problem.unfamiliar.targets["image"], again.unfamiliar.targets["image"])


# ----------------------------------------------------------------------------------------------------------- end to end


def test_what_a_mapping_reads_is_the_image_alone(problem):
    target = first(problem.test, 5)
    features = problem.landscape().features(target)
    assert torch.equal(features, target["image"].flatten(1))
    assert torch.equal(problem.given(target), target["image"])


def test_descent_without_labels_restores_digits(problem):
    target = first(problem.test, 96)
    result = LandscapeInverter(problem.landscape(), problem.loss_fn).invert(target, 15, allow_unfitted=True)
    before = problem.metric.of(torch.zeros_like(result.x), result.prediction, target)
    after = problem.metric.of(result.x, result.prediction, target)
    assert set(after.tolist()) <= {0.0, 100.0}
    assert before.mean() < 25.0
    assert after.mean() > before.mean() + 25.0
    some = torch.tensor([3, 8, 20])
    assert torch.equal(problem.metric.of(result.x[some], result.prediction[some], batches.rows(target, some)), after[some])
    assert isinstance(problem.metric.of, Accuracy)


def test_a_fit_takes_the_targets_as_they_are(problem):
    inverter = LandscapeInverter(problem.landscape(), problem.loss_fn, batch_size=32)
    inverter.fit(problem.train, num_rounds=1, progress=False)
    assert inverter.invert(first(problem.test, 4), 2).loss.isfinite().all()
