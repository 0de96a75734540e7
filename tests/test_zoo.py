"""Classic problems with known minima: are they stated rightly, and do the solvers do on them what SciPy does?"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from landscape_opt import Status
from landscape_opt.benchmark.one_by_one import run_scipy, run_torch
from landscape_opt.benchmark.zoo import run_solver, solvers, time_lbfgs
from landscape_opt.cli import main
from landscape_opt.descent import Limits, descend
from landscape_opt.layout import Layout
from landscape_opt.objective import Objective
from landscape_opt.problems.zoo import classic, classic_names, zoo
from landscape_opt.solvers import LBFGS, Backtracking, Start

NAMES = classic_names()
NUM_STARTS = 8
FIRST_ORDER = [name for name in solvers(classic("rosenbrock")) if name != "L-BFGS"]
# ‖r‖² at the standard start and at the lowest minimum, as the literature states them.
PUBLISHED = {
    "rosenbrock": (24.2, 0.0),
    "rosenbrock 10-D": (121.0, 0.0),
    "freudenstein-roth": (400.5, 0.0),
    "brown badly scaled": (999998000003.0, 0.0),
    "beale": (14.203125, 0.0),
    "helical valley": (2500.0, 0.0),
    "bard": (41.6817, 8.21487e-3),
    "box 3-D": (1031.1538, 0.0),
    "powell singular": (215.0, 0.0),
    "wood": (19192.0, 0.0),
    "kowalik-osborne": (5.31317e-3, 3.07505e-4),
    "brown-dennis": (7926693.34, 85822.2),
    "himmelblau": (170.0, 0.0),
}
each_problem = pytest.mark.parametrize("name", NAMES)


def run(problem, solver, max_evaluations, factor=1.0):
    objective = Objective(problem.residuals, lambda p, y: factor * problem.loss_fn(p, y), Layout(problem.starts[0]))
    return descend(objective, solver, Start(problem.starts), problem.targets, Limits(max_evaluations))


# ------------------------------------------------------------------------------------------------------------ problems


@each_problem
def test_the_loss_at_the_stated_minima_is_the_stated_loss(name):
    problem = classic(name)
    x = problem.minima.clone().requires_grad_(True)
    loss = problem.loss(x)
    assert len(problem.minimal_losses) == len(problem.minima)
    assert problem.minimal_losses[0] == min(problem.minimal_losses)
    stated = torch.tensor(problem.minimal_losses, dtype=torch.float64)
    assert torch.allclose(loss.detach(), stated, rtol=1e-12, atol=1e-24)
    (slope,) = torch.autograd.grad(loss.sum(), x)
    (at_start,) = torch.autograd.grad(problem.loss(leaf := problem.starts[:1].clone().requires_grad_(True)).sum(), leaf)
    assert float(slope.norm(dim=1).max()) <= 1e-8 * max(1.0, float(at_start.norm()))
    nearby = problem.minima + 1e-3 * torch.randn(50, *x.shape, generator=torch.Generator().manual_seed(0)).double()
    assert (problem.loss(nearby.flatten(0, 1)).reshape(50, -1) >= loss.detach() * (1.0 - 1e-12)).all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_formulas_give_the_published_values(name):
    problem = classic(name, num_starts=1)
    at_start, at_minimum = PUBLISHED[name]
    assert 2.0 * float(problem.loss(problem.starts)) == pytest.approx(at_start, rel=2e-6)
    assert 2.0 * problem.minimal_losses[0] == pytest.approx(at_minimum, rel=2e-6)


def test_the_other_minimum_of_freudenstein_and_roth_is_the_published_one():
    assert 2.0 * classic("freudenstein-roth").minimal_losses[1] == pytest.approx(48.9842, rel=2e-6)


def test_every_problem_draws_its_own_starts():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    problems = zoo(num_starts=5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert len({problem.name for problem in problems}) == len(problems) == len(NAMES)
    for problem in problems:
        alone, other = classic(problem.name, 5, 3), classic(problem.name, 5, 4)
        assert torch.equal(problem.starts, alone.starts)
        assert torch.equal(problem.starts[0], other.starts[0])
        assert not torch.equal(problem.starts[1:], other.starts[1:])
        assert problem.starts.unique(dim=0).shape == problem.starts.shape
        assert problem.source
    assert classic("wood", 2, dtype=torch.float32).starts.dtype == torch.float32


def test_what_is_no_problem():
    with pytest.raises(ValueError, match="no classic problem 'banana'; choose from rosenbrock"):
        classic("banana")
    with pytest.raises(ValueError, match="num_starts must be at least 1, got 0"):
        classic("wood", 0)


# ------------------------------------------------------------------------------------------------------------- solvers


@each_problem
def test_batched_lbfgs_solves_what_scipy_solves(name):
    problem = classic(name, NUM_STARTS)
    scipy, ours = run_scipy(problem, 600), run_solver(problem, "L-BFGS", LBFGS(), 600)
    assert scipy.solved.any()
    allowed = (3.0 * scipy.evaluations + 50.0).clamp_max(600.0)
    lost = scipy.solved & ~(ours.evaluations <= allowed)
    assert not lost.any(), (
        f"rows {lost.nonzero()[:, 0].tolist()}: {ours.evaluations[lost]} against {scipy.evaluations[lost]}"
    )
    assert ours.descent.loss.isfinite().all()
    assert not (ours.descent.status == Status.NONFINITE).any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@each_problem
def test_batched_lbfgs_solves_what_scipy_solves_from_afar(name, seed):
    problem = classic(name, 16, seed)
    far = replace(problem, starts=problem.starts[0] + 3.0 * (problem.starts - problem.starts[0]))
    scipy, ours = run_scipy(far, 600), run_solver(far, "L-BFGS", LBFGS(), 600)
    lost = scipy.solved & ~(ours.evaluations <= (3.0 * scipy.evaluations + 50.0).clamp_max(600.0))
    assert not lost.any()


@pytest.mark.parametrize("solver", FIRST_ORDER)
@each_problem
def test_first_order_methods_keep_the_best_and_report_it(name, solver):
    problem = classic(name, NUM_STARTS)
    descent = run_solver(problem, solver, solvers(problem)[solver], 120).descent
    assert torch.equal(descent.loss, problem.loss(descent.x))
    assert (descent.loss < descent.history.loss[0]).all()
    assert (descent.history.best.diff(dim=0) <= 0).all()
    assert not (descent.status == Status.NONFINITE).any()


@pytest.mark.parametrize("solver", FIRST_ORDER)
@pytest.mark.parametrize("name", ["quadratic 1e1", "himmelblau"])
def test_first_order_methods_solve_what_is_well_conditioned(name, solver):
    problem = classic(name, NUM_STARTS)
    assert run_solver(problem, solver, solvers(problem)[solver], 600).solved.all()


def test_lbfgs_leaves_a_plateau_by_longer_steps():
    problem = classic("plateau", 16, seed=1)  # five of these rows took hundreds of evaluations without expansion
    assert float(run_solver(problem, "L-BFGS", LBFGS(), 120).evaluations.max()) < 120


def test_lbfgs_spends_one_evaluation_on_a_step_that_will_do():
    x = torch.full((2, 3), 4.0, dtype=torch.float64)
    objective = Objective(lambda x: x, lambda x, y: 0.5 * (x - y).square().sum(1), Layout(x[0]))
    solver = LBFGS(metric=lambda v: 0.5 * v)  # half of Newton's step: every first trial point meets both conditions
    run = solver.start(Start(x))
    for step in range(6):
        run.observe(objective.evaluate(x, torch.zeros_like(x)))
        assert torch.equal(run.at.x, x), f"the trial point of step {step} was not accepted"
        x = run.propose()


# -------------------------------------------------------------------------------------------------------- backtracking


@pytest.mark.parametrize("solver", [LBFGS, Backtracking])
@each_problem
def test_rows_do_not_meet(name, solver):
    problem = classic(name, 4)
    together = run(problem, solver(), 12)
    for row in range(4):
        alone = run(replace(problem, starts=problem.starts[row : row + 1]), solver(), 12)
        assert torch.allclose(together.x[row], alone.x[0], rtol=1e-8, atol=1e-10)
        assert together.status[row] == alone.status[0]


@pytest.mark.parametrize("solver", [LBFGS, Backtracking])
@pytest.mark.parametrize("power", [-20])
@each_problem
def test_the_unit_of_the_loss_changes_no_digit(name, power, solver):
    problem = classic(name, 4)
    one, other = run(problem, solver(), 25), run(problem, solver(), 25, 2.0**power)
    assert torch.equal(one.x, other.x)
    assert torch.equal(2.0**power * one.history.loss, other.history.loss)


@pytest.mark.parametrize("solver", [LBFGS, Backtracking])
def test_a_larger_budget_goes_on_where_a_smaller_one_ended(solver):
    problem = classic("wood", 4)
    longest = run(problem, solver(), 30)
    for budget in (0, 1, 2, 7, 19):
        assert torch.equal(run(problem, solver(), budget).loss, longest.history.best[budget])


def test_the_first_step_of_backtracking_has_the_length_asked_for():
    problem = classic("wood", 4)
    objective = Objective(problem.residuals, problem.loss_fn, Layout(problem.starts[0]))
    for length in (1.0, 1e-3):
        descent = Backtracking(length).start(Start(problem.starts))
        descent.observe(objective.evaluate(problem.starts, problem.targets))
        moved = (descent.propose() - problem.starts).norm(dim=1)
        assert torch.allclose(moved, torch.full_like(moved, length))
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="first_step must be positive"):
            Backtracking(wrong)


# ------------------------------------------------------------------------------------------------------------- command


def test_one_at_a_time_and_all_at_once_solve_the_same():
    problem = classic("rosenbrock 10-D", 3)
    assert run_torch(problem, 300).solved.all()
    assert run_scipy(problem, 300, target_loss=1e-8).solved.all()
    seconds = time_lbfgs(problem, 300)
    assert list(seconds) == ["L-BFGS", "SciPy L-BFGS-B", "torch.optim.LBFGS"]


def test_the_quick_zoo_command_prints_every_problem(capsys):
    assert main(["zoo", "--quick", "--silent", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    for part in (*NAMES, "SciPy L-BFGS-B", "SciPy LM", "torch.optim.LBFGS", "Wall time of 4 starts"):
        assert part in printed
