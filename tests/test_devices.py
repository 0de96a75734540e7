"""What users call, with F, x and θ on a device: the first GPU where there is one, one that is pretended, and the CPU."""

from __future__ import annotations

import copy
import random
from functools import cache, partial

import laws
import numpy as np
import pytest
import strategies as given_by
import torch
from pretended import THERE, pretended
from strategies import METHODS, WAYS, Case, new_inverter
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from landscape_opt import LandscapeInverter, LandscapeOptimizer, LearnedLandscape, Stage, batches
from landscape_opt.compiled_steps import compile_steps
from landscape_opt.diagnostics import diagnose
from landscape_opt.fitting import Validation
from landscape_opt.precision import Autocast
from landscape_opt.replay import Streaming
from landscape_opt.solvers import LevenbergMarquardt

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
DEVICES = [CPU, *([CUDA] if torch.cuda.is_available() else [])]
on_each_device = pytest.mark.parametrize(
    "device", [pytest.param(one, id=one.type, marks=() if one == CUDA else pytest.mark.slow) for one in DEVICES]
)
each_method = pytest.mark.parametrize("method", METHODS)


@cache
def problem_on(device: torch.device, dtype: torch.dtype = torch.float64) -> Case:
    return given_by.case("mlp", dtype).on(device)


@cache
def fitted_on(device: torch.device, method: str = "default", dtype: torch.dtype = torch.float64) -> LandscapeInverter:
    """Fitted to targets that lie there already."""
    problem = problem_on(device, dtype)
    inverter = new_inverter(problem.forward_model, problem.x_init, method=method)
    return inverter.fit(problem.targets(128, 11), num_rounds=6, progress=False)


def random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state(), torch.tensor(np.random.get_state()[1].astype(np.int64))]  # noqa: NPY002
    states += [torch.tensor(random.getstate()[1], dtype=torch.int64)]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def lies_on(batch: object, device: torch.device) -> bool:
    return {leaf.device for leaf in batches.leaves(batch)} == {device}


@cache
def small_fit_there() -> tuple[LandscapeInverter, Case]:
    problem = problem_on(THERE)
    landscape = LearnedLandscape(problem.forward_model, problem.x_init, given_by.MAPPINGS["anchored"]())
    replay = Streaming(num_rows=8, horizon=2, updates_per_round=4)
    inverter = LandscapeInverter(landscape, given_by.residuals(1.0), replay=replay, batch_size=8, seed=0)
    return inverter.fit(problem.targets(16, 11), num_rounds=2, progress=False), problem  # one of starts, one of steps


def test_no_part_of_the_default_is_left_on_the_cpu():
    with pretended():
        inverter, problem = small_fit_there()
        target = problem.targets(2, 3)
        result = inverter.invert(target, 9)
        assert lies_on((result.x, result.loss, result.history.loss), THERE)
        laws.loss_is_honest(result, problem.loss_at(result.x, target), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        {"solver": LevenbergMarquardt()},
        {"num_hypotheses": 2},
        {"bounds": (-0.5, 0.5)},
        {"max_batch_size": 1},
        {"differentiable": "implicit"},
        {"differentiable": "unrolled", "refine": False, "restarts": False},
    ],
    ids=["Levenberg-Marquardt", "hypotheses", "bounds", "pieces", "implicit", "unrolled"],
)
def test_no_part_of_what_is_asked_for_is_left_on_the_cpu(asked):
    with pretended():
        inverter, problem = small_fit_there()
        inverter.remember(problem.x_init.expand(2, -1))
        target = problem.targets(2, 3).requires_grad_("differentiable" in asked)
        result = inverter.invert(target, 9, **asked)
        assert lies_on((result.x, result.loss), THERE)
        if "differentiable" in asked:
            result.x.sum().backward()
            assert lies_on(target.grad, THERE)


def test_devices_that_meet_are_refused():
    with pretended() as there, pytest.raises(RuntimeError, match="two devices"):
        torch.zeros(3)[torch.ones(3, device=there) > 0]
    with pretended() as there, pytest.raises(RuntimeError, match="two devices"):
        torch.zeros(3) + torch.ones(3, device=there)


@on_each_device
@each_method
def test_a_fit_is_the_same_bits_again_and_leaves_everything_as_it_was(device, method):
    problem, states = problem_on(device), random_states(device)
    before = laws.snapshot(problem.forward_model, problem.targets(8, 3))
    twice = [
        new_inverter(problem.forward_model, problem.x_init, method=method).fit(
            problem.targets(128, 11), num_rounds=4, progress=False
        )
        for _ in range(2)
    ]
    laws.assert_same_weights(*twice)
    assert {weight.device for weight in twice[0].landscape.parameters()} == {device}
    target = problem.targets(8, 3)
    laws.assert_same_bits(twice[0].invert(target, 9), twice[1].invert(target, 9))
    laws.assert_untouched(before, laws.snapshot(problem.forward_model, target))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(states, random_states(device), strict=True))


