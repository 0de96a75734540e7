"""The adversarial-defence application: the reversal, and the record that is not made without an adaptive attack."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from landscape_opt.applications.defence import (
    PGD,
    CorrectedViews,
    Crafted,
    Expectation,
    FixedViews,
    Labelled,
    LInf,
    Reversal,
    Robustness,
    StraightThrough,
    Supervision,
    Threat,
    Undefended,
    Unrolled,
    View,
    adaptive_threats,
    cross_entropy,
    evaluate,
)
from landscape_opt.problems.attack import _VIEWS, view_matrices
from landscape_opt.solvers import LBFGS

BALL = LInf(0.1)


def images_of(count, *shape, seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


class Small(nn.Module):
    """A user's own network, with colour."""

    def __init__(self, outputs, shape=(3, 6, 10), seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size = torch.Size(shape).numel()
        self.register_buffer("inner", torch.randn(size, 16, generator=generator) / size**0.5 * 2.0)
        self.register_buffer("outer", torch.randn(16, outputs, generator=generator))

    def forward(self, images):
        return torch.tanh((2.0 * images - 1.0).flatten(1) @ self.inner) @ self.outer


def supervision(shape=(3, 6, 10)):
    return Supervision.contrastive(Small(8, shape, seed=1), images_of(20, *shape, seed=1))


def defence(num_steps=4, fitted=False, **options):
    inverter = supervision().inverter()
    if fitted:
        inverter.fit(images_of(96, 3, 6, 10, seed=2), num_rounds=1, progress=False)
    return Reversal(Small(5), inverter, num_steps, **options)


@pytest.fixture(scope="module")
def fitted():
    return defence(fitted=True)


@pytest.fixture(scope="module")
def data():
    images = images_of(12, 3, 6, 10, seed=3)
    return Labelled(images, Small(5)(images).argmax(1))


# ------------------------------------------------------------------------------------------------------------- the parts


def test_importing_the_library_imports_no_application():
    code = "import sys, landscape_opt; sys.exit(any(name.startswith('landscape_opt.app') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_views_are_those_of_the_attack_problem():
    views = FixedViews(8, 8, [View(*one) for one in _VIEWS])
    torch.testing.assert_close(views.matrices, view_matrices())
    image = images_of(2, 8, 8)
    colour = torch.stack([image, 1.0 - image], dim=1)
    torch.testing.assert_close(views(colour)[:, :, 0], views(image))
    torch.testing.assert_close(FixedViews(8, 8, [View(), View()], noise=0.0)(image)[:, 1], image)


def test_a_correction_is_bounded_and_nothing_at_zero():
    F = supervision().forward_model
    image, x = images_of(2, 3, 6, 10), 50.0 * images_of(2, 3, 6, 10, seed=5)
    assert torch.equal(F.corrected(torch.zeros_like(x), image), image)
    assert 0.2 < (F.corrected(x, image) - image).abs().max() <= F.radius + 1e-6


@pytest.mark.parametrize("is_fitted", [False, True])
def test_every_row_is_its_own_problem(is_fitted, fitted):
    reversal, images = fitted if is_fitted else defence(), images_of(5, 3, 6, 10, seed=6)
    together = reversal.correct(images)
    for row in range(5):
        alone = reversal.correct(images[row : row + 1])
        torch.testing.assert_close(alone.images[0], together.images[row], rtol=1e-4, atol=1e-5)
    assert (together.num_evaluations <= 4).all()
    assert (together.loss < together.loss_before).all()
    assert ((together.images - images).abs() <= reversal.forward_model.radius + 1e-6).all()


def test_no_steps_before_any_fit_are_no_defence(data):
    reversal = defence(num_steps=0)
    assert torch.equal(reversal(data.images), reversal.classifier(data.images))


def test_the_user_s_solver_moves_x(data):
    one, other = defence(num_steps=6), defence(num_steps=6, solver=LBFGS())
    assert not torch.equal(one.correct(data.images).images, other.correct(data.images).images)


def test_nothing_of_the_guest_or_of_the_global_state_changes(data):
    reversal = defence()
    reversal.classifier.register_parameter("scale", nn.Parameter(torch.ones(())))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    record = evaluate(reversal, data, adaptive=adaptive_threats(reversal, BALL, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(one.grad is None for one in reversal.parameters())
    again = evaluate(reversal, data, adaptive=adaptive_threats(reversal, BALL, 2))
    assert torch.equal(record.adaptive[-1].right, again.adaptive[-1].right)


# ------------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("is_fitted", [False, True])
def test_the_unrolled_gradient_is_that_of_finite_differences(is_fitted):
    shape = (1, 3, 4)
    encoder, classifier = Small(8, shape, seed=1).double(), Small(5, shape).double()
    inverter = Supervision.contrastive(encoder, images_of(20, *shape, seed=1).double()).inverter()
    if is_fitted:
        inverter.fit(images_of(64, *shape, seed=2).double(), num_rounds=1, progress=False)
    # A landscape of one round hands over after its first step, which no unrolled descent does.
    victim = Unrolled(Reversal(classifier, inverter, 1 if is_fitted else 3))
    at, labels = images_of(1, *shape, seed=7).double(), torch.tensor([1])
    slope = victim.slope(at, labels, cross_entropy).gradient
    direction = images_of(1, *shape, seed=8).double() - 0.5

    def value(step):
        with torch.no_grad():
            corrected = victim.reversal.unrolled(at + step * direction)
            return cross_entropy(classifier(corrected), labels)

    estimate = (value(1e-6) - value(-1e-6)) / 2e-6
    with torch.no_grad():
        torch.testing.assert_close(victim.reversal.correct(at).images, victim.reversal.unrolled(at))
    assert float((slope * direction).sum()) == pytest.approx(float(estimate), rel=1e-4)


def test_straight_through_has_the_values_of_the_defence(fitted, data):
    for victim in (StraightThrough(fitted), Unrolled(fitted)):
        with torch.no_grad():
            torch.testing.assert_close(victim.logits(data.images), fitted(data.images), rtol=1e-4, atol=1e-4)
        assert (victim.slope(data.images, data.labels, cross_entropy).gradient.flatten(1).norm(dim=1) > 0).all()


def test_an_expectation_is_the_mean_of_slopes(data):
    reversal = defence(noise=0.1)
    one = Expectation(StraightThrough(reversal), 3).slope(data.images, data.labels, cross_entropy)
    reversal.generator.manual_seed(0)
    slopes = [StraightThrough(reversal).slope(data.images, data.labels, cross_entropy) for _ in range(3)]
    assert not torch.equal(slopes[0].gradient, slopes[1].gradient)
    torch.testing.assert_close(one.gradient, torch.stack([slope.gradient for slope in slopes]).mean(0))
    torch.testing.assert_close(one.loss, torch.stack([slope.loss for slope in slopes]).mean(0))


# ------------------------------------------------------------------------------------------------------------ the record


def test_there_is_no_record_without_an_adaptive_attack(data):
    reversal = defence()
    static = Threat(PGD(BALL, 3), Undefended(reversal.classifier), "PGD")
    clean = torch.ones(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="without an adaptive attack says nothing"):
        Robustness(clean=clean, crafted=(), adaptive=(), num_steps=1, seconds=0.0)
    for attackers in ([], [static], adaptive_threats(defence(), BALL, 2)):
        with pytest.raises(ValueError, match="differentiates through this defence"):
            evaluate(reversal, data, adaptive=attackers)
    with pytest.raises(TypeError):
        evaluate(reversal, data, crafted=[static.craft(data)])


def test_a_random_defence_is_attacked_in_the_mean(data):
    reversal = defence(noise=0.05)
    single = Threat(PGD(BALL, 2), StraightThrough(reversal), "BPDA")
    with pytest.raises(ValueError, match="Expectation"):
        evaluate(reversal, data, adaptive=[single])
    assert evaluate(reversal, data, adaptive=adaptive_threats(reversal, BALL, 1)).robust_accuracy <= 100.0


def test_accuracies_fall_from_attack_to_attack(fitted, data):
    crafted = Threat(PGD(BALL, 10), Undefended(fitted.classifier), "PGD").craft(data)
    record = evaluate(fitted, data, crafted=[crafted], adaptive=adaptive_threats(fitted, BALL, 5))
    assert torch.equal(record.crafted[0].right, fitted(crafted.images).argmax(1) == data.labels)
    so_far = torch.stack([record.clean, record.crafted[0].right]).all(0)
    for outcome in record.adaptive:
        assert (outcome.right <= so_far).all()
        so_far = outcome.right
    assert record.robust_accuracy == record.adaptive[-1].accuracy == pytest.approx(100.0 * so_far.double().mean().item())
    assert record.num_steps == 4


# ---------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedViews(8, 8, [View()]), "at least two"),
        (lambda: CorrectedViews(nn.Flatten(), FixedViews(8, 8), radius=0.0), "must be positive"),
        (lambda: Supervision.contrastive(nn.Flatten(), torch.zeros(5, 64)), "must be images"),
        (lambda: defence(num_steps=-1), "must not be negative"),
        (lambda: defence(noise=-0.1), "must not be negative"),
        (lambda: LInf(0.0), "must be positive"),
        (lambda: PGD(BALL, 0), "at least 1"),
        (lambda: Expectation(Undefended(nn.Flatten()), 0), "at least 1"),
    ],
)
def test_errors_at_the_door(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_images_made_of_other_images_are_refused(data):
    reversal = defence()
    with pytest.raises(ValueError, match="craft them on the same images"):
        evaluate(reversal, data, crafted=[Crafted("PGD", data.images[:3])], adaptive=adaptive_threats(reversal, BALL, 1))
