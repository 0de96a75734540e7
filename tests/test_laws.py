"""The laws of the design page, on three forward models, in float32 and float64, for every mapping and method."""

from __future__ import annotations

import random

import laws
import numpy as np
import pytest
import strategies as given_by
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, KINDS, MAPPINGS, METHODS, case, fitted, new_inverter, poisonable

from landscape_opt import LandscapeInverter, LearnedLandscape, Status
from landscape_opt.benchmark.linear import run_linear
from landscape_opt.descent import Limits, descend
from landscape_opt.guest import frozen
from landscape_opt.objective import Objective
from landscape_opt.problems import linear
from landscape_opt.solvers import Start, TorchOptim

each_mapping = pytest.mark.parametrize("mapping", MAPPINGS)
each_method = pytest.mark.parametrize("method", METHODS)


# --------------------------------------------------------------------------------------------------------------- law 1


@each_mapping
@each_method
@given(kind=given_by.kinds, dtype=given_by.dtypes, batch_size=given_by.batch_sizes, seed=given_by.target_seeds)
def test_a_row_in_a_batch_is_that_row_alone(mapping, method, kind, dtype, batch_size, seed):
    inverter = fitted(kind, dtype, mapping, method)
    target = case(kind, dtype).targets(batch_size, seed)
    laws.rows_do_not_mix(lambda batch: inverter.invert(batch, max_evaluations=7), target)


@each_mapping
@each_method
@given(
    kind=given_by.kinds,
    dtype=given_by.dtypes,
    batch_size=given_by.batch_sizes,
    seed=given_by.target_seeds,
    poison=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_a_row_that_is_not_finite_changes_no_other(mapping, method, kind, dtype, batch_size, seed, poison, data):
    inverter = poisonable(kind, dtype, mapping, method)
    bad = data.draw(st.integers(0, batch_size - 1), label="bad row")
    y = case(kind, dtype).targets(batch_size, seed)
    well = {"y": y, "poison": torch.zeros(batch_size, dtype=torch.long)}
    ill = {"y": y, "poison": torch.where(torch.arange(batch_size) == bad, poison, 0)}
    healthy, poisoned = inverter.invert(well, max_evaluations=7), inverter.invert(ill, max_evaluations=7)
    others = torch.tensor([row for row in range(batch_size) if row != bad])
    allowed = laws.sensitivity_to_rounding(
        lambda some: laws.picked(inverter.invert({**well, "y": some}, max_evaluations=7), others), y
    )
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    laws.assert_same_answer(laws.picked(poisoned, others), laws.picked(healthy, others), tolerance, allowed)
    assert torch.equal(poisoned.status[others], healthy.status[others])
    assert torch.equal(poisoned.num_evaluations[others], healthy.num_evaluations[others])
    assert not poisoned.success[bad]
    if poison == 1:
        assert poisoned.status[bad] == Status.NONFINITE_START


# --------------------------------------------------------------------------------------------------------------- law 2


@each_mapping
@each_method
@given(kind=given_by.kinds, dtype=given_by.dtypes, seed=given_by.target_seeds, order=st.permutations(range(6)))
def test_permuting_the_rows_permutes_the_results(mapping, method, kind, dtype, seed, order):
    inverter = fitted(kind, dtype, mapping, method)
    target = case(kind, dtype).targets(6, seed)
    laws.permuting_permutes(lambda batch: inverter.invert(batch, max_evaluations=7), target, torch.tensor(order))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=given_by.target_seeds, budget=st.integers(1, 8))
def test_a_thousandfold_loss_changes_nothing(kind, dtype, seed, budget):
    plain, scaled = (fitted(kind, dtype, "anchored", "default", 6, factor) for factor in (1.0, 1000.0))
    target = case(kind, dtype).targets(5, seed)
    one, other = plain.invert(target, budget), scaled.invert(target, budget)
    laws.assert_close(other.x, one.x, 1e-4, "x")
    laws.assert_close(other.loss / 1000.0, one.loss, 1e-4, "loss")


