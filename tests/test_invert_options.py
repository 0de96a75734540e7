"""What an inversion may be asked for beside its targets: masks, further terms, bounds, other starts, patience, pieces."""

from __future__ import annotations

from functools import cache, partial

import laws
import numpy as np
import pytest
import scipy.optimize
import strategies as given_by
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import case, fitted, new_inverter, squares

from landscape_opt import LandscapeInverter, LearnedLandscape, Memory, PerTarget, Stage, Status

F64 = torch.float64


@cache
def matrix():
    return torch.randn(7, 4, generator=given_by.seeded(21), dtype=F64)


def least_squares(x_init=None):
    x_init = torch.zeros(4, dtype=F64) if x_init is None else x_init
    return LandscapeInverter(LearnedLandscape(lambda x: x @ matrix().T, x_init), squares)


def targets(count=5, seed=22):
    return torch.randn(count, 7, generator=given_by.seeded(seed), dtype=F64)


def solved(target, budget=60, **options):
    return least_squares().invert(target, budget, allow_unfitted=True, **options)


# ----------------------------------------------------------------------------------------------------- terms of each target


@given(seed=given_by.target_seeds, at_a_time=st.sampled_from([None, 2]))
def test_a_term_that_is_told_of_each_target_pulls_each_to_its_own_point(seed, at_a_time):
    y, strength = targets(seed=seed), 0.7
    points = torch.randn(5, 4, generator=given_by.seeded(seed + 1), dtype=F64)
    pull = PerTarget(lambda x, prediction, told: 0.5 * strength * (x - told["point"]).square().sum(1), {"point": points})
    result = solved(y, extra_terms=[pull], max_batch_size=at_a_time)
    normal = matrix().T @ matrix() + strength * torch.eye(4, dtype=F64)
    expected = torch.linalg.solve(normal, (y @ matrix() + strength * points).T).T
    torch.testing.assert_close(result.x, expected, atol=1e-5, rtol=1e-5)
    gradient_of = points.requires_grad_(True)
    answer = solved(y, extra_terms=[pull], differentiable="implicit").x
    (slope,) = torch.autograd.grad(answer.sum(), gradient_of)
    torch.testing.assert_close(
        slope, strength * torch.linalg.solve(normal, torch.ones(4, 5, dtype=F64)).T, atol=1e-6, rtol=1e-6
    )


def test_what_a_term_is_told_must_fit_the_targets():
    with pytest.raises(ValueError, match="told of 3 targets, there are 5"):
        solved(targets(), extra_terms=[PerTarget(lambda x, prediction, told: x.sum(1), torch.zeros(3, 2))])
    with pytest.raises(TypeError, match="term must be a function"):
        PerTarget("near", torch.zeros(5))
    with pytest.raises(TypeError, match="expected a Tensor"):
        PerTarget(lambda x, prediction, told: x.sum(1), "points")


# ------------------------------------------------------------------------------------------------------------------ mask


@given(seed=given_by.target_seeds)
def test_a_mask_solves_the_observed_equations(seed):
    y, mask = targets(seed=seed), torch.rand(5, 7, generator=given_by.seeded(seed)) < 0.8
    result = solved(y, observed=mask)
    for row in range(5):
        expected = torch.linalg.lstsq(matrix()[mask[row]], y[row][mask[row]][:, None]).solution[:, 0]
        if int(mask[row].sum()) >= 4:
            assert torch.allclose(result.prediction[row][mask[row]], matrix()[mask[row]] @ expected, atol=1e-4)


