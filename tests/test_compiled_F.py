"""F as torch.compile gives it: it stays compiled, and runs as it was written where its graph is needed twice."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from landscape_opt import LandscapeInverter, LearnedLandscape, LeastSquares
from landscape_opt.compiled import as_written
from landscape_opt.solvers import LevenbergMarquardt

# Dynamo looks at .grad of what it is given, which torch warns of; it hides the warning, but not from "error".
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

BACKEND = "aot_eager"
"""As inductor, up to the code that it writes: its backward frees what it needs, but there need be no C++ compiler."""


def network(dim_x, dim_y):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(dim_x, 8), nn.Tanh(), nn.Linear(8, dim_y))


def unfitted(forward_model, dim_x):
    return LandscapeInverter(LearnedLandscape(forward_model, torch.zeros(dim_x)), LeastSquares(torch.sub))


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def counting():
    calls = []

    def backend(graph, _inputs):
        return lambda *inputs: (calls.append(1), graph.forward(*inputs))[1]

    return calls, backend


@pytest.mark.filterwarnings("ignore:Using `torch.compile")  # the next test is of that
def test_a_compiled_model_is_called_compiled_when_it_is_fitted():
    calls, backend = counting()
    inverter = unfitted(torch.compile(network(3, 5), backend=backend), 3)
    targets = torch.rand(304, 5, generator=torch.Generator().manual_seed(0))
    inverter.fit(targets[4:], num_rounds=1, progress=False)
    calls.clear()
    inverter.invert(targets[:4], max_evaluations=3)
    assert len(calls) == 4  # three evaluations and the reading of the last point


def test_a_compiled_model_is_fitted_without_a_warning():
    targets = torch.rand(300, 5, generator=torch.Generator().manual_seed(0))
    inverter = unfitted(torch.compile(network(3, 5), backend="eager"), 3)
    assert len(inverter.fit(targets, num_rounds=1, progress=False).history) == 1


@pytest.mark.parametrize(("dim_x", "dim_y"), [(3, 5), (5, 3)])  # a Jacobian by columns, and by rows
def test_levenberg_marquardt_takes_a_compiled_model(dim_x, dim_y):
    forward_model = network(dim_x, dim_y)
    target = forward_model(torch.randn(4, dim_x, generator=torch.Generator().manual_seed(1))).detach()
    options = {"solver": LevenbergMarquardt(), "allow_unfitted": True}
    found = unfitted(torch.compile(forward_model, backend=BACKEND), dim_x).invert(target, 30, **options)
    expected = unfitted(forward_model, dim_x).invert(target, 30, **options)
    assert torch.allclose(found.x, expected.x, atol=1e-5)


@pytest.mark.parametrize("how", ["implicit", "unrolled"])
def test_an_answer_of_a_compiled_model_has_gradients(how):
    forward_model = network(3, 5)
    target = forward_model(torch.randn(4, 3, generator=torch.Generator().manual_seed(1))).detach()
    gradients = []
    for guest in (forward_model, torch.compile(forward_model, backend=BACKEND)):
        leaf = target.clone().requires_grad_(True)
        unfitted(guest, 3).invert(leaf, 20, differentiable=how, allow_unfitted=True).x.sum().backward()
        gradients.append(leaf.grad)
    assert torch.allclose(*gradients, rtol=1e-2, atol=1e-4)
    assert bool((gradients[0] != 0).all())


def test_what_ran_as_written_goes_on_compiled_also_where_threads_overlap():
    calls, backend = counting()
    compiled = torch.compile(torch.sin, backend=backend)
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first():
        with as_written():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    def second():
        first_in.wait(10)
        with as_written():
            second_in.set()
            first_out.wait(10)
            compiled(torch.zeros(2))

    together = [threading.Thread(target=one) for one in (first, second)]
    for one in together:
        one.start()
    for one in together:
        one.join()
    assert calls == []
    compiled(torch.zeros(2))
    assert calls == [1]