@pytest.mark.parametrize("kind", KINDS)
@given(seed=given_by.target_seeds, budget=st.integers(1, 20), power=st.sampled_from([-20, -3, 5, 20]))
def test_plain_inversion_does_not_know_the_unit_of_the_loss(kind, seed, budget, power):
    problem, target = case(kind, torch.float64), case(kind, torch.float64).targets(5, seed)
    landscape = LearnedLandscape(problem.forward_model, problem.x_init)
    scaled = LandscapeInverter(landscape, lambda p, t: 2.0**power * problem.loss_fn(p, t))
    one = LandscapeInverter(landscape, problem.loss_fn).invert(target, budget, allow_unfitted=True)
    other = scaled.invert(target, budget, allow_unfitted=True)
    laws.assert_close(other.x, one.x, 1e-12, "x")  # a power of two changes no digit


# --------------------------------------------------------------------------------------------------------------- law 3


@each_mapping
@given(
    kind=given_by.kinds,
    dtype=given_by.dtypes,
    factory=given_by.optimizers,
    seed=given_by.target_seeds,
    budget=st.integers(0, 15),
)
def test_an_unfitted_landscape_is_torch_optim(mapping, kind, dtype, factory, seed, budget):
    problem = case(kind, dtype)
    landscape = LearnedLandscape(problem.forward_model, problem.x_init, MAPPINGS[mapping]())
    inverter = LandscapeInverter(landscape, problem.loss_fn, z_optimizer=factory)
    target = problem.targets(3, seed)
    result = inverter.invert(target, budget, allow_unfitted=True)

    import copy

    F = copy.deepcopy(problem.forward_model).eval()
    start = problem.x_init.expand(3, -1)
    losses, best_x = laws.torch_descent(lambda x: problem.loss_fn(F(x), target), start, factory, budget)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert result.history.loss.shape == losses.shape
    scale = losses.abs().clamp_min(1.0)
    assert float(((result.history.loss - losses).abs() / scale).max()) <= tolerance
    # Where two points are equally good to rounding, either may be the best.
    if dtype == torch.float64:
        laws.assert_close(result.x, best_x, tolerance, "x")
    laws.assert_close(result.loss, losses.amin(0), tolerance, "loss")


@each_mapping
@given(kind=given_by.kinds, dtype=given_by.dtypes, factory=given_by.optimizers, seed=given_by.target_seeds)
def test_at_birth_descent_through_a_mapping_is_torch_optim(mapping, kind, dtype, factory, seed):
    problem, theta = case(kind, dtype), MAPPINGS[mapping]()
    landscape, target = LearnedLandscape(problem.forward_model, problem.x_init, theta), case(kind, dtype).targets(3, seed)
    with frozen(problem.forward_model) as F:
        landscape.build(F, target, seed=1)
        start = Start(landscape.layout.start(3), landscape.features(target))
        objective = Objective(F, problem.loss_fn, landscape.layout)
        descent = descend(objective, TorchOptim(theta, factory), start, target, Limits(9))
        losses, _ = laws.torch_descent(lambda x: problem.loss_fn(F(x), target), start.x, factory, 9)
    laws.assert_close(descent.history.loss, losses, 1e-12 if dtype == torch.float64 else 1e-6, "losses")


# --------------------------------------------------------------------------------------------------------------- law 4


@each_mapping
@each_method
@given(kind=given_by.kinds, dtype=given_by.dtypes, seed=given_by.target_seeds, budget=given_by.budgets)
def test_the_returned_loss_is_the_loss_at_the_returned_x(mapping, method, kind, dtype, seed, budget):
    problem, target = case(kind, dtype), case(kind, dtype).targets(5, seed)
    result = fitted(kind, dtype, mapping, method).invert(target, budget)
    laws.loss_is_honest(result, problem.loss_at(result.x, target), 1e-12 if dtype == torch.float64 else 1e-5)
    assert result.x.dtype == dtype


@each_mapping
@each_method
@given(kind=given_by.kinds, dtype=given_by.dtypes, seed=given_by.target_seeds)
def test_a_larger_budget_is_never_worse(mapping, method, kind, dtype, seed):
    inverter, target = fitted(kind, dtype, mapping, method), case(kind, dtype).targets(4, seed)
    laws.budgets_are_prefixes(lambda budget: inverter.invert(target, budget), 9)


# --------------------------------------------------------------------------------------------------------------- law 8