@pytest.mark.parametrize("mapping", given_by.MAPPINGS)
@given(kind=given_by.kinds, seed=given_by.target_seeds, hidden=st.sampled_from([torch.nan, torch.inf, 1e6]))
def test_what_stands_where_nothing_was_observed_changes_no_bit(mapping, kind, seed, hidden):
    inverter, y = fitted(kind, torch.float32, mapping, "default"), case(kind).targets(4, seed)
    mask = torch.rand(y.shape, generator=given_by.seeded(seed)) < 0.6
    before = y.clone()
    one = inverter.invert(y, 8, observed=mask)
    other = inverter.invert(torch.where(mask, y, hidden), 8, observed=mask)
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.loss, other.loss)
    assert torch.equal(y, before)
    everything = inverter.invert(y, 8, observed=torch.ones_like(y), restarts=False)
    laws.assert_close(everything.loss, inverter.invert(y, 8, restarts=False).loss, 1e-4, "loss with all observed")


def test_weights_weigh_squared_errors():
    y, weights = targets(), torch.rand(5, 7, generator=given_by.seeded(3), dtype=F64)
    result = solved(y, 80, observed=weights)
    for row in range(5):
        root = weights[row].sqrt()
        expected = torch.linalg.lstsq(root[:, None] * matrix(), (root * y[row])[:, None]).solution[:, 0]
        assert torch.allclose(result.x[row], expected, atol=1e-5)


def test_masks_of_parts_and_without_last_dimensions():
    def forward(x):
        return {"points": x.reshape(-1, 2, 2), "sum": x.sum(1)}

    def loss_fn(prediction, target):
        return squares(prediction["points"], target["points"]) + squares(prediction["sum"][:, None], target["sum"][:, None])

    y = {"points": torch.arange(12.0).reshape(3, 2, 2), "sum": torch.full((3,), torch.nan)}
    mask = {"points": torch.tensor([[True, True], [True, False], [False, True]]), "sum": torch.zeros(3, dtype=torch.bool)}
    inverter = LandscapeInverter(LearnedLandscape(forward, torch.ones(4)), loss_fn)
    result = inverter.invert(y, 30, observed=mask, allow_unfitted=True)
    assert torch.allclose(result.x.reshape(3, 2, 2)[mask["points"]], y["points"][mask["points"]], atol=1e-4)
    assert torch.allclose(result.x[1, 2:], torch.ones(2))  # nothing observed: left at the start


# -------------------------------------------------------------------------------------------------- further terms, bounds


@given(seed=given_by.target_seeds, strength=st.sampled_from([0.1, 1.0, 10.0]))
def test_a_further_term_has_the_closed_form_of_ridge_regression(seed, strength):
    y = targets(seed=seed)
    result = solved(y, extra_terms=[lambda x, prediction: 0.5 * strength * x.square().sum(1)])
    expected = torch.linalg.solve(matrix().T @ matrix() + strength * torch.eye(4, dtype=F64), matrix().T @ y.T).T
    assert torch.allclose(result.x, expected, atol=1e-5)


@given(seed=given_by.target_seeds, width=st.sampled_from([0.05, 0.3, 2.0]))
def test_bounds_give_what_scipy_gives(seed, width):
    y = targets(seed=seed)
    lower, upper = torch.tensor([-width, -1.0, -width, 0.0], dtype=F64), torch.tensor([width, 1.0, 0.5, width], dtype=F64)
    result = solved(y, 100, bounds=(lower, upper))
    assert (result.x >= lower).all()
    assert (result.x <= upper).all()
    for row in range(5):
        oracle = scipy.optimize.lsq_linear(matrix().numpy(), y[row].numpy(), (lower.numpy(), upper.numpy()), tol=1e-12)
        assert float(result.loss[row]) <= oracle.cost * (1 + 1e-6) + 1e-9


def test_a_number_bounds_x_in_the_precision_of_x():
    result = solved(targets(), bounds=(-0.1, 0.3))
    assert (result.x >= -0.1).all()
    assert (result.x <= 0.3).all()
    assert bool(((result.x == -0.1) | (result.x == 0.3)).any())