@on_each_device
@pytest.mark.parametrize("name", WAYS)
def test_every_way_keeps_its_laws(device, name):
    way, problem, done = WAYS[name], problem_on(device), None
    if way.is_fitted:
        done = fitted_on(device) if way.mapping == "anchored" else _of_mapping(device, way.mapping)
    landscape = LearnedLandscape(problem.forward_model, problem.x_init) if done is None else done.landscape
    optimizer = None if way.z_optimizer is None else given_by.OPTIMIZERS[way.z_optimizer]
    memory = None if done is None else done.memory
    inverter = LandscapeInverter(landscape, given_by.residuals(1.0), z_optimizer=optimizer, memory=memory)
    target = problem.targets(5, 3)
    result = way.ask(inverter, target)
    assert lies_on((result.x, result.z, result.prediction, result.loss, result.status, result.history.loss), device)
    recomputed = problem.loss_at(result.x, target)
    if result.hypotheses is None:
        laws.loss_is_honest(result, recomputed, 1e-9)
    assert (result.num_evaluations <= way.num_hypotheses * way.max_evaluations).all()
    alone = way.ask(inverter, target[:1])
    laws.assert_same_to_rounding(
        laws.picked(result, torch.tensor([0])), alone, 1e-6, lambda some: way.ask(inverter, some), target[:1]
    )


@cache
def _of_mapping(device: torch.device, mapping: str) -> LandscapeInverter:
    problem = problem_on(device)
    inverter = new_inverter(problem.forward_model, problem.x_init, mapping=mapping)
    return inverter.fit(problem.targets(128, 11), num_rounds=4, progress=False)


@on_each_device
@pytest.mark.parametrize("form", ["tensor", "dataset", "loader", "pinned", "list"])
def test_targets_on_the_host_are_brought_to_the_device(device, form):
    if form == "pinned" and device.type != "cuda":
        pytest.skip("memory is pinned for a GPU")
    there, here = problem_on(device), problem_on(CPU)
    rows = here.targets(128, 11)
    made = {
        "tensor": lambda: rows,
        "dataset": lambda: _Rows(rows),
        "loader": lambda: DataLoader(_Rows(rows), batch_size=32),
        "pinned": lambda: DataLoader(_Rows(rows), batch_size=32, pin_memory=True),
        "list": lambda: list(rows.split(32)),
    }[form]()
    inverter = new_inverter(there.forward_model, there.x_init).fit(made, num_rounds=5, progress=False)
    target = there.targets(16, 3)
    assert (inverter.invert(target, 12).loss < problem_on(device).loss_at(there.x_init.expand(16, -1), target)).all()


class _Rows(TensorDataset):
    def __getitem__(self, index):
        return super().__getitem__(index)[0]


@on_each_device
def test_what_may_be_asked_for(device):
    inverter, problem = fitted_on(device), problem_on(device)
    target = problem.targets(6, 3)
    seen = torch.ones_like(target, dtype=torch.bool)
    seen[:, ::3] = False

    def near(x, prediction):
        return 1e-3 * x.square().sum(1)

    options = {
        "mask": {"observed": seen},
        "weights": {"observed": torch.rand(target.shape, generator=given_by.seeded(0)).to(target)},
        "bounds": {"bounds": (-0.5, 0.5)},
        "tensor bounds": {"bounds": (problem.x_init - 0.5, problem.x_init + 0.5)},
        "terms": {"extra_terms": [near]},
        "pieces": {"max_batch_size": 4},
        "patience": {"patience": 3},
        "tolerances": {"atol": 1e-6, "rtol": 1e-3, "target_loss": 1e-5},
        "warm": {"warm_start": inverter.invert(target, 3)},
        "hypotheses": {"num_hypotheses": 4},
        "stages": {"stages": [Stage(4, observed=seen)]},
        "unrolled": {"differentiable": "unrolled", "refine": False, "restarts": False},
        "implicit": {"differentiable": "implicit"},
    }
    for what, asked in options.items():
        result = inverter.invert(target, 12, **asked)
        assert lies_on((result.x, result.loss, result.prediction), device), what
        assert result.loss.isfinite().all(), what


@on_each_device
def test_gradients_of_answers(device):
    inverter, problem = fitted_on(device), problem_on(device)
    for mode in ("implicit", "unrolled"):
        target = problem.targets(3, 3).requires_grad_()
        steps = {} if mode == "implicit" else {"refine": False, "restarts": False}
        inverter.invert(target, 12, differentiable=mode, **steps).x.sum().backward()
        assert target.grad.device == device
        assert target.grad.isfinite().all()


@on_each_device
@each_method
def test_what_is_saved_on_a_device_is_loaded_there_and_elsewhere(device, method, tmp_path):
    inverter, problem = fitted_on(device, method), problem_on(device)
    inverter.save(tmp_path / "fit")
    for home in DEVICES:
        where = problem_on(home)
        own = {"z_optimizer": partial(torch.optim.Adam, lr=0.1)} if method == "published" else {}
        again = LandscapeInverter.load(tmp_path / "fit", where.forward_model, given_by.squares, **own)
        assert {weight.device for weight in again.landscape.parameters()} == {home}
        found = again.invert(where.targets(5, 3), 9)
        expected = inverter.invert(problem.targets(5, 3), 9)
        if home == device:
            laws.assert_same_bits(found, expected)
        else:
            laws.assert_close(found.loss.cpu(), expected.loss.cpu(), 1e-3, "losses on two devices")


