"""Rows that are caught, rather than slow, start elsewhere sooner; what rows of a fit end with tells which is which."""

from __future__ import annotations

import math

import pytest
import strategies as given_by
import torch
from strategies import squares

from landscape_opt import LandscapeInverter, LearnedLandscape, Memory
from landscape_opt.descent import Limits, descend
from landscape_opt.layout import Layout
from landscape_opt.look_up import UnrankedPoints
from landscape_opt.mappings import AnchoredMapping, MappingSpec
from landscape_opt.objective import Objective
from landscape_opt.replay import Alternating
from landscape_opt.solvers import Restarts, TorchOptim
from landscape_opt.solvers.restarts import AT_ALL, AT_THE_CAUGHT
from landscape_opt.solvers.solver import Start

LEFT = torch.tensor([[-0.8]])


def two_minima(x):
    """About 0.63 at x = 0.96, and 0.03 at x = -1.04."""
    return (x.square() - 1.0).square() + 0.3 * (x + 1.1)


def points_tried(attained: float, start: float, slow: bool = False):
    """x of all evaluations of a descent that knows a point in the lower minimum, (T,)."""
    objective = Objective(two_minima, lambda prediction, y: prediction[:, 0], Layout(torch.ones(1)))
    memory = Memory()
    memory.add(LEFT, two_minima(LEFT))
    descending = TorchOptim(
        LearnedLandscape(two_minima, torch.ones(1)).plain(), lambda z: torch.optim.SGD(z, lr=1e-3 if slow else 0.1)
    )
    solver = Restarts(descending, descending, UnrankedPoints(memory, level=1.0, attained=attained))
    seen: list[float] = []
    descend(
        objective, solver, Start(torch.tensor([[start]])), torch.zeros(1, 1), Limits(40),
        lambda visit: seen.append(float(visit.evaluation.x)),
    )  # fmt: skip
    return torch.tensor(seen)


def test_a_caught_row_goes_on_elsewhere_after_fewer_evaluations():
    known, unknown = points_tried(attained=1e-3, start=1.0), points_tried(attained=math.inf, start=1.0)
    left_at, left_late_at = (int((x < 0).nonzero()[0]) for x in (known, unknown))
    assert left_at < left_late_at
    assert left_at % AT_THE_CAUGHT.every == 1  # the evaluation after a look
    assert left_late_at % AT_ALL.every == 1
    assert torch.equal(known[:left_at], unknown[:left_at])


def test_a_row_no_higher_than_those_of_the_fit_is_slow_and_stays():
    high, as_in_the_fit = points_tried(1e-3, 1.4, slow=True), points_tried(1.0, 1.4, slow=True)
    assert bool((high < 0).any())
    assert bool((as_in_the_fit > 0).all())


def test_what_a_quarter_ended_below_is_kept():
    mapping = AnchoredMapping()
    mapping.build(MappingSpec(torch.zeros(2), 0, 0))
    assert mapping.attained.isinf()
    mapping.attain(torch.tensor([]))
    mapping.attain(torch.tensor([torch.nan, torch.inf]))
    assert mapping.attained.isinf()  # nothing is known of these
    mapping.attain(torch.tensor([4.0, 1.0, 2.0, 3.0, 5.0, torch.nan]))
    assert float(mapping.attained) == 2.0
    for _ in range(500):
        mapping.attain(torch.full((8,), 0.02))
    assert float(mapping.attained) == pytest.approx(0.02, rel=1e-2)
    for _ in range(1000):
        mapping.attain(torch.zeros(8))
    assert float(mapping.attained) == pytest.approx(1e-7, rel=1e-2)  # of L₀ = 1: no matter how far below


@pytest.mark.parametrize("replay", [None, Alternating(num_steps=4, updates_per_round=4, batch_size=32)])
def test_a_fit_keeps_it_and_a_file_holds_it(replay, tmp_path):
    y = torch.sinh(torch.randn(256, 2, generator=given_by.seeded(0)))
    inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, replay=replay)
    inverter.fit(y, num_rounds=6, progress=False)
    attained = inverter.landscape.mapping.attained
    assert 0.0 < float(attained) < float(inverter.landscape.mapping.loss)
    inverter.save(tmp_path / "sinh")
    again = LandscapeInverter.load(tmp_path / "sinh", torch.sinh, squares)
    assert torch.equal(again.landscape.mapping.attained, attained)


def test_a_file_from_before_says_nothing_of_it():
    y = torch.sinh(torch.randn(256, 2, generator=given_by.seeded(0)))
    inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares)
    inverter.fit(y, num_rounds=2, progress=False)
    state = inverter.state_dict()
    del state["mapping"]["weights"]["attained"]
    inverter.load_state_dict(state)
    assert inverter.landscape.mapping.attained.isinf()
    assert bool(inverter.invert(y[:4], 5).loss.isfinite().all())
