"""Objectives that go wrong: x stays finite, every row has the status that says what happened, and stops no other."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from strategies import squares

from landscape_opt import LandscapeInverter, LearnedLandscape, LeastSquares, Status
from landscape_opt.descent import Limits, descend
from landscape_opt.layout import Layout
from landscape_opt.objective import Objective
from landscape_opt.solvers import LBFGS, Backtracking, LevenbergMarquardt, Start, TorchOptim
from landscape_opt.solvers.backtracking import MAX_NONFINITE

TARGETS = torch.tensor([[0.2, 0.3], [2.0, 0.1], [-1.0, 0.4]], dtype=torch.float64)
X_INIT = torch.zeros(2, dtype=torch.float64)
WALL = 0.5


def invert(forward_model, loss_fn=squares, max_evaluations=200, given=None, **settings):
    landscape = LearnedLandscape(forward_model, X_INIT, given=given)
    result = LandscapeInverter(landscape, loss_fn).invert(TARGETS, max_evaluations, allow_unfitted=True, **settings)
    assert result.x.isfinite().all()
    assert (result.num_evaluations >= 1).all()
    assert (result.num_evaluations <= max_evaluations).all()
    for row, (message, status) in enumerate(zip(result.messages(), result.statuses(), strict=True)):
        assert message.startswith(f"row {row}: {status.name} after {int(result.num_evaluations[row])} evaluations")
        assert message.endswith(status.advice)
    return result


def identity(x):
    return x


def walled(x):
    return torch.where(x[:, :1] > WALL, torch.nan, x)


def distances(prediction, target):
    return (prediction - target).abs().sum(1)


def adam():
    return TorchOptim(LearnedLandscape(identity, X_INIT).plain(), partial(torch.optim.Adam, lr=0.1))


SOLVERS = {"L-BFGS": LBFGS, "backtracking": Backtracking, "Adam": adam}
each_solver = pytest.mark.parametrize("solver", SOLVERS)


def minimize(forward_model, solver, max_evaluations=200, loss_fn=squares, start=None):
    x = X_INIT.expand(len(TARGETS), -1) if start is None else start
    objective = Objective(forward_model, loss_fn, Layout(X_INIT))
    descent = descend(objective, SOLVERS[solver](), Start(x), TARGETS[: len(x)], Limits(max_evaluations))
    assert descent.x.isfinite().all()
    return descent


# ----------------------------------------------------------------------------------------------------------- NaN start


def test_nan_at_the_start_of_one_row():
    def forward_model(x, target):
        return torch.where((target[:, :1] > 1.0) & (x.norm(dim=1, keepdim=True) < 0.1), torch.nan, x)

    result = invert(forward_model, given=identity, atol=1e-12)
    assert result.statuses() == [Status.CONVERGED, Status.NONFINITE_START, Status.CONVERGED]
    assert torch.equal(result.x[1], X_INIT)
    assert int(result.num_evaluations[1]) == 1
    assert not result.loss[1].isfinite()  # nothing was found, and nothing else is claimed


# ------------------------------------------------------------------------------------------------------ NaN everywhere


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nothing_finite_anywhere(value):
    result = invert(lambda x: x * 0.0 + x * value, atol=1e-12)
    assert result.statuses() == [Status.NONFINITE_START] * 3
    assert (result.x == X_INIT).all()
    assert not result.success.any()


@pytest.mark.parametrize("max_evaluations", [0, 1])
def test_nothing_finite_anywhere_with_hardly_a_budget(max_evaluations):
    landscape = LearnedLandscape(lambda x: x * torch.nan, X_INIT)
    result = LandscapeInverter(landscape, squares).invert(TARGETS, max_evaluations, allow_unfitted=True)
    assert result.statuses() == [Status.NONFINITE_START] * 3
    assert (result.x == X_INIT).all()


# --------------------------------------------------------------------------------------------------- NaN beyond a wall


def test_nan_beyond_a_wall():
    result = invert(walled, atol=1e-12)
    assert result.statuses() == [Status.CONVERGED, Status.NONFINITE, Status.CONVERGED]
    assert WALL - 1e-3 < float(result.x[1, 0]) <= WALL  # as far as it goes
    assert float(result.loss[1]) == pytest.approx(float(squares(result.x[1:2], TARGETS[1:2])))


@pytest.mark.parametrize("solver", ["L-BFGS", "backtracking"])
def test_a_row_behind_a_wall_changes_no_other(solver):
    def walled_for_one(prediction, target):
        behind = (target[:, 0] > 1.0) & (prediction[:, 0] > WALL)
        return torch.where(behind, torch.nan, squares(prediction, target))

    free, held = minimize(identity, solver, 30), minimize(identity, solver, 30, walled_for_one)
    assert float(held.x[1, 0]) <= WALL < float(free.x[1, 0])
    for row in (0, 2):
        assert torch.allclose(free.x[row], held.x[row], rtol=0.0, atol=1e-12)
        assert free.status[row] == held.status[row]
        assert free.num_evaluations[row] == held.num_evaluations[row]


@pytest.mark.parametrize("solver", ["L-BFGS", "backtracking"])
def test_a_row_that_sees_nothing_finite_ends_after_so_many_shorter_steps(solver):
    start_only = minimize(lambda x: torch.where((x != 0).any(1, keepdim=True), torch.nan, x), solver)
    assert (start_only.status == Status.NONFINITE).all()
    assert (start_only.num_evaluations == 2 + MAX_NONFINITE).all()  # the start, the first step, and the shorter ones
    assert torch.equal(start_only.loss, start_only.history.loss[0])
    assert (start_only.x == 0).all()


@pytest.mark.parametrize("solver", ["L-BFGS", "backtracking"])
def test_something_finite_in_between_starts_the_count_anew(solver):
    calls = itertools.count()  # the start is finite, and so is the last point before the row would be given up
    descent = minimize(lambda x: x * torch.nan if next(calls) % (MAX_NONFINITE + 1) else x, solver, 40)
    assert not (descent.status == Status.NONFINITE).any()
    assert (descent.loss < descent.history.loss[0]).all()


def test_adam_tries_half_the_step_five_times_and_keeps_its_state():
    calls = []

    def counting(x):
        calls.append(x.detach().clone())
        return walled(x)

    descent = minimize(counting, "Adam", 100)
    row = torch.stack([points[1] for points in calls if len(points) == len(TARGETS)])
    beyond = row[:, 0] > WALL
    first = int(beyond.nonzero()[0, 0])
    step = row[first] - row[first - 1]
    assert torch.allclose(row[first + 1], row[first - 1] + 0.5 * step)  # back half-way to the last finite point
    alone = minimize(walled, "Adam", 100, start=X_INIT.expand(1, -1))
    assert torch.equal(alone.x[0], descent.x[0])  # which is none of the other rows' business


def test_torch_optim_passes_a_wall_that_it_would_jump_over():
    """The step of one lr lands beyond the wall, half of it before the solution: without halving the row would end."""
    mapping = LearnedLandscape(identity, X_INIT).plain()
    solver = TorchOptim(mapping, partial(torch.optim.SGD, lr=1.2))
    objective = Objective(lambda x: torch.where(x[:, :1] > 0.21, torch.nan, x), squares, Layout(X_INIT))
    descent = descend(objective, solver, Start(X_INIT.expand(1, -1)), TARGETS[:1], Limits(40))
    assert int(descent.status) in (Status.MAX_EVALUATIONS, Status.CONVERGED)
    assert float(descent.loss) < 1e-6


def test_a_row_that_runs_away_has_diverged():
    mapping = LearnedLandscape(identity, X_INIT).plain()
    solver = TorchOptim(mapping, partial(torch.optim.SGD, lr=3.0))
    objective = Objective(identity, squares, Layout(X_INIT))
    descent = descend(objective, solver, Start(X_INIT.expand(3, -1)), TARGETS, Limits(30))
    assert (descent.status == Status.DIVERGED).all()
    assert torch.equal(descent.loss, descent.history.loss[0])


def test_adam_ends_a_row_behind_a_wall():
    descent = minimize(walled, "Adam")
    assert descent.status.tolist() == [Status.MAX_EVALUATIONS, Status.NONFINITE, Status.MAX_EVALUATIONS]
    assert float(descent.x[1, 0]) <= WALL


# ------------------------------------------------------------------------------------------------------------ constant


def test_a_constant():
    result = invert(lambda x: 0.0 * x + 1.0, atol=1e-12)
    assert result.statuses() == [Status.NO_GRADIENT] * 3
    assert (result.x == X_INIT).all()
    assert (result.num_evaluations == 1).all()


def test_a_constant_that_is_right():
    solved = LandscapeInverter(LearnedLandscape(lambda x: 0.0 * x, X_INIT), squares)
    result = solved.invert(torch.zeros(1, 2, dtype=torch.float64), allow_unfitted=True)
    assert result.statuses() == [Status.CONVERGED]


# ----------------------------------------------------------------------------------------------------- unbounded below


@each_solver
@pytest.mark.parametrize("forward_model", [torch.neg, lambda x: -(x.square())], ids=["line", "parabola"])
def test_unbounded_below(solver, forward_model):
    start = torch.tensor([[0.1, 0.2], [3.0, 4.0]], dtype=torch.float64)
    descent = minimize(forward_model, solver, 30, lambda prediction, target: prediction.sum(1), start)
    assert (descent.loss < descent.history.loss[0] - 1.0).all()
    assert descent.loss.isfinite().all()
    assert (descent.status == Status.MAX_EVALUATIONS).all()


# ------------------------------------------------------------------------------------------------------------ detached


@pytest.mark.parametrize(
    "forward_model", [lambda x: x.detach(), lambda x: torch.ones_like(x), lambda x: torch.tensor(x.tolist())],
    ids=["detach", "ignores x", "through a list"],
)  # fmt: skip
def test_detached(forward_model):
    with pytest.raises(ValueError, match=r"does not depend on x through differentiable operations.*\.detach\(\)"):
        invert(forward_model)


# ------------------------------------------------------------------------------------------------------------- rounded


def test_rounded():
    result = invert(lambda x: (10.0 * x).round() / 10.0, atol=1e-12)
    assert result.statuses() == [Status.NO_GRADIENT] * 3
    assert (result.x == X_INIT).all()
    assert "try another x_init" in result.statuses()[0].advice


def test_rounded_in_one_of_two_parts():
    result = invert(lambda x: torch.stack([x[:, 0], x[:, 1].round()], dim=1), max_evaluations=50, atol=1e-12)
    assert result.statuses() == [Status.NO_GRADIENT] * 3  # the best that can be seen, and not at the tolerance
    assert torch.allclose(result.x[:, 0], TARGETS[:, 0], atol=1e-6)


# ----------------------------------------------------------------------------------------------- a kink at the optimum


@pytest.mark.parametrize("matrix", [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.5], [0.2, 1.0]]])
def test_a_kink_at_the_optimum(matrix):
    A = torch.tensor(matrix, dtype=torch.float64)
    to_the_end = invert(lambda x: x @ A, distances, 600)
    assert set(to_the_end.statuses()) <= {Status.STALLED, Status.CONVERGED}
    assert float(to_the_end.loss.max()) < 1e-12
    tolerated = invert(lambda x: x @ A, distances, 600, atol=1e-6)
    assert tolerated.statuses() == [Status.CONVERGED] * 3
    assert float(tolerated.loss.max()) <= 1e-6
    assert int(tolerated.num_evaluations.max()) < int(to_the_end.num_evaluations.max())


@pytest.mark.parametrize("solver", ["backtracking", "Adam"])
def test_a_kink_at_the_optimum_without_curvature(solver):
    descent = minimize(identity, solver, loss_fn=distances)
    assert set(descent.status.tolist()) <= {Status.CONVERGED, Status.STALLED, Status.MAX_EVALUATIONS}
    assert (descent.loss < 0.2 * descent.history.loss[0]).all()


@each_solver
def test_a_loss_of_minus_infinity_is_no_answer(solver):
    descent = minimize(lambda x: x, solver, 300, lambda p, t: -p.exp().sum(1))
    assert descent.loss.isfinite().all()
    assert not (descent.status == Status.CONVERGED).any()


IN_A_CROWD = {**SOLVERS, "Levenberg-Marquardt": LevenbergMarquardt}


@pytest.mark.parametrize("solver", IN_A_CROWD)
@pytest.mark.parametrize("poisoned_from", ["the start", "later"])
def test_one_poisoned_row_in_256_changes_no_bit_of_the_others(solver, poisoned_from):
    generator = torch.Generator().manual_seed(4)
    starts = torch.randn(256, 2, generator=generator, dtype=torch.float64)
    poison = torch.zeros(256, 1, dtype=torch.float64)

    def forward(x, poison):  # row by row the same arithmetic, however many rows there are
        wrong = (poison > 0) & ((poison > 1) | (x[:, :1] != starts[100, 0]))
        return torch.where(wrong, torch.nan, torch.cat([10.0 * (x[:, 1:] - x[:, :1] ** 2), 1.0 - x[:, :1]], dim=1))

    def run(poison):
        objective = Objective(forward, LeastSquares(lambda p, t: p), Layout(X_INIT), lambda target: target)
        return descend(objective, IN_A_CROWD[solver](), Start(starts), poison, Limits(60))

    well = run(poison)
    poison[100] = 2.0 if poisoned_from == "the start" else 1.0
    ill, others = run(poison), torch.arange(256) != 100
    for name in ("x", "loss", "status", "num_evaluations"):
        assert torch.equal(getattr(well, name)[others], getattr(ill, name)[others]), name
    assert int(ill.status[100]) in (Status.NONFINITE_START, Status.NONFINITE, Status.STALLED)
    assert ill.x[100].isfinite().all()