@pytest.mark.parametrize("mapping", given_by.MAPPINGS)
@pytest.mark.parametrize("method", given_by.METHODS)
def test_every_point_evaluated_lies_within_the_bounds(mapping, method):
    inverter = fitted("mlp", torch.float32, mapping, method)
    seen = []
    handle = inverter.landscape.forward_model.register_forward_hook(
        lambda module, args, output: seen.append(args[0].detach())
    )
    try:
        result = inverter.invert(case("mlp").targets(4, 5), 8, bounds=(-0.1, 0.2))
    finally:
        handle.remove()
    assert all(float(x.min()) >= -0.1 - 1e-6 and float(x.max()) <= 0.2 + 1e-6 for x in seen)
    laws.loss_is_honest(result, case("mlp").loss_at(result.x, case("mlp").targets(4, 5)), 1e-5)


# ----------------------------------------------------------------------------------------------------------- other starts


@pytest.mark.parametrize("mapping", given_by.MAPPINGS)
def test_a_warm_start_is_where_the_descent_begins(mapping):
    inverter, y = fitted("mlp", F64, mapping, "default"), case("mlp", F64).targets(4, 5)
    x = 0.3 * torch.randn(4, 4, generator=given_by.seeded(6), dtype=F64)
    for warm_start in (x, lambda target: x):
        result = inverter.invert(y, 10, warm_start=warm_start)
        assert torch.allclose(result.history.loss[0], case("mlp", F64).loss_at(x, y))
        assert (result.loss < result.history.loss[0]).all()
    going_on = inverter.invert(y, 0, warm_start=result)
    assert torch.equal(going_on.loss, result.loss)


def test_patience_ends_rows_that_gain_nothing():
    landscape = LearnedLandscape(lambda x: x, torch.ones(2))
    y = torch.tensor([[3.0, 1.5], [30.0, -70.0]])
    for rate, status in ((1e-6, Status.STALLED), (0.1, Status.MAX_EVALUATIONS)):
        inverter = LandscapeInverter(landscape, squares, z_optimizer=partial(torch.optim.SGD, lr=rate))
        result = inverter.invert(y, 20, patience=5, allow_unfitted=True)
        assert result.statuses() == [status] * 2
        assert (result.num_evaluations == (6 if status is Status.STALLED else 20)).all()


# ---------------------------------------------------------------------------------------------------------------- memory


def test_a_memory_keeps_the_newest_and_stays_within_its_bounds():
    memory = Memory(capacity=5)
    for start in range(0, 12, 4):
        x = torch.arange(start, start + 4.0)[:, None]
        memory.add(x, {"image": x.repeat(1, 3), "label": (10 * x[:, 0]).long()})
    assert sorted(memory.x[:, 0].tolist()) == [7.0, 8.0, 9.0, 10.0, 11.0]
    found = memory.nearest({"image": torch.tensor([[8.2] * 3])}, lambda x, p, y: squares(p["image"], y["image"]))
    assert found.x[0, 0] == 8.0
    assert float(found.loss[0, 0]) == pytest.approx(0.5 * 3 * 0.04, rel=1e-4)
    assert found.x[0, 1] == 11.0  # the farthest from it
    small = Memory(max_bytes=64)
    small.add(torch.zeros(100, 2), torch.zeros(100, 6))
    assert len(small) == 2
    small.add(torch.full((3, 2), torch.nan), torch.zeros(3, 6))
    assert len(small) == 2


def many_wells(x):
    """Local minima at every whole number, x = 0 the lowest."""
    return torch.cat([0.1 * x, torch.sin(np.pi * x)], dim=1)


@cache
def lost_in_wells():
    inverter = new_inverter(many_wells, torch.tensor([2.2]))
    y = many_wells(0.2 * torch.randn(64, 1, generator=given_by.seeded(5)) + 2.0)
    inverter.fit(y, num_rounds=4, progress=False)
    inverter.memory = Memory()
    stored = torch.arange(-6.0, 6.0)[:, None]
    inverter.memory.add(stored, many_wells(stored))
    return inverter


