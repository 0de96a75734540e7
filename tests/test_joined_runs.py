"""Rows that began apart go on together where their method is the same, and nothing of their answers depends on it."""

from __future__ import annotations

import copy

import pytest
import strategies as given_by
import torch
from laws import assert_same_bits

from landscape_opt.descent import Limits, descend
from landscape_opt.layout import Layout
from landscape_opt.mappings import AnchoredMapping, Context, MappingSpec
from landscape_opt.mappings.metric import SharedMetric, WholeMetric
from landscape_opt.objective import Objective
from landscape_opt.solvers import LBFGS, BestOf
from landscape_opt.solvers.restarts import RestartsRun
from landscape_opt.solvers.solver import Start
from landscape_opt.solvers.together import Together


def apart(self):
    """In place of the joining of groups."""


def far_targets(count: int, dim: int):
    """Most of them cannot be met, so that their rows are moved again and again."""
    return 3.0 * torch.randn(count, dim, generator=given_by.seeded(5))


@pytest.fixture
def group_counts(monkeypatch):
    """How many groups there are after every evaluation."""
    counts: list[int] = []
    observe = RestartsRun.observe

    def counted(self, evaluation):
        observe(self, evaluation)
        counts.append(len(self.groups))

    monkeypatch.setattr(RestartsRun, "observe", counted)
    return counts


def asked(inverter):
    return inverter.invert(far_targets(48, given_by.case("mlp").targets(2, 0).shape[1]), 90)


@pytest.mark.parametrize("mapping", ["anchored", "residual"])
def test_restarts_stay_in_few_groups_and_answer_as_if_they_were_apart(mapping, group_counts, monkeypatch):
    inverter = given_by.fitted("mlp", torch.float32, mapping, "default")
    together = asked(inverter)
    few = list(group_counts)
    monkeypatch.setattr(Together, "_join_groups", apart)
    group_counts.clear()
    assert_same_bits(together, asked(inverter))
    if mapping == "anchored":  # another metric is not one of rows that can be put together
        assert sum(few) < 0.7 * sum(group_counts), (few, group_counts)


def test_trials_of_points_join_what_they_lead_to():
    objective = Objective(torch.sinh, given_by.squares, Layout(torch.zeros(3, dtype=torch.float64)))
    points = torch.randn(6, 2, 3, generator=given_by.seeded(1), dtype=torch.float64)
    target = torch.randn(6, 3, generator=given_by.seeded(2), dtype=torch.float64)
    first = torch.arange(6) < 3
    run = Together(BestOf(points[first], LBFGS()).start(Start(points[first, 0])), points[first, 0])
    run.begin(torch.arange(3, 6), LBFGS().start(Start(points[~first, 1])), points[~first, 1])
    x = torch.cat([points[first, 0], points[~first, 1]])
    losses = []
    for _ in range(40):
        evaluation = objective.evaluate(x, target)
        losses.append(evaluation.loss)
        run.observe(evaluation)
        x = run.propose()
    assert len(run.groups) == 1
    assert float(torch.stack(losses).amin(0).max()) < 1e-8
    alone = descend(objective, LBFGS(), Start(points[5:, 1]), target[5:], Limits(40))
    assert torch.allclose(alone.history.loss[:10, 0], torch.stack(losses)[:10, 5])


def test_methods_of_other_settings_stay_apart():
    start, metric = torch.ones(2, 3), (lambda v: 2.0 * v)
    objective = Objective(torch.sinh, given_by.squares, Layout(torch.zeros(3)))
    seen = objective.evaluate(start, torch.zeros(2, 3))
    solvers = [LBFGS(), LBFGS(memory=3), LBFGS(first_step=0.1), LBFGS(metric=metric)]
    runs = [solver.start(Start(start)) for solver in solvers]
    assert not runs[0].join(LBFGS().start(Start(start)))  # neither has begun
    for run in runs:
        run.observe(seen)
    for k, run in enumerate(runs):
        assert not any(run.join(other) for other in runs[k + 1 :])
        assert len(run.propose()) == 2


def test_metrics_of_some_rows_and_of_rows_put_together():
    scales = torch.rand(4, 1, generator=given_by.seeded(0))
    whole, index, v = WholeMetric(lambda v: scales * v, 4), torch.tensor([3, 1]), torch.ones(2, 5)
    assert torch.equal(whole.rows(index)(v), scales[index] * v)
    assert torch.equal(whole.rows(index).rows(torch.tensor([1]))(v[:1]), scales[1:2] * v[:1])
    assert whole.beside(whole) is None
    owner = object()
    one, other = SharedMetric(torch.neg, owner), SharedMetric(torch.neg, owner)
    assert one.beside(other) is one
    assert one.beside(SharedMetric(torch.neg, object())) is None


@pytest.mark.parametrize("mapping", list(given_by.MAPPINGS))
def test_the_metric_of_some_rows_is_that_of_all(mapping):
    inverter = given_by.fitted("mlp", torch.float64, mapping, "default")
    landscape, problem = inverter.landscape, given_by.case("mlp", torch.float64)
    target = problem.targets(7, 3)
    x = landscape.layout.row + 0.1 * torch.randn(7, landscape.layout.dim, generator=given_by.seeded(4), dtype=torch.float64)
    forward_model = copy.deepcopy(problem.forward_model).eval()  # others share the first, with its running statistics
    seen = Objective(forward_model, given_by.squares, landscape.layout).evaluate(x, target)
    theta = landscape.in_use()
    metric = theta.metric(torch.zeros(7, theta.dim_z, dtype=x.dtype), Context(landscape.features(target), None, seen))
    v, index = torch.randn(7, x.shape[1], generator=given_by.seeded(6), dtype=x.dtype), torch.tensor([5, 0, 2])
    assert torch.allclose(metric.rows(index)(v[index]), metric(v)[index], rtol=1e-12)
    joined = metric.rows(index).beside(metric.rows(torch.tensor([1])))
    if mapping == "anchored":
        order = torch.tensor([5, 0, 2, 1])
        assert torch.allclose(joined(v[order]), metric(v)[order], rtol=1e-12)
    else:
        assert joined is None


def test_charts_of_two_mappings_are_not_put_together():
    def metric():
        mapping = AnchoredMapping(width=16)
        mapping.build(MappingSpec(torch.zeros(3), 0, 3))
        objective = Objective(torch.sinh, given_by.squares, Layout(torch.zeros(3)))
        seen = objective.evaluate(torch.ones(2, 3), torch.zeros(2, 3))
        return mapping.metric(torch.zeros(2, 3), Context(None, None, seen))

    assert metric().beside(metric()) is None
