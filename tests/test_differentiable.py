"""Gradients of an answer in the target and in what the loss holds, against closed forms and finite differences."""

from __future__ import annotations

import copy
import doctest
import pathlib
from functools import cache

import pytest
import strategies as given_by
import torch
from hypothesis import given
from strategies import case, fitted, new_inverter, squares
from torch.autograd import grad, gradcheck, gradgradcheck

import landscape_opt.differentiable.stationary
from landscape_opt import Differentiable, LandscapeInverter, LearnedLandscape
from landscape_opt.solvers import LBFGS

F64 = torch.float64
MODES = ("implicit", "unrolled")
A = torch.randn(7, 4, generator=given_by.seeded(21), dtype=F64)
inverse = torch.linalg.pinv(A)


def random(*shape, seed=1):
    return torch.randn(*shape, generator=given_by.seeded(seed), dtype=F64)


def inverter_of(forward_model, dim, loss_fn=squares, given=None):
    return LandscapeInverter(LearnedLandscape(forward_model, torch.zeros(dim, dtype=F64), given=given), loss_fn)


def linear(loss_fn=squares):
    return inverter_of(lambda x: x @ A.T, 4, loss_fn)


def solved(inverter, target, mode="implicit", budget=100, **options):
    return inverter.invert(target, budget, differentiable=mode, allow_unfitted=True, **options)


def jacobian(x, target):
    """∂x_b/∂y_b of every row, (B, d, m)."""
    return torch.stack([grad(column.sum(), target, retain_graph=True)[0] for column in x.T], dim=1)


class Weighed:
    """A squared error whose weights, one an element, can be exchanged: the loss holds them."""

    def __init__(self, weight=None):
        self.weight = torch.ones((), dtype=F64) if weight is None else weight

    def __call__(self, prediction, target):
        return (self.weight * (prediction - target).square()).sum(1)


@cache
def weighed(mapping):
    """A fitted inverter of the MLP, and the loss whose weights may be exchanged."""
    problem, loss_fn = case("mlp", F64), Weighed()
    inverter = new_inverter(problem.forward_model, problem.x_init, loss_fn, mapping=mapping)
    return inverter.fit(problem.targets(128, 11), num_rounds=4, progress=False), loss_fn


# ------------------------------------------------------------------------------------------------------------ closed forms


@given(seed=given_by.target_seeds)
def test_least_squares_has_the_pseudo_inverse_as_its_gradient(seed):
    y = random(3, 7, seed=seed).requires_grad_()
    assert torch.allclose(jacobian(solved(linear(), y, budget=50).x, y), inverse.expand(3, -1, -1), atol=1e-12)


def test_the_gradient_in_the_weight_of_a_term_is_that_of_ridge_regression():
    y, strength = random(3, 7), torch.tensor(0.3, dtype=F64, requires_grad=True)
    result = solved(linear(), y, extra_terms=[lambda x, prediction: 0.5 * strength * x.square().sum(1)])

    def ridge(strength):
        return torch.linalg.solve(A.T @ A + strength * torch.eye(4, dtype=F64), A.T @ y.T).T

    expected = torch.autograd.functional.jacobian(ridge, strength.detach())
    found = torch.stack([grad(value, strength, retain_graph=True)[0] for value in result.x.flatten()])
    assert torch.allclose(found, expected.flatten(), atol=1e-6)


def test_what_f_is_given_has_a_gradient_too():
    scale = torch.tensor([[2.0, 4.0], [0.5, 1.0]], dtype=F64, requires_grad=True)
    y = random(2, 2).requires_grad_()

    def loss_fn(prediction, target):
        return squares(prediction, target["y"])

    inverter = inverter_of(lambda x, scale: scale * x, 2, loss_fn, given=lambda target: target["scale"])
    result = solved(inverter, {"y": y, "scale": scale})
    in_y, in_scale = grad(result.x.sum(), [y, scale])
    assert torch.allclose(in_y, 1 / scale, atol=1e-6)
    assert torch.allclose(in_scale, -y / scale.square(), atol=1e-6)


