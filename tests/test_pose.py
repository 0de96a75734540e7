"""The parts of the human-pose application: body, skin, prior, cameras, forward model, photographs."""

from __future__ import annotations

import pytest
import torch

from landscape_opt import LandscapeInverter, LearnedLandscape, Stage
from landscape_opt.applications.pose import (
    ACTIONS,
    AtPoint,
    BodyModel,
    KeypointModel,
    LatentAngles,
    LimitedAngles,
    NearLast,
    OnFloor,
    Photographs,
    PinholeCamera,
    PoseMixture,
    SkinnedBody,
    keypoint_loss,
    mpjpe,
    pa_mpjpe,
    reprojection,
    sample_people,
    walking,
)
from landscape_opt.applications.pose.skinned import SHAPES
from landscape_opt.problems.camera import rotation_matrix
from landscape_opt.problems.skeleton import CARRIERS, JOINTS, PARENTS, Skeleton, skeleton

body = SkinnedBody()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def mixture():
    return PoseMixture.fit(sample_people(body, 1200, generator(7)).pose, num_components=4, num_steps=10)


@pytest.fixture(scope="module")
def model(mixture):
    return KeypointModel(body, space=LimitedAngles(body, mixture))


def at_truth(model, people):
    """x of the people themselves."""
    x, y, z = people.translation.split(1, dim=1)
    return {
        "turn": people.orientation[:, :, :2].mT.flatten(1),
        "pose": model.space.numbers(people.pose),
        "shape": people.shape,
        "pelvis": torch.cat([x / z / 0.3, y / z / 0.3, ((z - 1.5) / 2.5).log()], dim=1),
    }


def test_of_the_usual_shape_the_joints_are_those_of_the_skeleton():
    problem = skeleton()
    inner: Skeleton = problem.forward_model
    x = problem.x_init + 0.3 * torch.randn(5, 54, generator=generator())
    rotations = inner.rotations(x)
    joints = body.joints(rotations[:, 1:], torch.zeros(5, 6), rotation_matrix(rotations[:, 0]), inner.pelvis(x))
    torch.testing.assert_close(joints, inner.joints(x), rtol=0, atol=1e-5)


