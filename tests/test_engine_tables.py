"""The tables of ``landscape-opt engine``: what they count is what there is, and the formulas hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from landscape_opt.benchmark import engine_gpu, engine_memory, engine_profile
from landscape_opt.benchmark.engine_clock import LOSS, THETA, Clock, F, timed_model
from landscape_opt.benchmark.engine_memory import QUICK, Sizes, fit_bytes, measured
from landscape_opt.benchmark.engine_peak import PeakBytes
from landscape_opt.benchmark.engine_profile import Split, split_of


def test_the_peak_is_of_what_lives_at_one_time():
    outside = torch.zeros(1000)
    with PeakBytes() as count:
        first = torch.zeros(100)
        view = first.view(10, 10)[2:]
        del first  # the storage lives on in its view
        both = view + 1.0
        del view
        outside.mul_(2.0)
        outside[:500].add_(1.0)
        last = both * 2.0
    assert count.peak == 4 * (100 + 80)
    assert count.live == 4 * (80 + 80) == 4 * (both.numel() + last.numel())


def test_the_peak_holds_what_autograd_saves():
    weight = torch.ones(1000, requires_grad=True)
    with PeakBytes() as count:
        value = (weight.exp().sin()).sum()
        saved = count.live
        value.backward()
    assert saved == 4 * (1000 + 1)  # exp is kept for both derivatives, sin is not
    assert count.peak > saved
    assert count.live == 4 * (1000 + 1)  # the gradient, and the value


@pytest.mark.parametrize("sizes", QUICK, ids=["buffer", "stream"])
def test_a_fit_takes_what_the_formula_says(sizes):
    row = measured(sizes)
    assert abs(row.error) <= 0.2
    assert row.formula == fit_bytes(sizes, row.num_weights, row.evaluation)


def test_the_formula_grows_with_what_it_names():
    base = Sizes(num_steps=4, capacity=100, remembered=10)
    least = fit_bytes(base, 1000, 50.0)
    for name in ("dim", "num_y", "theta_width", "theta_rank", "batch_size", "num_steps", "capacity", "remembered"):
        assert fit_bytes(replace(base, **{name: 2 * getattr(base, name)}), 1000, 50.0) > least
    assert fit_bytes(base, 2000, 50.0) - least == 28 * 1000


def test_the_inner_of_two_spans_counts(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 6.0, 10.0, 20.0, 25.0])
    monkeypatch.setattr("landscape_opt.benchmark.engine_clock.processor_seconds", lambda: next(now))
    clock = Clock()
    with clock.of(THETA), clock.of(F):  # θ from 0 to 1 and from 3 to 6, F from 1 to 3
        pass
    clock.end(THETA)  # not running: nothing happens
    with clock.of(LOSS):
        pass
    assert clock.seconds == {THETA: 4.0, F: 2.0, LOSS: 5.0}


def test_forward_and_backward_of_f_are_on_its_clock(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr("landscape_opt.benchmark.engine_clock.processor_seconds", lambda: float(next(ticks)))
    clock, x = Clock(), torch.ones(2, requires_grad=True)
    forward_model = timed_model(torch.sin, clock)
    prediction = forward_model(x)
    forward = clock.seconds[F]
    prediction.sum().backward()
    assert forward > 0
    assert clock.seconds[F] > forward
    assert clock.running == []
    assert torch.allclose(x.grad, torch.cos(torch.ones(2)))
    with torch.no_grad():
        assert torch.equal(forward_model(x), torch.sin(torch.ones(2)))


@pytest.mark.parametrize("published", [False, True])
def test_the_split_of_a_fit_adds_up(published):
    split = split_of(16, batch_size=16, num_rounds=2, published=published)
    parts = (split.evaluation, split.loss, split.theta)
    assert min(parts) > 0
    assert sum(parts) < split.total
    assert 0 < split.outside < 1


def test_the_tables_name_their_rows():
    row = engine_memory.MemoryRow(QUICK[0], 1000, 12.0, 10_000_000, 11_000_000.0)
    assert "+10%" in engine_memory.text([row])
    assert "The formula of a fit is off by 10% at most" in engine_memory.text([row])
    shown = engine_profile.text([Split("Streaming", 0, 256, 0.05, 0.01, 0.02, 0.1), Split("Alternating", 64, 8, 1, 1, 1, 4)])
    assert "one matrix" in shown
    assert "4 × 64" in shown
    assert "20.0%" in shown


def test_the_command_runs_the_tables_that_are_named(monkeypatch, capsys):
    from landscape_opt.benchmark import engine
    from landscape_opt.cli import main

    monkeypatch.setitem(engine.TABLES, "memory", lambda quick, show: f"memory, quick: {quick}\n")
    main(["engine", "memory", "--quick", "--silent", "--threads", "1"])
    assert capsys.readouterr().out == "memory, quick: True\n"
    with pytest.raises(SystemExit, match="there is no table 'speed'; choose from kills, ranks, memory, profile, compiling"):
        main(["engine", "speed"])


@pytest.mark.slow
def test_the_table_of_devices_times_what_there_is():
    lines = engine_gpu.run_gpu(quick=True).splitlines()
    measured = [line.split() for line in lines if line.startswith("network")]
    assert [row[4] for row in measured] == (["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
    for row in measured:
        assert len(row) == 13
        assert all(float(figure) > 0.0 for figure in row[7:])


def test_the_graphs_of_a_gpu_are_not_copied_from_where_there_is_none():
    from landscape_opt.compiled import lasting

    assert lasting(output := torch.zeros(2)) is output