def test_where_the_loss_is_flat_the_answer_does_not_move():
    row = torch.tensor([[1.0, 2.0, 0.0]], dtype=F64)
    y = random(4, 1).requires_grad_()
    result = solved(inverter_of(lambda x: x @ row.T, 3), y)
    assert torch.allclose(jacobian(result.x, y), torch.linalg.pinv(row).expand(4, -1, -1), atol=1e-12)


@pytest.mark.parametrize("flat", [0, 3])
def test_conjugate_residuals_beyond_the_dense_size(flat):
    dim = landscape_opt.differentiable.stationary.DENSE_UP_TO + 8
    scale = torch.linspace(0.5, 2.0, dim, dtype=F64)
    scale[:flat] = 0
    y = random(2, dim).requires_grad_()
    result = solved(inverter_of(lambda x: scale * x, dim), y, budget=60)
    factor = random(2, dim, seed=2)
    expected = torch.where(scale > 0, factor / scale, 0.0)
    assert torch.allclose(grad(result.x, y, factor)[0], expected, atol=1e-7)


def test_conjugate_residuals_agree_with_the_eigenvalues(monkeypatch):
    problem = case("mlp", F64)
    y, factor = problem.targets(5, 100).requires_grad_(), random(5, 4)
    result = solved(inverter_of(problem.forward_model, 4), y, budget=200)
    dense = grad(result.x, y, factor, retain_graph=True)[0]
    monkeypatch.setattr(landscape_opt.differentiable.stationary, "DENSE_UP_TO", 0)
    assert torch.allclose(grad(result.x, y, factor)[0], dense, rtol=1e-6, atol=1e-9)


def test_a_saddle_ends_conjugate_residuals_in_its_row_alone(monkeypatch):
    monkeypatch.setattr(landscape_opt.differentiable.stationary, "DENSE_UP_TO", 0)
    y = torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=F64, requires_grad=True)
    inverter = inverter_of(lambda x: x, 2, lambda x, y: 10 + (y * (x - 0.5).square()).sum(1))
    x = solved(inverter, y, budget=1).x
    found = grad(x.sum(), y)[0]
    assert bool(found.isfinite().all())
    # ∂L/∂x = 2 y (x − ½) and H = 2 y, so that dx = − (x − ½) / y
    assert torch.allclose(found[0], -(x[0].detach() - 0.5))


# ------------------------------------------------------------------------------------------------------ finite differences


def test_implicit_gradients_of_a_network_in_target_and_weights():
    first, last, loss_fn = random(2, 8, seed=4), random(8, 4, seed=5) / 3, Weighed()
    inverter = inverter_of(lambda x: torch.tanh(x @ first) @ last, 2, loss_fn)

    def answer(y, weight):
        loss_fn.weight = weight
        result = solved(inverter, y, budget=30)
        return result.x, result.prediction, result.loss

    y = (torch.tanh(0.5 * random(1, 2) @ first) @ last + 0.1 * random(1, 4)).requires_grad_()
    weight = torch.linspace(0.5, 1.5, 4, dtype=F64).requires_grad_()
    assert gradcheck(answer, (y, weight), eps=1e-4, atol=2e-4, rtol=1e-3, check_undefined_grad=False)


@pytest.mark.parametrize("mapping", given_by.MAPPINGS)
def test_unrolled_gradients_of_a_network_in_target_and_weights(mapping):
    inverter, loss_fn = weighed(mapping)

    def answer(y, weight):
        loss_fn.weight = weight
        result = solved(inverter, y, "unrolled", budget=3)
        return result.x, result.prediction, result.loss

    y = case("mlp", F64).targets(1, 100).requires_grad_()
    weight = torch.linspace(0.9, 1.1, 10, dtype=F64).requires_grad_()
    try:
        assert gradcheck(answer, (y, weight), eps=1e-6, atol=1e-6, check_undefined_grad=False)
    finally:
        loss_fn.weight = torch.ones((), dtype=F64)


def test_unrolled_gradients_before_any_fit():
    inverter = inverter_of(case("mlp", F64).forward_model, 4)
    y = case("mlp", F64).targets(2, 100).requires_grad_()
    assert gradcheck(
        lambda y: solved(inverter, y, "unrolled", budget=6).x, (y,), eps=1e-6, atol=1e-6, check_undefined_grad=False
    )