def test_the_skin_goes_where_the_body_goes():
    people = sample_people(body, 4, generator())
    turn = rotation_matrix(torch.tensor([[0.3, -0.8, 0.5]]))
    posed = body(people.pose, people.shape, people.orientation, people.translation)
    moved = body(people.pose, people.shape, turn @ people.orientation, people.translation + 1.0)
    for before, after in ((posed.vertices, moved.vertices), (posed.joints, moved.joints)):
        wanted = (before - people.translation[:, None]) @ turn.mT + people.translation[:, None] + 1.0
        torch.testing.assert_close(after, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(posed.joints, people.joints(body), rtol=0, atol=1e-5)
    assert (torch.cdist(posed.vertices, posed.joints).amin(2) < 0.30).all(), "the skin stays around the bones"


def test_skinning_weights_are_shares_and_a_bent_knee_moves_the_shin_alone():
    torch.testing.assert_close(body.weights.sum(1), torch.ones(777))
    assert (body.weights >= 0).all()
    straight, bent = torch.zeros(1, 16, 3), torch.zeros(1, 16, 3)
    bent[0, CARRIERS[1:].index(JOINTS.index("left knee")), 0] = 1.0
    still = torch.eye(3)[None], torch.zeros(1, 3)
    moved = (body(bent, torch.zeros(1, 6), *still).vertices - body(straight, torch.zeros(1, 6), *still).vertices)[0].norm(
        dim=1
    )
    below = [JOINTS.index("left knee"), JOINTS.index("left ankle"), JOINTS.index("left toes")]
    near = body.along[:, below].sum(1)
    assert (moved[near == 0] == 0).all()
    assert moved[body.along[:, JOINTS.index("left toes")] > 0.9].min() > 0.2


@pytest.mark.parametrize(("shape", "longer"), [("legs", "left ankle"), ("arms", "right wrist"), ("torso", "upper spine")])
def test_a_shape_stretches_its_own_bones(shape, longer):
    numbers = torch.zeros(2, 6)
    numbers[1, SHAPES.index(shape)] = 1.0
    joints = body.joints(torch.zeros(2, 16, 3), numbers, torch.eye(3).expand(2, 3, 3), torch.zeros(2, 3))
    bones = (joints[:, 1:] - joints[:, PARENTS[1:]]).norm(dim=2)
    ratio = bones[1] / bones[0]
    assert ratio[JOINTS.index(longer) - 1] == pytest.approx(1.04, abs=1e-3)
    assert ratio[JOINTS.index("head") - 1] == pytest.approx(1.0, abs=1e-5)


def test_faces_name_vertices_and_every_vertex_is_in_one():
    assert body.faces.unique().equal(torch.arange(777))


def test_people_keep_their_limits_and_have_joints_that_move_together():
    people = sample_people(body, 600, generator())
    assert ((people.pose >= body.lower) & (people.pose <= body.upper)).all()
    sitting = people.pose[people.action == list(ACTIONS).index("sit")]
    standing = people.pose[people.action == list(ACTIONS).index("stand")]
    assert sitting[:, 0, 0].mean() < standing[:, 0, 0].mean() - 0.8  # hips bent
    walkers = people.pose[people.action == list(ACTIONS).index("walk")]
    assert torch.corrcoef(torch.stack([walkers[:, 0, 0], walkers[:, 1, 0]]))[0, 1] < -0.5  # legs swing against each other
    assert sample_people(body, 600, generator()).pose.equal(people.pose)


def test_a_walk_is_smooth():
    people = walking(body, 30, generator())
    steps = (people.joints(body)[1:] - people.joints(body)[:-1]).norm(dim=2)
    assert steps.max() < 0.15
    assert steps.mean() > 0.005


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    sample_people(body, 10, generator())
    walking(body, 3, generator())
    LatentAngles(body)
    assert torch.get_rng_state().equal(before)


def test_the_mixture_finds_its_components_and_its_residuals_are_its_density():
    first, second = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([-3.0, 1.0, 0.0])
    noise = torch.randn(2, 500, 3, generator=generator()) * torch.tensor([0.5, 1.0, 0.1])
    mixture = PoseMixture.fit(torch.cat([first + noise[0], second + noise[1]]), num_components=2)
    order = mixture.means[:, 0].argsort(descending=True)
    torch.testing.assert_close(mixture.means[order], torch.stack([first, second]), rtol=0, atol=0.15)
    points = torch.tensor([[3.0, 0.5, 0.1], [-2.0, 1.0, 0.0]])
    energy = 0.5 * mixture.residuals(points).square().sum(1)
    covariances = torch.linalg.inv(mixture.precision_factors.mT @ mixture.precision_factors)
    densities = torch.stack(
        [
            mixture.weights[k].log()
            + torch.distributions.MultivariateNormal(mixture.means[k], covariances[k]).log_prob(points)
            for k in range(2)
        ]
    ).amax(0)
    assert float(energy[0] - energy[1]) == pytest.approx(float(densities[1] - densities[0]), abs=1e-3)


def test_likely_poses_cost_less_than_unlikely_ones(mixture):
    likely = sample_people(body, 200, generator(3)).pose.flatten(1)
    unlikely = (body.lower + (body.upper - body.lower) * torch.rand(200, 16, 3, generator=generator())).flatten(1)
    energies = [0.5 * mixture.residuals(poses).square().sum(1) for poses in (likely, unlikely)]
    assert energies[0].median() < 60
    assert energies[1].min() > energies[0].median()


def test_at_the_truth_the_model_says_what_was_seen(model):
    people = sample_people(body, 6, generator())
    seen = Photographs.of(people, body, model.cameras, generator(), noise=0.0)
    x = at_truth(model, people)
    prediction = model(x)
    assert reprojection(prediction["keypoints"], seen.keypoints).max() < 0.05
    assert mpjpe(model.joints(x), seen.joints).max() < 0.05
    assert model.posed(x).vertices.shape == (6, 777, 3)
    lean = people.orientation[:, [0, 2], 1] / 0.2
    torch.testing.assert_close(prediction["prior"][:, -8:], torch.cat([people.shape, lean], dim=1), rtol=0, atol=1e-4)


def test_no_number_leaves_the_limits(model):
    angles = model.space.angles(20.0 * torch.randn(50, 48, generator=generator()))
    assert ((angles >= body.lower - 1e-5) & (angles <= body.upper + 1e-5)).all()


def test_a_camera_at_the_side_sees_depth():
    side = PinholeCamera.from_the_side(90.0, 4.0)
    points = torch.tensor([[[0.0, 0.0, 4.0], [0.0, 0.0, 4.4], [0.3, 0.0, 4.0]]])
    pixels = side(points)[0]
    torch.testing.assert_close(pixels[0], torch.tensor([500.0, 500.0]), rtol=0, atol=1e-3)
    assert abs(float(pixels[1, 0]) - 500.0) == pytest.approx(100.0, abs=0.1)
    assert float(pixels[2, 0]) == pytest.approx(500.0, abs=1e-3)


def test_two_views_know_more_than_one(model):
    people = sample_people(body, 8, generator(5))
    x = at_truth(model, people)
    near = {name: part + 0.02 * torch.randn(part.shape, generator=generator(1)) for name, part in x.items()}
    errors = []
    for cameras in ([PinholeCamera()], [PinholeCamera(), PinholeCamera.from_the_side(90.0, 4.5)]):
        several = KeypointModel(body, cameras, model.space)
        seen = Photographs.of(people, body, several.cameras, generator(), noise=1.0)
        inverter = LandscapeInverter(LearnedLandscape(several, several.x_init), keypoint_loss())
        found = inverter.invert(seen.target(several), 40, warm_start=near, allow_unfitted=True)
        errors.append(mpjpe(several.joints(found.x), seen.joints).mean())
    assert errors[1] < 0.8 * errors[0]


def test_a_hidden_keypoint_has_no_say_and_stages_weigh_the_prior(model):
    people = sample_people(body, 4, generator())
    seen = Photographs.of(people, body, model.cameras, generator()).hidden(0.5, generator())
    inverter = LandscapeInverter(LearnedLandscape(model, model.x_init), keypoint_loss())
    target, observed = seen.target(model), seen.observed(model)
    other = {**target, "keypoints": torch.where(seen.confidence[..., None] > 0, target["keypoints"], torch.nan)}
    strong = Stage(5, model.weights(target, seen.confidence, prior=10.0))
    found = [
        inverter.invert(each, 15, observed=observed, stages=[strong], allow_unfitted=True).x for each in (target, other)
    ]
    assert all(found[0][name].equal(found[1][name]) for name in found[0])


def test_an_outlier_costs_no_more_than_its_limit():
    target = {"keypoints": torch.zeros(1, 22, 2), "prior": torch.zeros(1, 3)}
    keypoints = torch.zeros(1, 22, 2)
    keypoints[0, 4] = 1e4
    prediction = {"keypoints": keypoints, "prior": torch.zeros(1, 3)}
    assert float(keypoint_loss(5.0, outlier=50.0)(prediction, target)) == pytest.approx(0.5 * 50.0**2 / 25.0, rel=1e-3)
    assert float(keypoint_loss(5.0)(prediction, target)) > 1e6


def test_what_is_hidden_and_cut_off():
    seen = Photographs.of(sample_people(body, 20, generator()), body, [PinholeCamera()], generator())
    assert (seen.hidden(0.7, generator()).confidence.sum(1) == 22 - 15).all()
    cut = seen.truncated(generator()).confidence
    assert ((cut.sum(1) >= 0.3 * 22) & (cut.sum(1) <= 0.7 * 22)).all()
    assert seen.noisy(8.0, generator()).keypoints.sub(seen.keypoints).std() == pytest.approx(8.0, rel=0.1)


def test_errors_are_the_known_ones():
    truth = sample_people(body, 5, generator()).joints(body)
    turn = rotation_matrix(torch.tensor([[0.4, 1.0, -0.2]]))
    assert mpjpe(truth + 3.0, truth).max() < 1e-2
    assert pa_mpjpe(1.3 * truth @ turn[0].T + 1.0, truth).max() < 1e-2
    mirrored = truth * torch.tensor([-1.0, 1.0, 1.0])
    assert pa_mpjpe(mirrored, truth).min() > 1.0, "a reflection is no similarity"
    away = truth.clone()
    away[:, 3] += torch.tensor([0.0, 0.0, 0.22])
    torch.testing.assert_close(mpjpe(away, truth), torch.full((5,), 10.0), rtol=1e-3, atol=0)
    confidence = torch.zeros(1, 22)
    confidence[0, 0] = 1.0
    keypoints = torch.arange(44.0).reshape(1, 22, 2)
    assert float(reprojection(keypoints, keypoints + torch.tensor([3.0, 4.0]), confidence)) == pytest.approx(5.0)


def test_constraints_move_what_they_are_about(model):
    people = sample_people(body, 6, generator())
    seen = Photographs.of(people, body, model.cameras, generator())
    inverter = LandscapeInverter(LearnedLandscape(model, model.x_init), keypoint_loss())
    x = at_truth(model, people)
    last = model.joints({name: part[:1] for name, part in x.items()})
    terms = [OnFloor(model, 0.9), AtPoint(model, "left wrist", torch.tensor([0.1, 0.0, 4.0]))]
    for term in terms:
        free = inverter.invert(seen.target(model), 40, warm_start=x, allow_unfitted=True)
        bound = inverter.invert(seen.target(model), 40, warm_start=x, extra_terms=[term], allow_unfitted=True)
        assert term(bound.x, {}).median() < 0.2 * term(free.x, {}).median()
    assert NearLast(model, last)(x, {})[0] < 1e-6
    assert NearLast(model, last)(x, {})[1:].min() > 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model: KeypointModel(torch.nn.Linear(1, 1)), "BodyModel"),
        (lambda model: AtPoint(model, "left ear", torch.zeros(3)), "no joint 'left ear'"),
        (lambda model: AtPoint(model, "head", torch.zeros(2)), r"shape \(3,\)"),
        (lambda model: OnFloor(model, 1.0, tolerance=0.0), "tolerance must be positive"),
        (lambda model: NearLast(model, torch.zeros(2, 22, 3)), "one sequence at a time"),
        (lambda model: PinholeCamera(focal_length=0.0), "focal_length must be positive"),
        (lambda model: keypoint_loss(pixels=-1.0), "must be positive"),
        (lambda model: PoseMixture.fit(torch.zeros(20, 3), 8), "too few"),
        (lambda model: PoseMixture(torch.ones(2), torch.zeros(2, 3), torch.zeros(2, 3)), "covariances"),
        (lambda model: LimitedAngles(body, PoseMixture.fit(torch.rand(40, 3), 2)), "the body has 48"),
    ],
)
def test_what_does_not_fit_is_refused(model, make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make(model)


def test_a_body_is_what_the_protocol_says():
    assert isinstance(body, BodyModel)
    latent = KeypointModel(body, space=LatentAngles(body))
    assert latent.x_init["pose"].shape == (24,)
    assert latent({name: part[None] for name, part in latent.x_init.items()})["prior"].shape == (1, 24 + 8)
