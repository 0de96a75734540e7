"""Attacks of the adversarial-defence application: within their bounds, and as strong as they are said to be."""

import pytest
import torch
from torch.nn.functional import cross_entropy as mean_cross_entropy

from landscape_opt.applications.defence import (
    APGD,
    FGSM,
    L2,
    PGD,
    Labelled,
    LInf,
    RandomSearch,
    Reversal,
    Supervision,
    Threat,
    Undefended,
    WorstOf,
    adaptive_threats,
    auto_attack_like,
    cross_entropy,
    digit_images,
    digit_networks,
    evaluate,
    letter_images,
    letter_networks,
    logits_ratio,
    margin,
)

BOX, SPHERE = LInf(0.15), L2(1.0)
EVERY = [
    FGSM(BOX),
    FGSM(SPHERE),
    PGD(BOX, 8),
    PGD(SPHERE, 8, loss=margin, num_starts=2, goes_on=False),
    APGD(BOX, 8, loss=logits_ratio),
    APGD(SPHERE, 8, num_starts=2, goes_on=False),
    RandomSearch(BOX, 20),
    RandomSearch(SPHERE, 20),
    auto_attack_like(BOX, 5),
]


@pytest.fixture(scope="module")
def data():
    return digit_images().validation.first(60)


@pytest.fixture(scope="module")
def networks():
    return digit_networks()


def generator():
    return torch.Generator().manual_seed(0)


def right(classifier, images, labels):
    return 100.0 * float((classifier(images).argmax(1) == labels).double().mean())


@pytest.mark.parametrize("attack", EVERY, ids=lambda one: f"{one.name}-{type(one.ball).__name__}")
def test_attacks_stay_within_their_ball_and_help(attack, data, networks):
    victim = Undefended(networks.standard)
    found = attack(victim, data.images, data.labels, generator())
    assert found.shape == data.images.shape
    assert 0.0 <= found.min() < found.max() <= 1.0
    assert (attack.ball.distance(found - data.images) <= attack.ball.radius * (1 + 1e-5)).all()
    assert right(networks.standard, found, data.labels) < right(networks.standard, data.images, data.labels) - 20.0
    again = attack(victim, data.images, data.labels, generator())
    assert torch.equal(found, again)


def test_an_undefended_classifier_falls(data, networks):
    found = auto_attack_like(BOX, 30)(Undefended(networks.standard), data.images, data.labels, generator())
    assert right(networks.standard, found, data.labels) <= 5.0


def test_more_steps_and_starts_change_little(data, networks):
    victim = Undefended(networks.robust)
    few = auto_attack_like(BOX, 20)(victim, data.images, data.labels, generator())
    many = auto_attack_like(BOX, 60, num_starts=2)(victim, data.images, data.labels, generator())
    assert abs(right(networks.robust, few, data.labels) - right(networks.robust, many, data.labels)) <= 4.0


def test_the_ensemble_is_no_weaker_than_its_first_attack(data, networks):
    victim = Undefended(networks.robust)
    whole = auto_attack_like(BOX, 15)
    first = whole.attacks[0](victim, data.images, data.labels, generator())
    together = whole(victim, data.images, data.labels, generator())
    assert right(networks.robust, together, data.labels) <= right(networks.robust, first, data.labels)


def test_going_on_makes_images_with_a_higher_loss(data, networks):
    victim = Undefended(networks.standard)
    losses = [
        mean_cross_entropy(
            networks.standard(PGD(BOX, 15, goes_on=going)(victim, data.images, data.labels, generator())), data.labels
        )
        for going in (False, True)
    ]
    assert losses[1] > 1.5 * losses[0]