@each_mapping
@each_method
@given(kind=given_by.kinds, seed=given_by.target_seeds, budget=given_by.budgets, rtol=st.sampled_from([0.0, 0.3]))
def test_evaluations_are_counted_exactly(mapping, method, kind, seed, budget, rtol):
    inverter, target = fitted(kind, torch.float32, mapping, method), case(kind).targets(5, seed)
    counter = given_by.Counter()
    handle = inverter.landscape.forward_model.register_forward_hook(counter)
    try:
        result = inverter.invert(target, budget, rtol=rtol)
    finally:
        handle.remove()
    spent = result.num_evaluations
    assert (spent <= budget).all()
    assert counter.calls <= int(spent.max()) + 1
    going = int((result.status == Status.MAX_EVALUATIONS).sum())
    assert int(spent.sum()) <= counter.rows <= int(spent.sum()) + len(target)
    assert going == 0 or bool((spent[result.status == Status.MAX_EVALUATIONS] == budget).all())
    assert len(result.history.loss) <= budget + 1


# --------------------------------------------------------------------------------------------------------------- law 5


@pytest.mark.parametrize("guest", ["plain", "noisy", "no copy", "raises", "no copy raises"])
@pytest.mark.parametrize("kind", KINDS)
@each_method
def test_the_guest_is_left_as_it_was_found(guest, kind, method):
    import copy

    problem = case(kind)
    F = copy.deepcopy(problem.forward_model)
    for name, weight in F.named_parameters():
        weight.grad = torch.ones_like(weight) if "0" in name else None
    next(F.parameters()).requires_grad_(False)
    fuse = given_by.Fuse(F)
    F = {"noisy": given_by.Noisy, "no copy": given_by.NoCopy}.get(guest.removesuffix(" raises"), lambda inner: inner)(fuse)
    F.train()
    F.register_forward_hook(given_by.Counter())
    targets = problem.targets(64, 3)
    inverter = new_inverter(F, problem.x_init, method=method)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = laws.snapshot(F, targets)
    inverter.fit(targets, num_rounds=2, progress=False)
    inverter.invert(targets[:5], 6)
    laws.assert_untouched(before, laws.snapshot(F, targets))
    if guest.endswith("raises"):
        for verb in (lambda: inverter.fit(targets, num_rounds=1, progress=False), lambda: inverter.invert(targets[:5], 6)):
            fuse.countdown[0] = 3
            with pytest.raises(ZeroDivisionError, match="burnt"):
                verb()
            laws.assert_untouched(before, laws.snapshot(F, targets))


@pytest.mark.parametrize("wrapping", given_by.WRAPPINGS)
@pytest.mark.parametrize("raises", [False, True])
def test_a_module_behind_a_function_is_left_as_it_was_found(wrapping, raises):
    import copy

    problem = case("mlp")
    fuse = given_by.Fuse(copy.deepcopy(problem.forward_model)).train()
    F, targets = given_by.WRAPPINGS[wrapping](fuse), problem.targets(64, 3)
    inverter = new_inverter(F, problem.x_init)
    before = laws.snapshot(fuse, targets)
    inverter.fit(targets, num_rounds=2, progress=False)
    result = inverter.invert(targets[:5], 6)
    laws.assert_untouched(before, laws.snapshot(fuse, targets))
    laws.assert_close(result.loss, problem.loss_at(result.x, targets[:5]), 1e-5, "loss in eval mode")
    if raises:
        fuse.countdown[0] = 3
        with pytest.raises(ZeroDivisionError, match="burnt"):
            inverter.invert(targets[:5], 6)
        laws.assert_untouched(before, laws.snapshot(fuse, targets))


module_in_globals = given_by.mlp_model(torch.float32)


def test_a_module_in_the_globals_of_a_function_is_left_as_it_was_found():
    problem = case("mlp")
    targets = problem.targets(64, 3)
    before = laws.snapshot(module_in_globals, targets)
    inverter = new_inverter(lambda x: module_in_globals(x), problem.x_init).fit(targets, num_rounds=2, progress=False)
    inverter.invert(targets[:5], 6)
    laws.assert_untouched(before, laws.snapshot(module_in_globals, targets))


def test_a_loss_with_layers_of_its_own_is_left_as_it_was_found():
    problem = case("linear")
    seen = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.BatchNorm1d(5), torch.nn.Dropout(0.5)).train()

    def perceptual(prediction, target):
        return given_by.squares(seen(prediction), seen(target))

    targets = problem.targets(64, 3)
    before = laws.snapshot(seen, targets)
    inverter = new_inverter(problem.forward_model, problem.x_init, perceptual).fit(targets, num_rounds=2, progress=False)
    inverter.invert(targets[:5], 6)
    laws.assert_untouched(before, laws.snapshot(seen, targets))