@pytest.mark.parametrize("mapping", [None, "residual", "anchored"])
def test_unrolled_gradients_approach_the_implicit_ones(mapping):
    problem = case("linear", F64)
    inverter = inverter_of(problem.forward_model, 6) if mapping is None else fitted("linear", F64, mapping, "default")
    y, factor = problem.targets(3, 100).requires_grad_(), random(3, 6)
    exact = grad(solved(inverter, y).x, y, factor)[0]
    errors = [float((grad(solved(inverter, y, "unrolled", k).x, y, factor)[0] - exact).norm()) for k in (3, 60)]
    assert errors[1] < 0.2 * errors[0]


# ----------------------------------------------------------------------------------------------------- rows, masks, bounds


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mapping", given_by.MAPPINGS)
def test_a_row_has_no_gradient_in_the_others_and_the_same_alone(mode, mapping):
    inverter, y = weighed(mapping)[0], case("mlp", F64).targets(4, 100).requires_grad_()
    found = grad(solved(inverter, y, mode, 8).x[1].sum(), y)[0]
    assert bool((found[[0, 2, 3]] == 0).all())
    alone = y[1:2].detach().requires_grad_()
    assert torch.allclose(found[1:2], grad(solved(inverter, alone, mode, 8).x.sum(), alone)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mode", MODES)
def test_a_row_that_is_not_finite_spoils_no_gradient_that_rows_share(mode):
    weight = torch.ones((), dtype=F64, requires_grad=True)
    problem = case("linear", F64)
    model = given_by.Poisoned(problem.forward_model, problem.x_init)

    def loss_fn(prediction, target):
        return squares(prediction, target["y"]) + 0.1 * weight * prediction.square().sum(1)

    inverter = LandscapeInverter(LearnedLandscape(model, problem.x_init, given=lambda t: t["poison"]), loss_fn)
    y = problem.targets(3, 100)
    result = solved(inverter, {"y": y, "poison": torch.tensor([0, 1, 2])}, mode, 8)
    alone = solved(inverter, {"y": y[:1], "poison": torch.tensor([0])}, mode, 8)
    found, expected = (grad(answer.x[0].sum() + answer.loss[0], weight)[0] for answer in (result, alone))
    assert bool(found.isfinite())
    assert torch.allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_not_observed_has_no_gradient(mode):
    y, mask = random(3, 7), torch.ones(3, 7, dtype=torch.bool)
    mask[0, :2] = mask[1, 5] = False
    y[0, 0] = torch.nan
    y.requires_grad_()
    found = jacobian(solved(linear(), y, mode, observed=mask).x, y)
    for row in range(3):
        assert bool((found[row][:, ~mask[row]] == 0).all())
        if mode == "implicit":
            assert torch.allclose(found[row][:, mask[row]], torch.linalg.pinv(A[mask[row]]), atol=1e-10)


@pytest.mark.parametrize("mapping", given_by.MAPPINGS)
def test_unrolled_gradients_under_a_mask(mapping):
    inverter, y = weighed(mapping)[0], case("mlp", F64).targets(3, 100).requires_grad_()
    mask = torch.rand(y.shape, generator=given_by.seeded(5)) < 0.7
    found = grad(solved(inverter, y, "unrolled", 5, observed=mask).x.sum(), y)[0]
    assert bool((found[~mask] == 0).all())
    assert bool((found[mask] != 0).all())


@pytest.mark.parametrize("mode", MODES)
def test_a_coordinate_on_its_bound_does_not_move(mode):
    y = random(4, 7, seed=3).requires_grad_()
    lower, upper = torch.full((4,), -0.1, dtype=F64), torch.full((4,), 0.1, dtype=F64)
    lower[0] = upper[0] = 0.05
    result = solved(linear(), y, mode, 300, bounds=(lower, upper))
    held = (result.x == lower) | (result.x == upper)
    assert bool(held[:, 1:].any())
    assert not bool(held.all())
    found = jacobian(result.x, y)
    assert bool((found[held] == 0).all())
    for row in range(4):
        free = ~held[row]
        if mode == "implicit":
            assert torch.allclose(found[row][free], torch.linalg.pinv(A[:, free]), atol=1e-10)


# ----------------------------------------------------------------------------------------------- what is returned, and how


@pytest.mark.parametrize("mode", MODES)
def test_prediction_and_loss_are_those_of_the_answer(mode):
    problem, y = case("mlp", F64), case("mlp", F64).targets(3, 100).requires_grad_()
    result = solved(weighed("anchored")[0], y, mode, 10)
    assert torch.allclose(result.loss.detach(), 2 * problem.loss_at(result.x, y))
    again = squares(copy.deepcopy(problem.forward_model).eval()(result.x), y)
    expected = grad(2 * again.sum(), y, retain_graph=True)[0]
    assert torch.allclose(grad(result.loss.sum(), y, retain_graph=True)[0], expected, atol=1e-10)
    assert torch.allclose(grad(2 * squares(result.prediction, y).sum(), y)[0], expected, atol=1e-10)


def test_the_answer_itself_is_that_of_the_ordinary_inversion():
    for mapping in given_by.MAPPINGS:
        inverter, y = weighed(mapping)[0], case("mlp", F64).targets(3, 100)
        assert torch.equal(inverter.invert(y, 9).x, solved(inverter, y, budget=9).x)
        plain = inverter.invert(y, 9, refine=False, restarts=False)
        stepped = solved(inverter, y, "unrolled", 9)
        assert torch.allclose(plain.x, stepped.x, atol=1e-5)
        assert torch.equal(plain.num_evaluations, stepped.num_evaluations)
        assert not stepped.history.loss.requires_grad
        assert not stepped.z.requires_grad


def test_the_memory_of_implicit_gradients_does_not_grow_with_the_evaluations():
    inverter, y = weighed("anchored")[0], case("mlp", F64).targets(3, 100).requires_grad_()

    def num_nodes(mode, budget):
        reached = [solved(inverter, y, mode, budget).x.grad_fn]
        seen = set()
        while reached:
            node = reached.pop()
            if node is not None and node not in seen:
                seen.add(node)
                reached += [further for further, _ in node.next_functions]
        return len(seen)

    assert num_nodes("implicit", 5) == num_nodes("implicit", 50)
    assert num_nodes("unrolled", 5) < num_nodes("unrolled", 10)


@pytest.mark.parametrize("mode", MODES)
def test_pieces_and_dicts_have_the_same_gradients(mode):
    y = random(5, 7).requires_grad_()
    whole = grad(solved(linear(), y, mode, 20).x.sum(), y)[0]
    assert torch.allclose(grad(solved(linear(), y, mode, 20, max_batch_size=2).x.sum(), y)[0], whole, atol=1e-10)
    start = {"a": torch.zeros(2, dtype=F64), "b": torch.zeros(2, 1, dtype=torch.float32)}
    inverter = LandscapeInverter(
        LearnedLandscape(lambda x: torch.cat([x["a"], x["b"].flatten(1).double()], 1) @ A.T, start), squares
    )
    x = solved(inverter, y, mode, 20).x
    assert torch.allclose(grad(x["a"].sum() + x["b"].double().sum(), y)[0], whole, atol=1e-4)


def test_the_best_of_several_hypotheses_has_a_gradient():
    inverter, y = fitted("linear", F64, "anchored", "default"), case("linear", F64).targets(3, 100).requires_grad_()
    result = solved(inverter, y, num_hypotheses=3)
    weight = case("linear", F64).forward_model.weight.detach()
    assert torch.allclose(jacobian(result.x, y), torch.linalg.pinv(weight).expand(3, -1, -1), atol=1e-8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrapping", ["module", "closure"])
def test_f_targets_and_landscape_stay_as_they_were(mode, wrapping):
    problem = case("mlp", F64)
    model = problem.forward_model
    forward_model = model if wrapping == "module" else given_by.WRAPPINGS[wrapping](model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inverter = new_inverter(forward_model, problem.x_init).fit(problem.targets(64, 11), num_rounds=2, progress=False)
    weights = list(inverter.landscape.mapping.parameters())
    inverter.optimizer.zero_grad()
    y = problem.targets(3, 100).requires_grad_()
    value, random_state = y.detach().clone(), torch.get_rng_state()
    inverter.invert(y, 5)  # the ordinary way, of a target with a graph
    result = solved(inverter, y, mode, 5)
    assert y.grad is None
    (result.x.sum() + result.loss.sum()).backward()
    assert torch.equal(y, value)
    assert y.grad is not None
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in [*model.parameters(), *weights])


@pytest.mark.parametrize("mode", [None, *MODES])
def test_without_gradients_there_is_no_graph(mode):
    y = case("mlp", F64).targets(3, 100).requires_grad_()
    with torch.no_grad():
        result = solved(weighed("anchored")[0], y, mode, 5)
    ordinary = solved(weighed("anchored")[0], y, None, 5)
    for part in (result.x, result.prediction, result.loss, ordinary.x, ordinary.prediction, ordinary.loss):
        assert not part.requires_grad


def test_a_loss_without_curvature_gives_an_answer_that_stands_still():
    y = random(3, 2).requires_grad_()
    result = solved(inverter_of(lambda x: x, 2, lambda x, y: (x - y).abs().sum(1)), y, budget=5)
    assert bool((grad(result.x.sum(), y, retain_graph=True)[0] == 0).all())
    assert torch.allclose(grad(result.loss.sum(), y)[0], (y - result.x).sign())
    result = solved(inverter_of(lambda x: x, 2, lambda x, y: (x + y).sum(1)), y, budget=5)
    assert not result.x.requires_grad
    assert torch.allclose(grad(result.loss.sum(), y)[0], torch.ones_like(y))


# ------------------------------------------------------------------------------------------------------------------ errors


def test_modes_are_objects_or_their_values():
    y = random(2, 7).requires_grad_()
    for mode in Differentiable:
        assert torch.equal(solved(linear(), y, mode, 5).x, solved(linear(), y, mode.value, 5).x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"differentiable": "explicit"}, "must be 'implicit', 'unrolled' or None, got 'explicit'"),
        ({"differentiable": True}, "must be 'implicit', 'unrolled' or None, got True"),
        ({"differentiable": "unrolled", "refine": True}, "without refine=True"),
        ({"differentiable": "unrolled", "num_hypotheses": 2}, "further hypotheses"),
        ({"differentiable": "unrolled", "solver": LBFGS()}, "a solver"),
    ],
)
def test_what_cannot_be_differentiated_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        linear().invert(random(2, 7), allow_unfitted=True, **options)


