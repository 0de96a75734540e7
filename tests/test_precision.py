"""F in half precision, F∘θ compiled, and the threads of the user: what changes, and all that does not."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import landscape_opt
from landscape_opt import LandscapeInverter, LearnedLandscape, LeastSquares
from landscape_opt.compiled_steps import compile_steps
from landscape_opt.layout import Layout
from landscape_opt.mappings import AnchoredMapping, ResidualMapping
from landscape_opt.objective import Objective
from landscape_opt.precision import Autocast
from landscape_opt.replay import Streaming

# Dynamo looks at .grad of what it is given, which torch warns of; it hides the warning, but not from "error".
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

HALVES = [torch.bfloat16, torch.float16]


def squares(prediction, target):
    return (prediction - target).square().sum(1)


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 16))


def targets_of(forward_model, count=320):
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    return forward_model(x).detach()


def objective_of(forward_model, dtype, loss_fn=squares):
    layout = Layout(torch.zeros(4))
    return Objective(Autocast(dtype).around(forward_model, layout), loss_fn, layout)


def fitted(forward_model, precision, loss_fn=squares, rounds=12):
    landscape = LearnedLandscape(forward_model, torch.zeros(4), precision=precision)
    inverter = LandscapeInverter(landscape, loss_fn, seed=0)
    return inverter.fit(targets_of(network()), num_rounds=rounds, progress=False)


@pytest.mark.parametrize("dtype", HALVES)
def test_f_alone_runs_in_half_precision(dtype):
    forward_model, products, losses_see = network(), set(), set()
    forward_model[0].register_forward_hook(lambda _, given, product: products.update([(given[0].dtype, product.dtype)]))

    def loss_fn(prediction, target):
        losses_see.add(prediction.dtype)
        return squares(prediction, target)

    inverter = fitted(forward_model, Autocast(dtype), loss_fn, rounds=2)
    result = inverter.invert(targets_of(network(), 8), max_evaluations=4)
    assert products == {(torch.float32, dtype)}
    assert losses_see == {torch.float32}
    assert {result.x.dtype, result.z.dtype, result.loss.dtype, result.prediction.dtype} == {torch.float32}
    state = inverter.optimizer.state_dict()["state"]
    held = [value for weight in state.values() for value in weight.values() if isinstance(value, torch.Tensor)]
    assert {part.dtype for part in [*inverter.landscape.mapping.state_dict().values(), *held]} == {torch.float32}
    z = torch.zeros(2, 4)
    assert inverter.landscape(z, targets_of(network(), 2)).dtype == torch.float32


def test_weights_and_flags_of_f_are_as_before():
    forward_model = network()
    before = copy.deepcopy(forward_model.state_dict())
    fitted(forward_model, Autocast(), rounds=2)
    assert all(torch.equal(value, before[name]) for name, value in forward_model.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in forward_model.parameters())
    assert not torch.is_autocast_enabled("cpu")


def test_a_fit_in_half_precision_reaches_what_half_precision_can_tell():
    held_out = targets_of(network(), 400)[320:]
    reached = {}
    for precision in (None, Autocast(torch.bfloat16), Autocast(torch.float16)):
        inverter = fitted(network(), precision)
        answer = inverter.invert(held_out, max_evaluations=10).x
        reached[precision and precision.dtype] = squares(network()(answer), held_out).median()  # as float32 sees it
    start = squares(network()(torch.zeros(1, 4)), held_out).median()
    # bfloat16 tells apart predictions that differ by 2⁻⁸ of their size, float16 by 2⁻¹¹: losses by the square of that.
    assert reached[torch.bfloat16] < 2.0**-12 * start
    assert reached[torch.float16] < 2.0**-16 * start
    assert reached[None] < reached[torch.float16]


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_gradients_in_float16_survive_losses_of_any_size(factor):
    forward_model, target = network(), targets_of(network(), 8)
    x = 0.1 * torch.ones(8, 4)
    exact = Objective(forward_model, squares, Layout(x[0])).evaluate(x, target).grad_x
    scaled = objective_of(forward_model, torch.float16, lambda p, t: factor * squares(p, t)).evaluate(x, target)
    assert torch.allclose(scaled.grad_x / factor, exact, rtol=0.02, atol=0.02 * float(exact.abs().max()))


def test_without_scaling_they_would_not():
    forward_model, target = network(), targets_of(network(), 8)
    x = (0.1 * torch.ones(8, 4)).requires_grad_(True)
    with torch.autocast("cpu", torch.float16):
        prediction = forward_model(x)
    (1e-12 * squares(prediction.float(), target)).sum().backward()
    assert bool((x.grad == 0).all())


def test_a_row_that_overflows_in_float16_is_the_only_one_that_does():
    forward_model, target = network(), targets_of(network(), 3)
    x = torch.tensor([[0.1] * 4, [1e6] * 4, [0.2] * 4])
    together = objective_of(forward_model[:1], torch.float16, lambda p, t: squares(p[:, :16], t)).evaluate(x, target)
    assert together.finite.tolist() == [True, False, True]
    alone = objective_of(forward_model[:1], torch.float16, lambda p, t: squares(p[:, :16], t)).evaluate(x[:1], target[:1])
    assert torch.allclose(together.grad_x[:1], alone.grad_x, rtol=1e-3)


@pytest.mark.parametrize("dtype", HALVES)
def test_second_derivatives_are_those_of_f(dtype):
    target = targets_of(network(), 4)
    curvatures = []
    for forward_model in (network(), Autocast(dtype).around(network(), Layout(torch.zeros(4)))):
        x = (0.1 * torch.ones(4, 4)).requires_grad_(True)
        gradient = torch.autograd.grad(squares(forward_model(x), target).sum(), x, create_graph=True)[0]
        curvatures.append(torch.autograd.grad(gradient.sum(), x)[0])
    assert torch.allclose(*curvatures, rtol=0.1, atol=0.1 * float(curvatures[0].abs().max()))


def test_a_jacobian_in_half_precision_is_that_of_f():
    target, x = targets_of(network(), 4), 0.1 * torch.ones(4, 4)
    residuals = LeastSquares(torch.sub)
    exact = Objective(network(), residuals, Layout(x[0])).jacobian(x, target).matrix
    for dtype in HALVES:
        assert torch.allclose(objective_of(network(), dtype, residuals).jacobian(x, target).matrix, exact, atol=0.05)


def test_parts_that_are_no_floats_and_dicts_pass_through():
    layout = Layout({"a": torch.zeros(2), "b": torch.zeros(3)})
    forward = lambda x: {"y": x["a"] @ torch.ones(2, 2), "count": torch.arange(len(x["b"]))}  # noqa: E731
    prediction = Autocast(torch.float16).around(forward, layout)({"a": torch.zeros(2, 2), "b": torch.zeros(2, 3)})
    assert prediction["y"].dtype == torch.float32
    assert prediction["count"].dtype == torch.int64


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Autocast(torch.float32), ValueError, "torch.bfloat16 or torch.float16, got torch.float32"),
        (
            lambda: LearnedLandscape(network(), torch.zeros(4).double(), precision=Autocast()),
            ValueError,
            "no effect on float64",
        ),
        (lambda: LearnedLandscape(network(), torch.zeros(4), precision=torch.bfloat16), TypeError, "must be an Autocast"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.fixture
def graphs():
    """Counts what the compiler has compiled, from nothing on."""
    torch.compiler.reset()
    from torch._dynamo.utils import counters

    counters.clear()
    yield lambda: counters["stats"]["unique_graphs"]
    torch.compiler.reset()


def small(mapping, compiled):
    landscape = LearnedLandscape(network(), torch.zeros(4), mapping)
    if compiled:
        compile_steps(landscape.mapping, backend="eager")
    return LandscapeInverter(landscape, squares, replay=Streaming(num_rows=32, updates_per_round=2), batch_size=32)


@pytest.mark.parametrize("make", [lambda: AnchoredMapping(16), lambda: ResidualMapping((16,))])
def test_a_compiled_theta_fits_alike_and_is_compiled_in_two_rounds(make, graphs):
    plain, compiled, again = small(make(), False), small(make(), True), small(make(), True)
    found = []
    for _ in range(6):  # rounds of steps and of starts in turn
        for inverter in (plain, compiled):
            inverter.fit(targets_of(network(), 96), num_rounds=1, progress=False)
        found.append(graphs())
    assert found[1] > 0
    assert found[2:] == [found[1]] * 4
    for _ in range(6):
        again.fit(targets_of(network(), 96), num_rounds=1, progress=False)
    same, mine, theirs = (inverter.landscape.mapping.state_dict() for inverter in (again, compiled, plain))
    assert list(mine) == list(theirs)
    for name in theirs:
        assert torch.equal(mine[name], same[name])
        # To rounding: what is compiled differs in the last bits of its gradient on some processors, and not on others.
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-5, atol=1e-6)
    answers = [inverter.invert(targets_of(network(), 5), max_evaluations=8).x for inverter in (compiled, plain)]
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)  # with the hand-over, whose metric is differentiated twice


def test_a_copy_of_a_compiled_theta_has_its_own_weights(graphs):
    inverter = small(ResidualMapping((16,)), True).fit(targets_of(network(), 64), num_rounds=1, progress=False)
    mapping, z, target = inverter.landscape.mapping, torch.ones(3, 4), targets_of(network(), 3)
    same = copy.deepcopy(mapping)
    with torch.no_grad():
        for weight in mapping.parameters():
            weight.zero_()
    moved, kept = (
        LearnedLandscape(network(), torch.zeros(4), one).x(z, target).detach() - one.x_init for one in (mapping, same)
    )
    assert bool((moved == 0).all())
    assert bool((kept != 0).any())


def test_only_mappings_have_steps():
    with pytest.raises(TypeError, match="expected a mapping"):
        compile_steps(nn.Linear(2, 2))


def test_the_threads_of_the_user_are_left_alone(monkeypatch):
    def refused(count):
        raise AssertionError(f"set_num_threads({count}) was called")

    for name in ("set_num_threads", "set_num_interop_threads"):
        monkeypatch.setattr(torch, name, refused)
    fitted(network(), None, rounds=1).invert(targets_of(network(), 4), max_evaluations=2)


def test_nothing_but_commands_sets_threads():
    root = Path(landscape_opt.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr.startswith("set_num_"):
                found.add(path.relative_to(root).parts[0])
    assert found <= {"cli.py", "benchmark"}