def test_a_data_loader_leaves_the_global_random_state():
    problem = case("linear")
    loader = torch.utils.data.DataLoader(problem.targets(64, 3), batch_size=32)
    before = laws.snapshot(problem.forward_model, torch.zeros(1))
    new_inverter(problem.forward_model, problem.x_init).fit(loader, num_rounds=3, progress=False)
    laws.assert_untouched(before, laws.snapshot(problem.forward_model, torch.zeros(1)))


# --------------------------------------------------------------------------------------------------------------- law 6


@each_mapping
@each_method
def test_the_same_seed_gives_the_same_bits(mapping, method):
    problem = case("mlp")
    target = problem.targets(5, 9)
    runs = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        inverter = new_inverter(given_by.Noisy(problem.forward_model), problem.x_init, mapping=mapping, method=method)
        runs.append(inverter.fit(problem.targets(64, 3), num_rounds=3, progress=False))
    laws.assert_same_weights(*runs)
    one, other = (run.invert(target, 6) for run in runs)
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.history.loss, other.history.loss)
    different = new_inverter(given_by.Noisy(problem.forward_model), problem.x_init, mapping=mapping, method=method, seed=1)
    with pytest.raises(AssertionError, match="differs"):
        laws.assert_same_weights(runs[0], different.fit(problem.targets(64, 3), num_rounds=3, progress=False))


RESUME = """
import functools, sys, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from strategies import case, squares
from landscape_opt import LandscapeInverter
settings = {"z_optimizer": functools.partial(torch.optim.Adam, lr=0.1)} if sys.argv[4] == "published" else {}
inverter = LandscapeInverter.load(sys.argv[2], case("mlp").forward_model, squares, **settings)
inverter.fit(case("mlp").targets(128, 11), num_rounds=3, progress=False)
torch.save(inverter.landscape.state_dict(), sys.argv[3])
"""


@each_mapping
@each_method
def test_fits_compose_through_a_file_and_a_new_process(mapping, method, tmp_path):
    import pathlib
    import subprocess
    import sys

    problem = case("mlp")
    whole, half = (new_inverter(problem.forward_model, problem.x_init, mapping=mapping, method=method) for _ in range(2))
    whole.fit(problem.targets(128, 11), num_rounds=5, progress=False)
    half.fit(problem.targets(128, 11), num_rounds=2, progress=False).save(tmp_path / "half")
    command = [sys.executable, "-c", RESUME, str(pathlib.Path(__file__).parent), str(tmp_path / "half")]
    command += [str(tmp_path / "out"), method]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resumed = torch.load(tmp_path / "out", weights_only=True)
    for name, value in whole.landscape.state_dict().items():
        assert torch.equal(value, resumed[name]), f"θ differs in {name}"


# --------------------------------------------------------------------------------------------------------------- law 7


@pytest.mark.slow
def test_the_linear_problem_is_solved_as_its_best_landscape_would():
    report = run_linear(linear(dim=8, condition=100.0), num_rounds=60, max_steps=1000, progress=False)
    assert report.relative_to_plain[1] < 1e-4  # after one evaluation
    assert report.relative_loss[2] < 1e-2  # after two, and over the landscape's own start
    assert report.landscape_steps <= report.plain_steps / 10


# --------------------------------------------------------------------------------------------------------------- law 9


@given(
    kind=given_by.kinds, seed=given_by.target_seeds, atol=st.sampled_from([0.0, 1e-3]), rtol=st.sampled_from([0.0, 0.5]),
    target_loss=st.sampled_from([None, 0.05]),
)  # fmt: skip
def test_converged_rows_meet_their_tolerance(kind, seed, atol, rtol, target_loss):
    problem, target = case(kind, torch.float64), case(kind, torch.float64).targets(6, seed)
    inverter = fitted(kind, torch.float64, "residual", "default")
    result = inverter.invert(target, 6, atol=atol, rtol=rtol, target_loss=target_loss)
    tolerance = atol + rtol * result.history.loss[0]
    if target_loss is not None:
        tolerance = tolerance.clamp_min(target_loss)
    if atol or rtol or target_loss:
        laws.converged_rows_meet_tolerance(result, problem.loss_at(result.x, target), tolerance)
    else:
        assert not result.success.any()