def test_unrolling_needs_steps_of_the_landscape():
    published = fitted("mlp", torch.float32, "residual", "published")
    with pytest.raises(ValueError, match="z_optimizer"):
        solved(published, case("mlp").targets(2, 100), "unrolled")
    residual, y = weighed("residual")[0], case("mlp", F64).targets(2, 100)
    with pytest.raises(ValueError, match="needs an anchored mapping"):
        solved(residual, y, "unrolled", warm_start=torch.zeros(2, 4))
    with pytest.raises(ValueError, match="does not depend on x"):
        solved(inverter_of(lambda x: x.detach(), 2), random(2, 2), "unrolled")
    with pytest.raises(ValueError, match="∂loss/∂x is None"):
        solved(inverter_of(lambda x: x.detach(), 2), random(2, 2).requires_grad_(), "unrolled")


def test_second_derivatives_go_through_the_steps_alone():
    y = random(1, 7).requires_grad_()
    assert gradgradcheck(lambda y: solved(linear(), y, "unrolled", 2).x, (y,), check_undefined_grad=False)
    first = grad(solved(linear(), y).x.square().sum(), y, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_the_page_of_the_docs_runs():
    page = pathlib.Path(__file__).parent.parent / "docs" / "differentiable.md"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testfile(str(page), module_relative=False, optionflags=flags, encoding="utf-8")
    assert found.attempted > 5
    assert found.failed == 0
