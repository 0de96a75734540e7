"""Devices: x, θ and what a fit keeps lie in one place, and no other is touched, without a second one to try it on."""

from __future__ import annotations

import pytest
import strategies as given_by
import torch
from laws import assert_same_weights

from landscape_opt import batches

META = torch.device("meta")


def fresh(method: str):
    problem = given_by.case("mlp")
    inverter = given_by.new_inverter(problem.forward_model, problem.x_init, method=method)
    return inverter.fit(problem.targets(64, 1), num_rounds=3, progress=False), problem


def places(inverter) -> set[torch.device]:
    """Of every Tensor that a next round would read, but for targets, moments and generators."""
    landscape = inverter.landscape
    parts = [landscape.layout.row, *landscape.layout.parts.values(), landscape.mapping.spec.x_init]
    parts += [*landscape.mapping.parameters(), *landscape.mapping.buffers()]
    stored = inverter.memory.storage
    parts += [] if stored is None else batches.leaves(stored)
    return {part.device for part in parts} | {landscape.layout.device}


@pytest.mark.parametrize("method", given_by.METHODS)
def test_all_of_it_moves_and_f_stays(method):
    inverter, problem = fresh(method)
    assert places(inverter) == {torch.device("cpu")}
    assert inverter.to(META) is inverter
    assert places(inverter) == {META}
    assert {part.device.type for part in problem.forward_model.parameters()} == {"cpu"}
    kept = inverter.replay.stream.evaluation.x if method == "default" else batches.leaves(inverter.replay.buffer.storage)[0]
    assert kept.device == META


def test_a_landscape_takes_x_along():
    inverter, _ = fresh("default")
    landscape = inverter.landscape
    assert landscape.to(META) is landscape
    assert {landscape.layout.row.device, landscape.layout.x_init.device, landscape.mapping.spec.x_init.device} == {META}
    assert landscape.plain().x_init.device == META


def test_x_keeps_its_dtype_where_that_of_theta_is_changed():
    inverter, problem = fresh("default")
    landscape = inverter.landscape.double()
    assert landscape.layout.x_init.dtype == problem.x_init.dtype
    assert landscape.layout.row.dtype == landscape.mapping.spec.x_init.dtype == torch.float32


@pytest.mark.parametrize("method", given_by.METHODS)
def test_a_fit_goes_on_as_if_it_had_not_been_moved(method):
    (moved, problem), (stayed, _) = fresh(method), fresh(method)
    moved.to("cpu")
    for inverter in (moved, stayed):
        inverter.fit(problem.targets(64, 1), num_rounds=2, progress=False)
    assert_same_weights(moved, stayed)


@pytest.mark.parametrize("method", given_by.METHODS)
def test_no_other_device_is_seeded_for_now_or_for_later(method, monkeypatch):
    def refused(*_):
        raise AssertionError("this seeds devices whose states nobody puts back")

    monkeypatch.setattr(torch, "manual_seed", refused)
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, refused)
    inverter, problem = fresh(method)
    assert inverter.invert(problem.targets(4, 2), 5).loss.isfinite().all()