def test_rows_that_are_stuck_start_again_from_the_memory():
    y = many_wells(torch.tensor([[-4.0], [3.0], [-2.02]]))
    stuck = lost_in_wells().invert(y, 40, restarts=False)
    freed = lost_in_wells().invert(y, 40)
    assert (freed.loss < 1e-6).all()
    assert (stuck.loss > 1e-2).any()
    assert (freed.num_evaluations <= 40).all()


@given(seed=given_by.target_seeds)
def test_restarts_keep_the_laws(seed):
    y = many_wells(6.0 * torch.randn(5, 1, generator=given_by.seeded(seed), dtype=torch.float32))
    laws.rows_do_not_mix(lambda batch: lost_in_wells().invert(batch, 30), y)
    laws.budgets_are_prefixes(lambda budget: lost_in_wells().invert(y, budget), 20)


num_rows = []


def given_wells(x, shift):
    num_rows.append(len(x))
    return many_wells(x - shift)


def test_where_f_is_given_more_than_x_points_of_the_memory_are_tried_and_charged():
    landscape = LearnedLandscape(given_wells, torch.tensor([2.2]), given=lambda target: target["shift"])
    inverter = LandscapeInverter(landscape, lambda prediction, target: squares(prediction, target["y"]))
    spread = 0.2 * torch.randn(64, 1, generator=given_by.seeded(5)) + 2.0
    shift = torch.zeros(64, 1)
    inverter.fit({"y": many_wells(spread), "shift": shift}, num_rounds=4, progress=False)
    assert len(inverter.memory) > 0
    inverter.memory = Memory()
    stored = torch.arange(-5.0, 3.0)[:, None]  # as many as are tried
    inverter.memory.add(stored, torch.full_like(stored, 1e6))  # predictions of other targets: nobody looks at them
    target = {"y": many_wells(torch.tensor([[-4.0], [2.0], [-2.02]])), "shift": torch.tensor([[0.0], [0.5], [-0.5]])}
    stuck, freed = inverter.invert(target, 60, restarts=False), inverter.invert(target, 60)
    assert (stuck.loss > 1e-2).any()
    assert (freed.loss < 1e-6).all()
    num_rows.clear()
    counted = inverter.invert(target, 60)
    assert sum(num_rows) <= int(counted.num_evaluations.sum()) + 3
    laws.budgets_are_prefixes(lambda budget: inverter.invert(target, budget), 30)


def test_points_of_ones_own_are_remembered_in_the_format_of_x_init():
    landscape = LearnedLandscape(lambda x: x["a"].flatten(1) * x["b"], {"a": torch.zeros(2, 2), "b": torch.ones(1)})
    inverter = LandscapeInverter(landscape, squares)
    inverter.remember({"a": torch.arange(12.0).reshape(3, 2, 2), "b": torch.full((3, 1), 2.0)})
    found = inverter.memory.nearest(torch.tensor([[8.0, 10.0, 12.0, 14.0]]), lambda x, p, y: squares(p, y))
    assert found.x[0, 0].tolist() == [4.0, 5.0, 6.0, 7.0, 2.0]
    assert float(found.loss[0, 0]) == 0.0
    with pytest.raises(ValueError, match="add results of invert"):
        LandscapeInverter(LearnedLandscape(given_wells, torch.zeros(1), given=lambda y: y), squares).remember(
            torch.zeros(1, 1)
        )


def test_the_memory_is_filled_by_fitting_and_saved(tmp_path):
    inverter = fitted("mlp", torch.float32, "anchored", "default")
    assert len(inverter.memory) > 100
    recomputed = inverter.memory.nearest(case("mlp").targets(3, 5), lambda x, p, y: squares(p, y))
    told = case("mlp").loss_at(recomputed.x[:, 0], case("mlp").targets(3, 5))
    laws.assert_close(recomputed.loss[:, 0], told, 1e-5, "loss of the stored prediction")
    inverter.save(tmp_path / "file")
    loaded = LandscapeInverter.load(tmp_path / "file", case("mlp").forward_model, squares)
    assert torch.equal(loaded.memory.x, inverter.memory.x)
    assert torch.equal(loaded.invert(case("mlp").targets(3, 5), 12).x, inverter.invert(case("mlp").targets(3, 5), 12).x)


