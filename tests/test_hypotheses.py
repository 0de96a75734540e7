"""Several answers for every target."""

from __future__ import annotations

import laws
import pytest
import strategies as given_by
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import KINDS, case, fitted, squares

from landscape_opt import LandscapeInverter, LearnedLandscape, Memory, Status
from landscape_opt.hypotheses import Given, LatinHypercube, Remembered, Scattered, distinct

F64 = torch.float64
two_roots = LandscapeInverter(LearnedLandscape(lambda x: x.square(), torch.tensor([0.3], dtype=F64)), squares)
FOURS = torch.full((3, 1), 4.0, dtype=F64)


def invert(count, starts=None, budget=40, **options):
    return two_roots.invert(FOURS, budget, num_hypotheses=count, starts=starts, allow_unfitted=True, **options)


def test_both_roots_are_found_ranked_and_told_apart():
    result = invert(6, LatinHypercube(-3.0, 3.0))
    assert torch.allclose(result.x.abs(), torch.full((3, 1), 2.0, dtype=F64))
    found = result.hypotheses
    assert found.x.shape == (3, 6, 1)
    assert (found.loss.diff(dim=1) >= 0).all()
    assert torch.equal(found.loss[:, 0], result.loss)
    assert torch.equal(found.x[:, 0], result.x)
    ends = {round(float(x)) for x, status in zip(found.x.flatten(), found.status.flatten(), strict=True)
            if status != Status.LEFT_BEHIND}  # fmt: skip
    assert ends == {-2, 2} or (found.num_distinct >= 2).all()
    assert (found.diversity > 0.5).all()
    recomputed = squares(found.x.square().flatten(0, 1), FOURS.repeat_interleave(6, 0)).reshape(3, 6)
    laws.assert_close(found.loss, recomputed, 1e-12, "losses of all")


def test_the_weaker_half_is_given_up_in_every_round():
    result = invert(8, Scattered(2.0), budget=40, target_loss=None)
    spent = result.hypotheses.num_evaluations
    behind = result.hypotheses.status == Status.LEFT_BEHIND
    assert (behind.sum(1) <= 7).all()
    assert ((spent[behind] == 8) | (spent[behind] == 16) | (spent[behind] == 32)).all()
    assert torch.equal(result.num_evaluations, spent.sum(1))
    assert (spent.sum(1) < 8 * 40).all()


@pytest.mark.parametrize("mapping", given_by.MAPPINGS)
@given(kind=given_by.kinds, seed=given_by.target_seeds, count=st.integers(2, 5))
def test_hypotheses_keep_the_laws(mapping, kind, seed, count):
    inverter, y = fitted(kind, F64, mapping, "default"), case(kind, F64).targets(4, seed)
    laws.rows_do_not_mix(lambda batch: inverter.invert(batch, 12, num_hypotheses=count), y)
    one, many = inverter.invert(y, 7, restarts=False), inverter.invert(y, 7, num_hypotheses=count)
    if mapping == "anchored":  # the own start is among them, on its own path
        assert (many.loss <= one.loss * (1 + 1e-9)).all()
    calls = given_by.Counter()
    handle = inverter.landscape.forward_model.register_forward_hook(calls)
    try:
        counted = inverter.invert(y, 12, num_hypotheses=count)
    finally:
        handle.remove()
    assert int(counted.num_evaluations.sum()) <= calls.rows <= int(counted.num_evaluations.sum()) + 4 * count
    pieces = inverter.invert(y, 12, num_hypotheses=count, max_batch_size=2 * count)
    laws.assert_same_answer(pieces, counted, 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_remembered_starts_are_stored_points(kind):
    inverter, y = fitted(kind, F64, "anchored", "default"), case(kind, F64).targets(3, 5)
    found = inverter.invert(y, 0, num_hypotheses=4, starts=Remembered()).hypotheses
    stored = (found.x.flatten(0, 1)[:, None] - inverter.memory.x).norm(dim=2).amin(1).reshape(3, 4)
    assert ((stored < 1e-9).sum(1) >= 3).all()


def test_own_starts_are_where_the_descents_begin():
    x = torch.tensor([[[1.0], [-1.0]]] * 3, dtype=F64)
    assert torch.equal(invert(2, Given(x), budget=0).hypotheses.x, x)
    assert torch.allclose(invert(2, Given(x)).hypotheses.x.sort(1).values, torch.tensor([-2.0, 2.0], dtype=F64)[:, None])


def test_dicts_and_duplicates():
    x_init = {"a": torch.zeros(2), "b": torch.ones(3, 2)}
    inverter = LandscapeInverter(LearnedLandscape(lambda x: x["a"] + x["b"].sum(1), x_init), squares)
    result = inverter.invert(torch.ones(2, 2), 5, num_hypotheses=3, allow_unfitted=True)
    assert result.hypotheses.x["b"].shape == (2, 3, 3, 2)
    points = torch.tensor([[[1.0, 0.0], [1.0, 1e-4], [0.0, 1.0], [1.0, 0.0]]])
    assert distinct(points, 1.0).tolist() == [2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"count": 0}, ValueError, "num_hypotheses must be at least 1, got 0"),
        ({"count": 2, "starts": "memory"}, TypeError, "Starts, got str"),
        ({"count": 2, "starts": Given(torch.zeros(3, 5, 1))}, ValueError, "expected 2 starts for each of 3 targets, got 15"),
        ({"count": 2, "starts": LatinHypercube(0.0, torch.inf)}, ValueError, "finite corners"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        invert(**options)
    with pytest.raises(ValueError, match="spread"):
        Scattered(0.0)
    assert len(Memory()) == 0