@on_each_device
@each_method
def test_a_fit_that_is_resumed_there_ends_as_one_that_was_left_alone(device, method, tmp_path):
    problem = problem_on(device)

    def fit(rounds, **others):
        inverter = new_inverter(problem.forward_model, problem.x_init, method=method)
        return inverter.fit(problem.targets(128, 11), num_rounds=rounds, progress=False, **others)

    fit(2, checkpoint=tmp_path)
    laws.assert_same_weights(fit(4, checkpoint=tmp_path), fit(4))


@on_each_device
@each_method
def test_moved_there_and_back_a_fit_goes_on(device, method):
    here, there = problem_on(CPU), problem_on(device)
    inverter = new_inverter(copy.deepcopy(here.forward_model), here.x_init, method=method)
    inverter.fit(here.targets(128, 11), num_rounds=3, progress=False)
    inverter.landscape.forward_model.to(device)
    inverter.to(device).fit(there.targets(128, 11), num_rounds=3, progress=False)
    result = inverter.invert(there.targets(5, 3), 9)
    assert lies_on((result.x, result.loss), device)
    assert result.loss.isfinite().all()


@on_each_device
@pytest.mark.parametrize("with_closure", [True, False])
def test_as_an_optimizer_in_a_loop_of_ones_own(device, with_closure):
    inverter, problem = fitted_on(device), problem_on(device)
    target = problem.targets(6, 3)
    x = nn.Parameter(problem.x_init.expand(6, -1).clone())
    model = copy.deepcopy(problem.forward_model).eval()
    optimizer, losses = LandscapeOptimizer([x], inverter.landscape, target=target), []

    def closure():
        prediction = model(x)
        losses.append(given_by.squares(prediction, target))
        return losses[-1], prediction

    for _ in range(8):
        if with_closure:
            optimizer.step(closure)
        else:
            optimizer.zero_grad()
            closure()[0].sum().backward()
            optimizer.step()
    assert losses[-1].device == device
    assert not with_closure or optimizer.best_x.device == device
    assert losses[-1].median() < losses[0].median()


@on_each_device
def test_validation_memory_and_diagnosis(device):
    problem = problem_on(device)
    inverter = new_inverter(problem.forward_model, problem.x_init)
    held_out = problem_on(CPU).targets(16, 4).to(device)
    inverter.fit(problem.targets(128, 11), num_rounds=4, validation=Validation(held_out, every=2), progress=False)
    assert any(record.validation is not None for record in inverter.history)
    inverter.remember(problem.x_init.expand(2, -1))
    assert inverter.memory.storage is not None
    found = diagnose(inverter, problem.targets(6, 3))
    assert str(found)


@on_each_device
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_f_in_half_precision(device, dtype):
    problem = problem_on(device, torch.float32)
    landscape = LearnedLandscape(problem.forward_model, problem.x_init, precision=Autocast(dtype))
    inverter = LandscapeInverter(landscape, given_by.squares).fit(problem.targets(256, 11), num_rounds=6, progress=False)
    target = problem.targets(32, 3)
    result = inverter.invert(target, 12)
    assert result.loss.dtype == torch.float32
    start = problem.loss_at(problem.x_init.expand(32, -1), target)
    assert (problem.loss_at(result.x, target) / start).median() < 2.0**-7


@on_each_device
def test_a_compiled_theta_answers_as_the_one_that_was_written(device):
    inverter, problem = fitted_on(device), problem_on(device)
    landscape = copy.deepcopy(inverter.landscape)
    compile_steps(landscape.mapping, backend="eager")
    again = LandscapeInverter(landscape, given_by.squares, memory=inverter.memory)
    target = problem.targets(6, 3)
    laws.assert_close(again.invert(target, 9).loss, inverter.invert(target, 9).loss, 1e-9, "losses")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a compiler of GPU code needs a GPU")
# What torch 2.11 and its compiler warn of by themselves.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores for float32 matrix multiplication:UserWarning")
@pytest.mark.parametrize("options", [{}, {"mode": "reduce-overhead"}], ids=["default", "CUDA graphs"])
def test_theta_and_f_compiled_for_a_gpu(options):
    problem = problem_on(CUDA, torch.float32)
    compiled = torch.compile(copy.deepcopy(problem.forward_model).eval(), dynamic=True, **options)
    made = [
        LandscapeInverter(LearnedLandscape(F, problem.x_init), given_by.squares, seed=0)
        for F in (problem.forward_model, compiled)
    ]
    compile_steps(made[1].landscape.mapping, **options)
    target = problem.targets(64, 3)
    found = [one.fit(problem.targets(256, 11), num_rounds=6, progress=False).invert(target, 12).loss for one in made]
    start = problem.loss_at(problem.x_init.expand(64, -1), target)
    for loss in found:
        assert (loss / start).median() < 1e-3