# ---------------------------------------------------------------------------------------------------------------- stages


def test_a_stage_is_an_inversion_of_its_own_and_the_next_begins_at_its_answer():
    weights = torch.rand(5, 7, generator=given_by.seeded(3), dtype=F64)
    ridge = lambda x, prediction: x.square().sum(1)  # noqa: E731  # one and the same in both
    staged = solved(targets(), 30, stages=[Stage(4, observed=weights), Stage(6, extra_terms=[ridge])])
    first = solved(targets(), 4, observed=weights)
    second = solved(targets(), 6, extra_terms=[ridge], warm_start=first)
    last = solved(targets(), 20, warm_start=second)
    for name in ("x", "loss", "status"):
        assert torch.equal(getattr(staged, name), getattr(last, name)), name
    total = first.num_evaluations + second.num_evaluations + last.num_evaluations
    assert torch.equal(staged.num_evaluations, total)
    assert (total <= 30).all()


def test_tolerances_are_those_of_the_last_stage():
    ridge = lambda x, prediction: 100.0 * x.square().sum(1)  # noqa: E731
    staged = solved(targets(), 60, stages=[Stage(10, extra_terms=[ridge])], rtol=0.9)
    assert (staged.status == Status.CONVERGED).all()
    assert (staged.num_evaluations > 10).all()


@pytest.mark.parametrize(("stages", "message"), [([Stage(20)], "leave none"), ([Stage(30), Stage(1)], "leave none")])
def test_stages_that_leave_nothing_are_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        solved(targets(), 20, stages=stages)
    with pytest.raises(ValueError, match="at least 1 evaluation"):
        Stage(0)


ERRORS = [
    ("mask shape", {"observed": torch.ones(5, 6)}, ValueError, r"observed has shape \(5, 6\), the target \(5, 7\)"),
    ("mask parts", {"observed": (torch.ones(5, 7), torch.ones(5, 7))}, ValueError, "2 parts, the target 1"),
    ("negative weight", {"observed": -torch.ones(5, 7)}, ValueError, "negative or not finite"),
    ("term", {"extra_terms": ["smooth"]}, TypeError, "extra_terms must be functions"),
    ("term of one number", {"extra_terms": [lambda x, p: x.sum()]}, ValueError, "an extra term must return one loss per"),
    ("one bound", {"bounds": 3.0}, ValueError, r"pair \(lower, upper\)"),
    ("crossed bounds", {"bounds": (1.0, -1.0)}, ValueError, "lower bound is above"),
    ("warm rows", {"warm_start": torch.zeros(3, 4)}, ValueError, "3 rows for 5 targets"),
    ("warm shape", {"warm_start": torch.zeros(5, 3)}, ValueError, "warm_start has rows of shape"),
    ("warm NaN", {"warm_start": torch.full((5, 4), torch.nan)}, ValueError, "warm_start holds NaN"),
    ("patience", {"patience": 0}, ValueError, "patience must be at least 1, got 0"),
    ("pieces", {"max_batch_size": 0}, ValueError, "max_batch_size must be at least 1, got 0"),
]


@pytest.mark.parametrize(("options", "error", "message"), [pytest.param(*row[1:], id=row[0]) for row in ERRORS])
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        solved(targets(), 3, **options)


def test_hidden_targets_without_a_mask_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 5 rows: 2"):
        solved(torch.where(torch.arange(5)[:, None] == 2, torch.nan, targets()))
    with pytest.raises(ValueError, match="capacity"):
        Memory(capacity=-1)
