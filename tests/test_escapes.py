"""Ways out: where rows of a fit were caught, where they got out, and what that is worth to an inversion."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import strategies as given_by
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from landscape_opt import LandscapeInverter, LearnedLandscape, LeastSquares, Memory
from landscape_opt.caught import MAX_PROMISED, is_stationary, signs
from landscape_opt.checkpoint import CheckpointError
from landscape_opt.descent import Limits, descend
from landscape_opt.escapes import ENOUGH, FEWEST, GOOD, OFTEN, SELDOM, SHRINKAGES, Escapes
from landscape_opt.layout import Layout
from landscape_opt.look_up import LookUp, WaysOut
from landscape_opt.mappings import AnchoredMapping, Context, MappingSpec
from landscape_opt.memory import Candidates
from landscape_opt.objective import Evaluation, Objective
from landscape_opt.replay import Streaming
from landscape_opt.solvers import Restarts, TorchOptim
from landscape_opt.solvers.restarts import WAYS_OUT_EVERY
from landscape_opt.solvers.solver import Start


def ways(num: int, noise: float = 0.0, dim: int = 3, seed: int = 0):
    """From x to -x, with some noise; what is seen is a constant, x, and two numbers that say nothing."""
    generator = given_by.seeded(seed)
    x, rest = torch.randn(num, dim, generator=generator), torch.randn(num, 2, generator=generator)
    move = -2.0 * x + noise * torch.randn(num, dim, generator=generator)
    return torch.cat([torch.ones(num, 1), x, rest], dim=1), move


def filled(num: int, noise: float = 0.0) -> Escapes:
    escapes = Escapes()
    escapes.add(*ways(num, noise))
    return escapes


def by_sklearn(seen, move, shrinkage):
    """The same regression by another library: ways in units of their length, all features shrunk alike."""
    length = move.norm(dim=1, keepdim=True).double()
    s, m = (seen / length).numpy(), (move / length).numpy()
    return Ridge(alpha=shrinkage * (s**2).sum(1).mean(), fit_intercept=False, solver="svd").fit(s, m), s, m


@given(num=st.integers(FEWEST, 40), noise=st.floats(0.05, 0.5))
def test_the_regression_is_the_ridge_regression_with_the_smallest_error_on_ways_left_out(num, noise):
    seen, move = ways(num, noise)
    regression = filled(num, noise).regression()
    left_out = []
    for shrinkage in SHRINKAGES:
        _, s, m = by_sklearn(seen, move, shrinkage)
        alpha = shrinkage * (s**2).sum(1).mean()
        errors = []
        for i in range(num):
            others = np.arange(num) != i
            model = Ridge(alpha=alpha, fit_intercept=False, solver="svd").fit(s[others], m[others])
            errors.append(np.linalg.norm(model.predict(s[i : i + 1]) - m[i]))
        left_out.append(float(torch.tensor(errors).median()))
    best = int(np.argmin(left_out))
    if regression is None:
        assert min(left_out) > GOOD * (1 - 1e-6)
        return
    assert regression.error == pytest.approx(left_out[best], rel=1e-4)
    unseen, _ = ways(7, seed=1)
    expected = by_sklearn(seen, move, SHRINKAGES[best])[0].predict(unseen.double().numpy())
    assert torch.allclose(regression(unseen).double(), torch.as_tensor(expected), rtol=1e-4, atol=1e-5)


def test_too_few_ways_and_ways_that_say_nothing_are_no_regression():
    assert filled(FEWEST - 1).regression() is None
    assert filled(FEWEST).regression() is not None
    lost = Escapes()
    lost.add(ways(200)[0], torch.randn(200, 3, generator=given_by.seeded(5)))
    assert lost.regression() is None
    assert lost.share == SELDOM
    assert filled(200).share == OFTEN
    few = Escapes()
    few.add(ways(ENOUGH - 1)[0], torch.randn(ENOUGH - 1, 3, generator=given_by.seeded(5)))
    assert few.share == OFTEN  # what so few say is not believed yet


def test_the_oldest_go_and_what_is_no_way_is_left_out():
    escapes = Escapes(capacity=16)
    seen, move = ways(40)
    move[3], seen[4, 0] = torch.nan, torch.inf
    move[5] = 0.0
    escapes.add(seen, move)
    assert (len(escapes), escapes.count) == (16, 37)
    assert torch.equal(escapes.ring.rows(torch.arange(16))["move"], move[-16:])
    for none in (Escapes(capacity=0), Escapes(max_bytes=100)):
        none.add(*ways(40))
        assert len(none) == 0
        assert none.regression() is None
    before = escapes.regression()
    assert escapes.regression() is before  # made once
    escapes.add(*ways(2, seed=3))
    assert escapes.regression() is not before


def test_a_row_has_the_same_way_in_any_company():  # law 1
    regression, (seen, _) = filled(50, noise=0.3).regression(), ways(33, seed=2)
    together = regression(seen)
    assert all(torch.equal(regression(seen[i : i + 1])[0], together[i]) for i in range(len(seen)))


@pytest.mark.parametrize("num", [0, 5, 100, 2000])
def test_a_memory_keeps_them_in_its_state(num):
    memory = Memory()
    memory.escapes.add(*ways(num, noise=0.2))
    again = Memory()
    old = again.escapes
    again.load_state_dict(copy.deepcopy(memory.state_dict()))
    assert again.escapes is not old
    assert again.escapes.count == memory.escapes.count
    assert again.escapes.share == memory.escapes.share
    mine, its = memory.escapes.regression(), again.escapes.regression()
    assert (mine is None) == (its is None)
    if mine is not None:
        assert torch.equal(mine(ways(4)[0]), its(ways(4)[0]))
    state = memory.state_dict()
    del state["escapes"]
    again.load_state_dict(state)  # a file from before
    assert len(again.escapes) == 0
    assert len(Memory(capacity=0).escapes) == 0


def built(step: float = 1.0) -> AnchoredMapping:
    mapping = AnchoredMapping()
    mapping.build(MappingSpec(torch.zeros(2), 1, 3))
    mapping.step.fill_(step)
    return mapping


def test_a_row_is_caught_whose_gradient_promises_little():
    # L = |x|²/2 + c: with the inverse Hessian as metric a step promises |x|².
    x, c = torch.tensor([[1.0, 2.0]]).expand(3, -1), torch.tensor([0.0, 5.0, 40.0])
    evaluation = Evaluation(x, 2.5 + c, x, torch.ones(3, 1))
    caught = is_stationary(built(), Context(None, None, evaluation))
    assert caught.tolist() == (MAX_PROMISED * (2.5 + c) > 5.0).tolist() == [False, False, True]
    assert is_stationary(built(step=0.01), Context(None, None, evaluation)).all()


@given(units=st.floats(1e-3, 1e3))
def test_what_tells_the_way_has_no_units(units):  # law 2
    generator = given_by.seeded(0)
    x, grad, residual, y = (torch.randn(5, size, generator=generator) for size in (2, 2, 1, 3))
    mapping = built()
    seen = signs(mapping, Context(y, None, Evaluation(x, torch.ones(5), grad, residual)))
    assert seen.shape == (5, 1 + 2 + 1 + 3)
    # x and the loss in other units: r goes with x, ∂L/∂prediction with L.
    mapping.move.mul_(units)
    other = signs(mapping, Context(y, None, Evaluation(units * x, units * torch.ones(5), grad, units * residual)))
    assert torch.allclose(seen, other, rtol=1e-4, atol=1e-5)


WEIGHT = torch.randn(24, 8, generator=given_by.seeded(1)) / 8**0.5


def magnitudes(x):
    """Beside a weak reference, as in holography: without it -x would be as good as x, with it it is nearly so."""
    return ((x @ WEIGHT.T + 0.1).square() + 0.01).sqrt()


SQUARES = LeastSquares(torch.sub)


def images(num: int, seed: int) -> torch.Tensor:
    return torch.randn(num, 8, generator=given_by.seeded(seed))


@pytest.fixture(scope="module")
def fitted():
    inverter = LandscapeInverter(LearnedLandscape(magnitudes, torch.zeros(8)), SQUARES, seed=0)
    return inverter.fit(magnitudes(images(2048, 0)), num_rounds=60, progress=False)


def without_ways_out(inverter):
    twin = copy.copy(inverter)
    twin.memory = copy.copy(inverter.memory)
    twin.memory.escapes = Escapes()
    return twin


def test_a_fit_learns_ways_out_and_inversions_take_them(fitted):
    escapes = fitted.memory.escapes
    assert len(escapes) > ENOUGH
    assert escapes.regression() is not None
    target = magnitudes(images(256, 1))
    unsolved = {
        name: (inverter.invert(target, 12).loss > 1e-4).float().mean().item()
        for name, inverter in (("with", fitted), ("without", without_ways_out(fitted)))
    }
    assert unsolved["without"] > 0.2  # else there is nothing to leave
    assert unsolved["with"] < 0.8 * unsolved["without"]
    shorter, longer = (fitted.invert(target, budget) for budget in (8, 20))
    assert torch.equal(shorter.history.loss, longer.history.loss[:9])  # law 4


def test_no_way_out_is_taken_where_the_fit_says_nothing_of_the_losses(fitted):
    target = magnitudes(images(64, 1))
    observed = torch.ones_like(target)
    observed[:, 0] = 0.0
    with_mask = fitted.invert(target, 20, observed=observed)
    assert torch.equal(with_mask.x, without_ways_out(fitted).invert(target, 20, observed=observed).x)


def test_a_file_holds_them_and_a_damaged_one_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "fitted")
    again = LandscapeInverter.load(tmp_path / "fitted", magnitudes, SQUARES)
    target = magnitudes(images(32, 2))
    assert torch.equal(again.invert(target, 15).x, fitted.invert(target, 15).x)
    good = fitted.state_dict()
    escapes = good["memory"]["escapes"]
    buffer = escapes["buffer"]
    for bad in (
        {"count": -1}, {"error": math.nan}, {"error": "small"}, {"buffer": {**buffer, "move": buffer["move"][:, :2]}},
        {"buffer": {**buffer, "seen": buffer["seen"][:3]}}, {"first": 10**6}, {"judged_at": None},
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match="escapes"):
            again.load_state_dict({**good, "memory": {**good["memory"], "escapes": {**escapes, **bad}}})
    again.load_state_dict(good)


def test_a_stream_from_before_goes_on(fitted):
    state = fitted.state_dict()
    stream = {name: part for name, part in state["replay"]["stream"].items() if not name.startswith("caught")}
    again = LandscapeInverter(LearnedLandscape(magnitudes, torch.zeros(8)), SQUARES, seed=0)
    again.load_state_dict({**state, "replay": {**state["replay"], "stream": stream}})
    count = again.memory.escapes.count
    again.fit(magnitudes(images(2048, 0)), num_rounds=4, progress=False)
    assert again.memory.escapes.count > count


def test_without_second_chances_nothing_is_learned_of_ways_out():
    replay = Streaming(num_rows=64, second_chances=False)
    inverter = LandscapeInverter(LearnedLandscape(magnitudes, torch.zeros(8)), SQUARES, replay=replay, seed=0)
    inverter.fit(magnitudes(images(512, 0)), num_rounds=12, progress=False)
    assert len(inverter.memory.escapes) == 0


class Mirror(LookUp):
    """The way out of a positive x is -x; there is no other point."""

    promise, solved, caught = 0.0, 1e-6, 0.0

    def __init__(self):
        self.asked: list[int] = []

    def candidates(self, rows, count=8):
        return Candidates(torch.zeros(len(rows), 0, 1), torch.zeros(len(rows), 0))

    def ways_out(self, evaluation, told):
        self.asked.append(len(evaluation.x))
        positive = evaluation.x[:, 0] > 0
        return WaysOut(positive, -evaluation.x[positive]) if bool(positive.any()) else None


def two_wells(prediction, _target):
    return (prediction[:, 0].square() - 1).square() + 0.5


def test_a_row_leaves_once_and_only_when_it_is_stationary():
    objective = Objective(lambda x: x, two_wells, Layout(torch.ones(1)))
    plain = LearnedLandscape(torch.sinh, torch.ones(1)).plain()
    descending, mirror = TorchOptim(plain, lambda z: torch.optim.SGD(z, lr=0.05)), Mirror()
    seen: list[torch.Tensor] = []
    start = Start(torch.tensor([[1.1], [-1.1], [0.9]]))
    descend(
        objective, Restarts(descending, descending, mirror), start, torch.zeros(3, 1), Limits(8),
        lambda visit: seen.append(visit.evaluation.x[:, 0].clone()),
    )  # fmt: skip
    x = torch.stack(seen)
    assert (x[: WAYS_OUT_EVERY + 1, [0, 2]] > 0).all()
    assert (x[WAYS_OUT_EVERY + 1 :, [0, 2]] < 0).all()  # away at once, and never asked again
    assert (x[:, 1] < 0).all()
    assert mirror.asked[0] == 3
    assert set(mirror.asked[1:]) == {1}  # the row that had no reason to leave