@pytest.mark.parametrize("ball", [BOX, SPHERE])
def test_a_ball_contains_its_draws_and_knows_its_steepest_ascent(ball):
    images = torch.rand(20, 8, 8, generator=generator())
    drawn = ball.drawn(images, generator())
    assert (ball.distance(drawn - images) <= ball.radius * (1 + 1e-5)).all()
    assert torch.allclose(ball.project(drawn, images), drawn)
    gradient = torch.randn(20, 8, 8, generator=generator())
    step = ball.steepest(gradient)
    torch.testing.assert_close(ball.distance(step), torch.ones(20))
    other = torch.randn(20, 8, 8, generator=torch.Generator().manual_seed(1))
    other = other / ball.distance(other)[:, None, None]
    assert ((step * gradient).sum((1, 2)) >= (other * gradient).sum((1, 2))).all()


def test_losses_rise_towards_a_wrong_class():
    logits, labels = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0]]), torch.tensor([0, 0])
    assert margin(logits, labels).tolist() == [-1.0, 1.0]
    assert logits_ratio(10.0 * logits, labels).tolist() == logits_ratio(logits, labels).tolist() == [-0.5, 0.5]
    losses = cross_entropy(logits, labels)
    assert losses[0] < losses[1]


def test_an_ensemble_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        WorstOf([])


@pytest.mark.parametrize(("images", "trained"), [(digit_images, digit_networks), (letter_images, letter_networks)])
def test_the_networks_are_what_they_are_said_to_be(images, trained):
    image_set, networks = images(), trained()
    data: Labelled = image_set.test.first(200)
    assert right(networks.standard, data.images, data.labels) > 85.0
    ascent = PGD(LInf(image_set.radius), 10)
    left = {}
    for name, classifier in (("standard", networks.standard), ("robust", networks.robust)):
        found = Threat(ascent, Undefended(classifier), name).craft(data).images
        left[name] = right(classifier, found, data.labels)
    assert left["robust"] > left["standard"] + 15.0
    assert networks.encoder(data.images[:3]).shape == (3, 32)


def test_the_parts_of_a_set_share_no_image():
    for image_set in (digit_images(), letter_images()):
        parts = [image_set.train, image_set.validation, image_set.test]
        together = torch.cat([part.images for part in parts])
        own = [len(part.images.unique(dim=0)) for part in parts]
        assert len(together.unique(dim=0)) == sum(own)
        assert 0.0 <= together.min() < together.max() <= 1.0
        assert int(together.isfinite().all())
        assert image_set.test.labels.unique().tolist() == list(range(image_set.num_classes))


# -------------------------------------------------------------------------------------------------- against the reversal


@pytest.fixture(scope="module")
def supervision(networks):
    return Supervision.contrastive(networks.encoder, digit_images().train.images[:256])


@pytest.fixture(scope="module")
def crafted(data, networks):
    return Threat(PGD(BOX, 20), Undefended(networks.standard), "PGD").craft(data)


def test_reversal_undoes_an_attack_that_does_not_know_it_and_not_one_that_does(data, networks, supervision, crafted):
    reversal = Reversal(networks.standard, supervision.inverter(), num_steps=5)
    record = evaluate(reversal, data, crafted=[crafted], adaptive=adaptive_threats(reversal, BOX, 10))
    undefended = right(networks.standard, crafted.images, data.labels)
    assert record.crafted[0].accuracy > undefended + 20.0
    assert record.robust_accuracy < record.crafted[0].accuracy - 20.0


def test_a_landscape_does_in_one_step_what_plain_reversal_does_in_five(data, networks, supervision, crafted):
    train = digit_images().train
    attacked = Threat(PGD(BOX, 5), Undefended(networks.standard), "PGD").craft(train).images
    learned = supervision.inverter().fit(torch.cat([attacked, train.images]), num_rounds=4, progress=False)
    plain = Reversal(networks.standard, supervision.inverter(), num_steps=5).correct(crafted.images)
    one = Reversal(networks.standard, learned, num_steps=1).correct(crafted.images)
    two = Reversal(networks.standard, learned, num_steps=2).correct(crafted.images)
    accuracies = [right(networks.standard, found.images, data.labels) for found in (one, plain)]
    assert accuracies[0] >= accuracies[1]
    assert two.loss.mean() < one.loss.mean() < one.loss_before.mean()
