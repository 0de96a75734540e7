"""What the diagnostics say, against problems whose answers are known."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from itertools import pairwise

import pytest
import torch
from laws import assert_untouched, snapshot
from strategies import case, fitted, mlp_model, new_inverter, seeded, squares
from torch import Tensor
from torch.autograd.function import once_differentiable

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.benchmark.affine import AffineMapping
from landscape_opt.cli import main
from landscape_opt.diagnostics import NotAvailable, Spectrum, described, diagnose, draw_losses, draw_slices, slices
from landscape_opt.diagnostics.basins import basins
from landscape_opt.diagnostics.command import run_diagnosis
from landscape_opt.diagnostics.conditioning import conditioning
from landscape_opt.diagnostics.curvature import lanczos
from landscape_opt.diagnostics.pictures import stretch
from landscape_opt.precision import Autocast
from landscape_opt.problems import linear

CONDITION = 100.0
LINEAR = linear(8, CONDITION, dtype=torch.float64)


def oracle(problem=LINEAR, forward_model=None, jacobian=None):
    """A landscape that knows what there is to know: x_k + J z with J = H^(-1/2), and η = 1."""
    landscape = LearnedLandscape(forward_model or problem.forward_model, problem.x_init, AffineMapping())
    inverter = LandscapeInverter(landscape, problem.loss_fn)
    inverter.prepare(problem.train[:32])
    mapping = landscape.mapping
    with torch.no_grad():
        mapping.step.fill_(1.0)
        mapping.jacobian.weight.copy_(problem.one_step_mapping() if jacobian is None else jacobian)
    return inverter


@cache
def the_oracle():
    return oracle()


# ---------------------------------------------------------------------------------------------------------- how quickly


def test_evaluations_to_tolerance_are_those_of_the_histories():
    inverter = fitted("mlp", torch.float64, "anchored", "default")
    targets = case("mlp", torch.float64).targets(12, 5)
    found = diagnose(inverter, targets, max_evaluations=20, tolerance=0.02, num_starts=1)
    ours, plain = inverter.invert(targets, 20), inverter.unfitted().invert(targets, 20, allow_unfitted=True)
    for reach, result in ((found.landscape, ours), (found.plain, plain)):
        for row in range(12):
            level = 0.02 * plain.history.loss[0, row]
            best = result.history.best[:, row].tolist()
            first = next((k for k, loss in enumerate(best) if loss <= level), torch.inf)
            assert reach.evaluations[row] == first
            counted = int(min(first, result.num_evaluations[row]))
            ratios = sorted(after / before for before, after in pairwise(best[: counted + 1]))
            if ratios:
                assert float(reach.ratio[row]) == pytest.approx(ratios[(len(ratios) - 1) // 2])
        assert reach.num_evaluations == int(result.num_evaluations.sum())
        finite = reach.evaluations.isfinite().double().mean()
        assert reach.share_arrived == finite
        assert reach.quantile(0.5) == reach.evaluations.sort().values[5]


def test_the_oracle_arrives_after_one_evaluation():
    found = diagnose(the_oracle(), LINEAR.test[:6], max_evaluations=12, tolerance=1e-6, num_starts=1)
    assert found.landscape.evaluations.tolist() == [1.0] * 6
    assert float(found.plain.evaluations.min()) > 3
    assert float(found.landscape.ratio.max()) < 1e-6
    assert found.landscape.rises.tolist() == [0.0] * 6


# --------------------------------------------------------------------------------------------------------- conditioning


def test_a_linear_model_has_the_condition_of_its_hessian_and_the_oracle_metric_that_of_a_sphere():
    found = conditioning(the_oracle(), LINEAR.test[:6], 12)
    known = ~found.in_x.isnan()
    assert known[0].all()
    assert torch.allclose(found.in_x[known], torch.tensor(CONDITION, dtype=torch.float64), rtol=1e-6)
    assert torch.allclose(found.learned[0], torch.ones(6, dtype=torch.float64), rtol=1e-6)
    assert float(found.left_in_x[0].min()) > 0.05
    assert float(found.left_learned[0].max()) < 1e-9  # one step solves it
    assert found.is_convex[0].all()
    assert int(found.num_flat[0].max()) == 0


def test_a_metric_that_learned_nothing_sees_the_loss_as_it_is():
    found = conditioning(oracle(jacobian=torch.eye(8, dtype=torch.float64)), LINEAR.test[:3], 5)
    assert torch.allclose(found.learned, found.in_x, rtol=1e-6, equal_nan=True)
    assert torch.allclose(found.left_learned, found.left_in_x, atol=1e-9, equal_nan=True)


def test_evaluations_of_the_conditioning_are_counted():
    count = 0

    def counting(x):
        nonlocal count
        count += len(x)
        return LINEAR.forward_model(x)

    inverter = oracle(forward_model=counting, jacobian=0.1 * torch.eye(8, dtype=torch.float64))
    count = 0
    found = conditioning(inverter, LINEAR.test[:4], 12)
    num_points = int((~found.in_x.isnan()).sum())
    num_read = 4  # the last point of every descent, a forward that is not charged
    assert found.num_evaluations == count - num_read + num_points * (8 + 2)


def test_lanczos_finds_the_extremes_and_says_that_it_gives_a_bound():
    values = torch.tensor([1.0, 3.0, 50.0], dtype=torch.float64).repeat(30)
    like = torch.zeros(2, 90, dtype=torch.float64)
    found = Spectrum(lanczos(lambda v: v * values, lambda v: v, like), rounding=1e-9)
    assert found.condition.tolist() == pytest.approx([50.0, 50.0], rel=1e-8)
    as_seen = Spectrum(lanczos(lambda v: v * values, lambda v: v / values, like), rounding=1e-9)
    assert as_seen.condition.tolist() == pytest.approx([1.0, 1.0], rel=1e-8)
    problem = linear(70, CONDITION, dtype=torch.float64)
    along = conditioning(oracle(problem), problem.test[:2], 3)
    assert not along.is_exact
    assert float(along.in_x[0].max()) <= CONDITION * (1 + 1e-9)
    assert float(along.in_x[0].min()) > 0.4 * CONDITION
    assert along.learned[0].tolist() == pytest.approx([1.0, 1.0], rel=1e-6)


def test_flat_directions_and_saddles_are_told():
    spectrum = Spectrum(torch.tensor([[-2.0, 0.0, 8.0], [0.0, 0.0, 0.0]], dtype=torch.float64), rounding=1e-9)
    assert spectrum.condition[0] == 4.0
    assert spectrum.condition[1].isnan()
    assert spectrum.num_flat.tolist() == [1, 3]
    assert spectrum.is_convex.tolist() == [False, True]


class Once(torch.autograd.Function):
    """A product with 2 that cannot be differentiated twice."""

    @staticmethod
    def forward(ctx, x):
        return 2.0 * x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return 2.0 * grad


def test_a_model_that_cannot_be_differentiated_twice_is_a_value():
    inverter = new_inverter(Once.apply, torch.zeros(3)).fit(
        torch.randn(32, 3, generator=seeded(0)), num_rounds=1, progress=False
    )
    found = diagnose(inverter, torch.randn(4, 3, generator=seeded(1)), max_evaluations=5, num_starts=1)
    assert isinstance(found.conditioning, NotAvailable)
    assert "twice" in found.conditioning.reason
    assert "not available" in found.text()
    assert found.conditioning.num_evaluations > 0


# As in test_compiled_F: Dynamo looks at .grad of what it is given, and its backward frees what it needs.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_model_is_looked_at_as_it_was_written():
    forward_model = torch.compile(lambda x: (x * torch.tensor([1.0, 0.5])).sin(), backend="aot_eager")
    inverter = new_inverter(forward_model, torch.zeros(2))
    inverter.fit(0.1 * torch.randn(32, 2, generator=seeded(0)), num_rounds=1, progress=False)
    found = conditioning(inverter, 0.1 * torch.randn(2, 2, generator=seeded(1)), 1)
    assert 3.0 < float(found.in_x[0].min()) < 5.0  # 4 at the solution


# --------------------------------------------------------------------------------------------------------------- basins


def two_wells(prediction, target):
    """The right well is at target + (1, 0), with a loss of 0; the wrong one near target − (1, 0), with a loss of 1.1."""
    u, v = (prediction - target).unbind(1)
    return (u.square() - 1).square() + 0.3 * (u - 1).square() + v.square()


def in_two_wells(start):
    """Where plain descent begins in the wrong well, and the landscape at ``start``."""
    x_init = torch.tensor([-0.8, 0.1])
    inverter = LandscapeInverter(LearnedLandscape(lambda x: 1.0 * x, x_init, AffineMapping()), two_wells)
    mapping = inverter.prepare(0.05 * torch.randn(32, 2, generator=seeded(0))).mapping
    with torch.no_grad():
        mapping.constant.copy_((torch.tensor(start) - x_init) / (3.0 * mapping.move))
    return inverter, 0.05 * torch.randn(10, 2, generator=seeded(1))


def test_a_start_in_the_right_well_is_a_basin_success_that_plain_descent_has_not():
    inverter, targets = in_two_wells([0.8, 0.0])
    found = diagnose(inverter, targets, max_evaluations=30, spread=1.5)
    assert found.basins.landscape.all()
    assert not found.basins.plain.any()
    assert found.landscape.share_arrived == 1.0
    assert found.plain.share_arrived == 0.0


def test_random_starts_find_the_well_that_both_missed():
    inverter, targets = in_two_wells([-0.7, 0.0])
    found = diagnose(inverter, targets, max_evaluations=30, num_starts=6, spread=1.5)
    assert float(found.basins.lowest.max()) < 1e-4
    assert not found.basins.landscape.any()
    assert not found.basins.plain.any()
    near = diagnose(inverter, targets, max_evaluations=30, num_starts=6, spread=0.05)
    assert near.basins.landscape.all()  # nobody has looked further


def test_starts_are_the_same_for_every_target():
    inverter, targets = in_two_wells([-0.7, 0.0])
    losses = torch.zeros(10)
    together = basins(inverter, targets, losses, losses, losses, 10, 2)
    alone = basins(inverter, targets[3:4], losses[:1], losses[:1], losses[:1], 10, 2)
    assert torch.allclose(together.starts[3], alone.starts[0], atol=1e-6)


# -------------------------------------------------------------------------------------------------------- unfamiliarity


def test_targets_unlike_those_of_the_fit_are_less_familiar():
    inverter = fitted("linear", torch.float64, "anchored", "default")
    like = case("linear", torch.float64).targets(16, 21)
    found = diagnose(inverter, torch.cat([like, like + 4.0]), max_evaluations=2, num_starts=1)
    firsts = [record.trajectory_loss[0] for record in inverter.history]
    mean = torch.tensor([loss for loss in firsts if loss == loss][-20:], dtype=torch.float64).mean()
    assert torch.allclose(found.unfamiliarity, inverter.invert(torch.cat([like, like + 4.0]), 2).history.loss[0] / mean)
    assert found.unfamiliarity[16:].median() > 3.0 * found.unfamiliarity[:16].median()


# --------------------------------------------------------------------------------------------------------------- slices


def test_in_the_oracle_chart_the_loss_is_round():
    found = slices(the_oracle(), LINEAR.test, row=2, resolution=21)
    one = found.in_z
    a, b = torch.meshgrid(one.across, one.up, indexing="xy")
    round_bowl = 0.5 * ((a - one.solution[0]).square() + (b - one.solution[1]).square())
    assert torch.allclose(one.loss, round_bowl, atol=1e-6 * float(round_bowl.max()))
    assert found.is_same_plane
    assert float(one.learned.loss[-1]) < 1e-12
    assert stretch(one) < 1.5
    assert stretch(found.in_x) > 2.0


def test_a_plane_of_two_numbers_shows_all_of_a_path():
    problem = linear(2, CONDITION, dtype=torch.float64)
    found = slices(oracle(problem), problem.test, row=1, resolution=15)
    for trace in (found.in_x.plain, found.in_x.learned, found.in_z.plain, found.in_z.learned):
        assert trace.in_plane == pytest.approx(1.0)
    assert found.in_x.plain.points[0].tolist() == [0.0, 0.0]  # it begins at x_init
    assert found.in_x.learned.points[-1].tolist() == pytest.approx(found.in_x.solution.tolist(), abs=1e-6)
    across = (found.in_x.across - found.in_x.solution[0]).abs().argmin()
    up = (found.in_x.up - found.in_x.solution[1]).abs().argmin()
    assert found.in_x.loss[up, across] < 0.1 * found.in_x.plain.loss[0]
    assert found.num_forwards == 2 * 15**2


def test_a_mapping_that_keeps_one_chart_is_drawn_itself():
    problem = linear(6, 10.0)
    inverter = LandscapeInverter.published(problem.forward_model, problem.x_init, problem.loss_fn)
    inverter.prepare(problem.train[:32])
    found = slices(inverter, problem.test, max_evaluations=8, resolution=7)
    assert not found.is_same_plane
    assert found.in_z.plain is None
    assert found.in_z.learned.points[0].tolist() == [0.0, 0.0]
    assert "a plane of Z" in described(found)
    around = conditioning(inverter, problem.test[:3], 4)
    assert torch.allclose(around.learned, around.in_x, rtol=1e-3, equal_nan=True)  # nothing learned: x_init + z


def test_pictures_are_written_and_described(tmp_path):
    inverter = the_oracle()
    planes = slices(inverter, LINEAR.test, resolution=9)
    found = diagnose(inverter, LINEAR.test[:4], max_evaluations=6, num_starts=1)
    assert draw_slices(planes, tmp_path / "a" / "planes.png").read_bytes().startswith(b"\x89PNG")
    svg = draw_losses(found, tmp_path / "losses.svg").read_text()
    assert "plain descent" in svg
    assert draw_losses(found, tmp_path / "again.svg").read_text() == svg
    text = described(planes)
    assert f"{float(planes.in_x.plain.loss[0]):.2g}" in text
    ours, plain = inverter.invert(LINEAR.test[:1], 20), inverter.unfitted().invert(LINEAR.test[:1], 20, allow_unfitted=True)
    level = 1e-3 * plain.history.loss[0, 0]
    for name, result in (("The landscape", ours), ("Plain descent", plain)):
        count = int((result.history.best[:, 0] <= level).long().argmax())
        assert f"{name} arrives after {count} evaluation" in text
    with pytest.raises(ValueError, match="png or"):
        draw_losses(found, tmp_path / "picture")


# --------------------------------------------------------------------------------------------------------------- guests


def numbers(part) -> list[Tensor]:
    if is_dataclass(part):
        return [leaf for field in fields(part) for leaf in numbers(getattr(part, field.name))]
    return [part] if isinstance(part, Tensor) else []


def test_the_guest_and_the_global_random_state_are_untouched_and_the_answer_is_the_same_again():
    model = mlp_model(torch.float32)
    problem_targets = torch.randn(40, 10, generator=seeded(3))
    inverter = new_inverter(model, torch.full((4,), 0.1)).fit(problem_targets, num_rounds=2, progress=False)
    before, weights = snapshot(model, problem_targets), [one.clone() for one in inverter.landscape.mapping.parameters()]
    first, planes = diagnose(inverter, problem_targets[:5], 6, num_starts=2), slices(inverter, problem_targets, 3, 6, 5)
    assert_untouched(before, snapshot(model, problem_targets))
    assert all(torch.equal(*pair) for pair in zip(weights, inverter.landscape.mapping.parameters(), strict=True))
    torch.rand(1)
    again, planes_again = (
        diagnose(inverter, problem_targets[:5], 6, num_starts=2),
        slices(inverter, problem_targets, 3, 6, 5),
    )
    for one, other in zip(numbers(first) + numbers(planes), numbers(again) + numbers(planes_again), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    spent = (first.landscape, first.plain, first.conditioning, first.basins)
    assert first.num_evaluations == sum(part.num_evaluations for part in spent)


def test_a_model_that_is_given_more_than_x_can_be_diagnosed():
    generator = seeded(4)
    targets = {"y": torch.randn(40, 2, generator=generator), "gain": 1.0 + torch.rand(40, 2, generator=generator)}
    landscape = LearnedLandscape(lambda x, gain: gain * x, torch.zeros(2), given=lambda target: target["gain"])
    inverter = LandscapeInverter(landscape, lambda prediction, target: squares(prediction, target["y"]))
    inverter.prepare(targets)
    few = {name: part[:4] for name, part in targets.items()}
    found = diagnose(inverter, few, max_evaluations=5, num_starts=1)
    assert found.conditioning.in_x[0].tolist() == pytest.approx(
        [float((row.max() / row.min()).square()) for row in few["gain"]], rel=1e-3
    )
    assert slices(inverter, few, 1, 5, 5).in_x.loss.shape == (5, 5)


# --------------------------------------------------------------------------------------------------------------- errors

TARGETS = LINEAR.test[:4]
UNFITTED = LandscapeInverter(LINEAR.landscape(), LINEAR.loss_fn)
ERRORS = [
    ("no targets", lambda: diagnose(the_oracle(), TARGETS[:0]), ValueError, "no targets"),
    ("not fitted", lambda: diagnose(UNFITTED, TARGETS), RuntimeError, "has not been fitted"),
    ("other sizes", lambda: diagnose(the_oracle(), TARGETS[:, :5]), ValueError, "5 features"),
    ("NaN", lambda: diagnose(the_oracle(), TARGETS * torch.nan), ValueError, "NaN"),
    ("tolerance 0", lambda: diagnose(the_oracle(), TARGETS, tolerance=0.0), ValueError, "tolerance must be positive"),
    (
        "tolerance NaN",
        lambda: diagnose(the_oracle(), TARGETS, tolerance=torch.nan),
        ValueError,
        "tolerance must be positive",
    ),
    ("no budget", lambda: diagnose(the_oracle(), TARGETS, max_evaluations=0), ValueError, "max_evaluations"),
    ("no starts", lambda: diagnose(the_oracle(), TARGETS, num_starts=0), ValueError, "num_starts"),
    ("no spread", lambda: diagnose(the_oracle(), TARGETS, spread=0.0), ValueError, "spread must be positive"),
    ("bare F", lambda: diagnose(LINEAR.forward_model, TARGETS), TypeError, "LandscapeInverter, got MatrixProduct"),
    ("slices, not fitted", lambda: slices(UNFITTED, TARGETS), RuntimeError, "has not been fitted"),
    ("slices, no such row", lambda: slices(the_oracle(), TARGETS, row=4), ValueError, "from 0 to 3"),
    ("slices, one point", lambda: slices(the_oracle(), TARGETS, resolution=1), ValueError, "resolution"),
    ("one number", lambda: slices(oracle(linear(1, 1.0)), linear(1, 1.0).test), ValueError, "at least two numbers"),
    ("nowhere to go", lambda: slices(the_oracle(), 0.0 * TARGETS), ValueError, "take another row"),
    ("no such problem", lambda: run_diagnosis("nothing"), ValueError, "no problem 'nothing'"),
]


@pytest.mark.parametrize(("make", "error", "words"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_errors_are_told_in_the_users_words(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_the_command_prints_its_table_and_writes_its_pictures(tmp_path):
    report = run_diagnosis("linear", 0.1, tmp_path, quick=True, progress=False)
    assert [path.name for path in report.pictures] == ["landscape-linear.png", "landscape-linear-losses.png"]
    assert all(path.stat().st_size > 5_000 for path in report.pictures)
    for words in (
        "targets that arrive",
        "condition number in X",
        "evaluations of F spent",
        "Two panels",
        "drawn: validation",
    ):
        assert words in report.text


def test_f_is_looked_at_in_the_precision_that_it_was_fitted_in():
    in_half = []

    def forward_model(x):
        in_half.append(torch.is_autocast_enabled("cpu"))
        return x.cumsum(1)

    landscape = LearnedLandscape(forward_model, torch.zeros(3), precision=Autocast(torch.bfloat16))
    targets = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    inverter = LandscapeInverter(landscape, squares).fit(targets, num_rounds=2, progress=False)
    in_half.clear()
    slices(inverter, targets, resolution=5)
    diagnose(inverter, targets[:4], 3, num_starts=1)
    assert len(in_half) > 10
    assert all(in_half)


def test_a_diagnosis_of_a_fit_by_rounds_is_the_same_every_time(tmp_path, capsys):
    found = []
    for folder in ("a", "b"):
        out = tmp_path / folder / "linear.png"
        command = ["diagnose", "linear", "--rounds", "2", "--quick", "--silent", "--threads", "1", "--out", str(out)]
        assert main(command) == 0
        pictures = [path.read_bytes() for path in sorted(out.parent.iterdir())]
        found.append((capsys.readouterr().out.replace(str(out.parent), ""), pictures))
    assert found[0] == found[1]
    assert found[0][0].startswith("linear: x of 32 numbers; fitted for 2 rounds\n")
    with pytest.raises(SystemExit):
        main(["diagnose", "linear", "--rounds", "2", "--seconds", "3"])
    assert "not allowed with" in capsys.readouterr().err
