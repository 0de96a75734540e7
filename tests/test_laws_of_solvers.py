"""The laws of the design page for every solver: by itself, after the hand-over from a fitted landscape, and in company."""

from __future__ import annotations

import copy

import laws
import pytest
import strategies as given_by
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import FAILS_AT_START, FAILS_NEARBY, WAYS, case

from landscape_opt import LandscapeInverter, LearnedLandscape, Status

F32, F64 = torch.float32, torch.float64
each_way = pytest.mark.parametrize("way", WAYS)
kinds = st.sampled_from(("mlp", "conv", "linear"))  # the first is tried with every way, and a linear one is the easiest
few = settings(max_examples=max(2, settings().max_examples // 2))
scale_free = pytest.mark.parametrize("way", [name for name, way in WAYS.items() if way.is_scale_free])


def exactness(dtype):
    return 1e-12 if dtype == F64 else 1e-5


@each_way
@few
@given(kind=kinds, dtype=given_by.dtypes, seed=given_by.target_seeds)
def test_a_row_in_a_batch_is_that_row_alone(way, kind, dtype, seed):
    laws.rows_do_not_mix(lambda y: WAYS[way].invert(kind, dtype, y), case(kind, dtype).targets(3, seed))


@each_way
@few
@given(
    kind=kinds, dtype=given_by.dtypes, seed=given_by.target_seeds, bad=st.integers(0, 2),
    mark=st.sampled_from([FAILS_NEARBY, FAILS_AT_START]),
)  # fmt: skip
def test_a_row_that_is_not_finite_changes_no_other(way, kind, dtype, seed, bad, mark):
    well = case(kind, dtype).targets(3, seed)
    ill = well.clone()
    ill.flatten(1)[bad, 0] = mark
    laws.a_failing_row_changes_no_other(lambda y: WAYS[way].invert(kind, dtype, y), well, ill, bad)


@each_way
@few
@given(kind=kinds, dtype=given_by.dtypes, seed=given_by.target_seeds, order=st.permutations([2, 3, 1, 0]))
def test_permuting_the_rows_permutes_the_results(way, kind, dtype, seed, order):
    target = case(kind, dtype).targets(4, seed)
    laws.permuting_permutes(lambda y: WAYS[way].invert(kind, dtype, y), target, torch.tensor(order))


@scale_free
@few
@given(kind=kinds, seed=given_by.target_seeds)
def test_the_unit_of_the_loss_is_not_known(way, kind, seed):
    target = case(kind, F64).targets(4, seed)
    plain, scaled = (WAYS[way].ask(WAYS[way].inverter(kind, F64, factor), target) for factor in (1.0, 32.0))
    laws.unit_of_the_loss_is_not_known(plain, scaled, 1024.0, 1e-12)


@each_way
@given(
    kind=kinds, dtype=given_by.dtypes, seed=given_by.target_seeds, budget=st.integers(0, 14),
    rtol=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_what_comes_back_is_what_was_found_and_charged(way, kind, dtype, seed, budget, rtol):
    problem, target, asked = case(kind, dtype), case(kind, dtype).targets(4, seed), WAYS[way]
    inverter = asked.inverter(kind, dtype)
    with given_by.Counter().of(problem.forward_model) as counter:
        result = asked.ask(inverter, target, budget, rtol=rtol)
    recomputed = problem.loss_at(result.x, target)
    laws.loss_is_honest(result, recomputed, exactness(dtype))
    count = asked.num_hypotheses
    laws.evaluations_are_counted(result, counter.rows, count * budget, 4 * count, asked.has_jacobians)
    if rtol:
        laws.converged_rows_meet_tolerance(result, recomputed, rtol * result.history.loss[0])
    longest = budget if count > 1 else int(result.num_evaluations.max())
    # Where Jacobians are charged, rows run out of their budgets at different times, each with one reading.
    assert counter.calls <= longest + (4 * count if asked.has_jacobians else 1)
    if count == 1 and not asked.has_jacobians:
        assert (result.num_evaluations[result.status == Status.MAX_EVALUATIONS] == budget).all()


@each_way
@few
@given(kind=kinds, dtype=given_by.dtypes, seed=given_by.target_seeds)
def test_a_larger_budget_is_never_worse(way, kind, dtype, seed):
    target, asked = case(kind, dtype).targets(3, seed), WAYS[way]
    # Where rows end at different times, products of fewer rows round differently.
    rounding = (1e-12 if dtype == F64 else 1e-6) if asked.has_jacobians else 0.0
    longest = asked.max_evaluations
    laws.budgets_are_prefixes(
        lambda budget: asked.invert(kind, dtype, target, budget), longest,
        through=(1, longest // 2, longest - 1, longest), rounding=rounding, is_one_path=asked.num_hypotheses == 1,
    )  # fmt: skip


@each_way
def test_the_same_bits_again_and_nothing_is_touched(way):
    asked, problem = WAYS[way], case("mlp")
    fuse = given_by.Fuse(given_by.Noisy(copy.deepcopy(problem.forward_model))).train()
    model = asked.inverter("mlp", F32)
    mapping = model.landscape.mapping if asked.is_fitted else None
    inverter = LandscapeInverter(
        LearnedLandscape(fuse, problem.x_init, mapping), model.loss_fn, z_optimizer=model.z_optimizer, memory=model.memory
    )
    target = problem.targets(3, 5)
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = laws.snapshot(fuse, target)
        results.append(asked.ask(inverter, target))
        laws.assert_untouched(before, laws.snapshot(fuse, target))
    laws.assert_same_bits(*results)
    fuse.countdown[0] = 5
    with pytest.raises(ZeroDivisionError, match="burnt"):
        asked.ask(inverter, target)
    laws.assert_untouched(before, laws.snapshot(fuse, target))


class Points:
    """A forward hook that keeps where F was called with a gradient."""

    def __init__(self):
        self.x = []

    def __call__(self, module, args, output):
        if args[0].requires_grad:
            self.x.append(args[0].detach().clone())


@pytest.mark.parametrize("way", ["Levenberg-Marquardt, before any fit", "Levenberg-Marquardt, after the hand-over"])
@given(kind=kinds, dtype=given_by.dtypes, seed=given_by.target_seeds, budget=st.integers(12, 40))
def test_jacobians_are_charged(way, kind, dtype, seed, budget):
    problem, target = case(kind, dtype), case(kind, dtype).targets(1, seed)
    points = Points()
    handle = problem.forward_model.register_forward_hook(points)
    try:
        result = WAYS[way].invert(kind, dtype, target, budget)
    finally:
        handle.remove()
    cost = min(target.numel(), problem.x_init.numel())
    num_points = len(torch.cat(points.x).unique(dim=0))  # a Jacobian is of a point that was evaluated before
    num_jacobians = len(points.x) - num_points
    assert int(result.num_evaluations) == num_points + num_jacobians * cost <= budget
    assert num_jacobians > 0
