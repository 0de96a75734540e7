"""How many rows an update of θ has: by the cost of F, unless it is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from strategies import case, squares

from landscape_opt import CheckpointError, LandscapeInverter, LearnedLandscape
from landscape_opt.mappings import AnchoredMapping
from landscape_opt.mappings.mapping import MappingSpec, PlainMapping
from landscape_opt.replay import Streaming
from landscape_opt.replay.affordable import FEWEST_ROWS, MOST_ROWS, UPDATE_COST, affordable_rows

PROBLEM = case("mlp", torch.float64)
TARGETS = PROBLEM.targets(96, 3)
DEAR = 1e7


def mapping_for(evaluation_cost):
    mapping = PlainMapping()
    mapping.build(MappingSpec(torch.zeros(2), 0, 0, evaluation_cost))
    return mapping


def fresh(**settings):
    landscape = LearnedLandscape(PROBLEM.forward_model, PROBLEM.x_init, AnchoredMapping(width=16))
    return LandscapeInverter(landscape, squares, **settings)


def prepared(evaluation_cost=DEAR, **settings):
    """An inverter that takes F for as expensive as that."""
    inverter = fresh(**settings)
    landscape = inverter.prepare(TARGETS)
    landscape.mapping.spec = replace(landscape.mapping.spec, evaluation_cost=evaluation_cost)
    return inverter


def rows_of(inverter):
    before = inverter.num_evaluations
    inverter.step(TARGETS)
    return (inverter.num_evaluations - before) / inverter.replay.updates_per_round


@pytest.mark.parametrize(("cost", "rows"), [(1e3, 256), (1e6, 256), (2e6, 150), (5e6, 64), (DEAR, 64)])
def test_an_update_has_fewer_rows_where_an_evaluation_is_expensive(cost, rows):
    assert rows_of(prepared(cost)) == rows


def test_the_cost_of_an_update_is_bounded_until_the_rows_are_as_few_as_they_get():
    for cost in torch.logspace(2, 9, 200).tolist():
        rows = affordable_rows(mapping_for(cost))
        assert FEWEST_ROWS <= rows <= MOST_ROWS
        assert rows == FEWEST_ROWS or rows * cost <= UPDATE_COST
        assert rows == MOST_ROWS or (rows + 1) * cost > UPDATE_COST


def test_many_small_operations_spare_no_rows():
    def loop(x):
        for _ in range(9_000):
            x = x + 1e-6
        return x

    def layers(x):
        return (x @ torch.ones(4, 500_000, dtype=x.dtype))[:, :4]

    mappings = []
    for forward_model in (loop, layers):
        landscape = LearnedLandscape(forward_model, torch.zeros(4), AnchoredMapping(width=16))
        with torch.no_grad():
            landscape.build(forward_model, torch.zeros(8, 4), seed=0)
        mappings.append(landscape.mapping)
    assert all(mapping.spec.evaluation_cost > 2e6 for mapping in mappings)
    assert [affordable_rows(mapping) for mapping in mappings] == [256, 64]


@pytest.mark.parametrize("settings", [{"batch_size": 200}, {"replay": Streaming(num_rows=200)}])
def test_what_is_said_holds_whatever_it_costs(settings):
    assert rows_of(prepared(**settings)) == 200


def test_elsewhere_than_on_a_cpu_rows_are_not_spared():
    assert affordable_rows(mapping_for(DEAR)) == FEWEST_ROWS
    assert affordable_rows(mapping_for(DEAR).to("meta")) == MOST_ROWS


def test_a_fit_goes_on_with_the_rows_that_it_had(tmp_path):
    in_one = prepared().fit(TARGETS, num_rounds=4, progress=False)
    prepared().fit(TARGETS, num_rounds=2, progress=False).save(tmp_path / "half")
    gone_on = LandscapeInverter.load(tmp_path / "half", PROBLEM.forward_model, squares)
    assert gone_on.replay.num_rows is None
    gone_on.fit(TARGETS, num_rounds=2, progress=False)
    assert gone_on.num_evaluations == in_one.num_evaluations
    mine, theirs = gone_on.landscape.mapping.state_dict(), in_one.landscape.mapping.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("change", [lambda age: age[:0], lambda age: age[:5], lambda age: age.double(), lambda _: None])
def test_a_stream_whose_parts_do_not_belong_together_is_refused(change):
    inverter = prepared()
    inverter.step(TARGETS)
    state = inverter.state_dict()
    stream = state["replay"]["stream"]
    stream["age"] = change(stream["age"])
    with pytest.raises(CheckpointError, match="nothing was changed"):
        inverter.load_state_dict(state)


def test_a_state_from_before_the_price_of_calls_was_kept_is_read_and_keeps_its_rows():
    inverter, other = prepared(batch_size=200), fresh(batch_size=200)
    inverter.step(TARGETS)
    state = inverter.state_dict()
    del state["mapping"]["spec"]["call_cost"]
    other.load_state_dict(state)
    assert other.landscape.mapping.spec.call_cost == 0.0
    assert rows_of(other) == 200
