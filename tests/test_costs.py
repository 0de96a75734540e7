"""What a fit and an evaluation cost: the arithmetic, the quick command, and a compiled F as a guest."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from test_bench import until_a_tie

from landscape_opt import LandscapeInverter
from landscape_opt.benchmark import compiling, cost_records, fit_costs, turns
from landscape_opt.benchmark.cost_text import paying_text
from landscape_opt.benchmark.costs import PICTURE, QUICK, least_count, run_costs, with_targets
from landscape_opt.benchmark.decoder import decoder
from landscape_opt.benchmark.fit_costs import cost_of, fit_in_turns
from landscape_opt.benchmark.paying import paid_after
from landscape_opt.benchmark.records import MethodRecord, UnitRecord, write
from landscape_opt.benchmark.table import Row
from landscape_opt.benchmark.turns import enough_calls, in_turns
from landscape_opt.cli import main
from landscape_opt.problems import panda

# Dynamo looks at .grad of what it is given, which torch warns of; it hides the warning, but not from "error".
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(scope="module")
def fits():
    return fit_in_turns([decoder(4), decoder(8)], num_rounds=8)


def test_jobs_take_turns():
    called = []
    jobs = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    taken = in_turns(jobs, repeats=3, least=0.0)
    assert set(taken) == {"a", "b"}
    assert called[-6:] == ["a", "b", "a", "b", "a", "b"]


def test_a_short_job_is_repeated_and_a_long_one_is_not(monkeypatch):
    for seconds, calls in ((1e-5, 100), (1.0, 1)):
        monkeypatch.setattr(turns, "seconds_of", lambda _job, seconds=seconds: seconds)
        assert enough_calls(lambda: None, least=1e-3) == calls


def test_a_decoder_is_as_hard_in_every_dimension():
    after = []
    for dim in (8, 64):
        problem = decoder(dim)
        plain = LandscapeInverter(problem.landscape(), problem.loss_fn)
        best = plain.invert(problem.test[:64], 5, allow_unfitted=True).history.best
        after.append(float(best[5].median() / best[0].median()))
    assert 0.3 < after[0] / after[1] < 3.0  # within what the figures of a fit differ by for other reasons


def test_more_targets_are_the_same_targets_and_others():
    few, many = with_targets(100), with_targets(5000)
    assert torch.equal(few.train, panda().train[:100])
    assert torch.equal(many.train[:100], few.train)
    assert len(many.train.unique(dim=0)) == 5000
    assert torch.equal(many.test, few.test)


def test_fits_that_take_turns_are_the_fits_alone(fits):
    alone = fit_in_turns([decoder(8)], num_rounds=8)[0]
    target = alone.problem.test[:8]
    assert torch.equal(alone.inverter.invert(target, 5).x, fits[1].inverter.invert(target, 5).x)
    assert len(alone.evaluation_seconds) == 8


def test_what_a_fit_is_worth_is_read_off_its_inversions(fits):
    fit = fits[1]
    cost = cost_of(fit, num_test=64)
    some = fit.problem.test[:64]
    at_start = float(fit.problem.loss_fn(fit.problem.forward_model(torch.zeros(64, 8)), some).median())
    best = fit.inverter.invert(some, 5).history.best
    assert cost.losses[5] == pytest.approx(float(best[5].median()) / at_start, rel=1e-3)
    assert cost.losses[0] == pytest.approx(float(best[0].median()) / at_start, rel=1e-3)
    assert cost.rival_losses[0] == pytest.approx(1.0)
    assert cost.losses[5] < cost.losses[0] < 1.0
    assert cost.num_updates == 8 * 16
    assert cost.num_evaluations == fit.inverter.num_evaluations
    assert cost.megabytes == sum(w.numel() for w in fit.inverter.landscape.mapping.parameters()) * 4e-6
    assert cost.paid_after >= fit.inverter.num_evaluations / 100  # L-BFGS takes at most a hundred


def test_a_fit_that_does_not_get_to_the_level_is_never_paid(fits, monkeypatch):
    monkeypatch.setattr(fit_costs, "level", lambda _rival: 0.0)
    assert cost_of(fits[0], num_test=8, most=5).paid_after is None


# --- break-even, read from records


def record(name, losses, fit_evaluations=0, fit_seconds=0.0, seconds=1e-3):
    row = Row(name, (0, 1, 10, 100), losses, losses, losses)
    sets = {"in distribution": row}
    return MethodRecord(name, fit_seconds, fit_evaluations, row, sets, seconds={1: seconds, 100: 100 * seconds})


def write_records(folder, groups):
    start = {"median": 8.0, "mean": 8.0}
    facts = {"dim": 7, "start": {"in distribution": start, "validation": start}}
    about = {"hard_because": "", "metric": None, "described_as": {}, "seconds_of_an_evaluation": 2e-6}
    for group, methods in groups.items():
        write(UnitRecord("panda", 0, group, {}, {}, {}, facts, about, tuple(methods), 1.0), folder)


def test_break_even_is_read_from_the_records(tmp_path):
    falling, slow = (8.0, 1e-3, 1e-3, 1e-3), (8.0, 4.0, 2.0, 8e-3)
    groups = {
        "landscape": [record("landscape", falling, fit_evaluations=10_000, fit_seconds=9.9)],
        "adam": [record("Adam", slow)],
        "encoder": [record("encoder + Adam", slow, fit_evaluations=12_000, fit_seconds=9.9)],
    }
    write_records(tmp_path, groups)
    first_order, encoder = paid_after(tmp_path)
    assert (first_order.problem, first_order.dim, first_order.rival) == ("panda", 7, "first order in X")
    theirs = until_a_tie(10, 100, before=2.0, after=8e-3)
    assert (first_order.mine.median, first_order.theirs.median) == (1.0, pytest.approx(theirs))
    assert first_order.by_evaluations.median == pytest.approx(10_000 / (theirs - 1))
    assert first_order.by_clock.median == pytest.approx(9.9 / ((theirs - 1) * 1e-3))
    assert (encoder.by_evaluations.median, encoder.by_clock.median) == (0.0, 0.0)  # its training was as dear
    assert least_count((first_order, encoder), ()) == pytest.approx(9.9 / ((theirs - 1) * 1e-3))
    shown = paying_text((first_order, encoder), "benchmarks")
    assert "at once" in shown
    assert "never" not in shown


def test_where_a_rival_is_sooner_there_a_fit_is_never_paid(tmp_path):
    ours = record("landscape", (8.0, 7.0, 6.0, 5.0), fit_evaluations=10)
    write_records(tmp_path, {"landscape": [ours], "adam": [record("Adam", (8.0, 4.0, 2.0, 1.0))]})
    (found,) = paid_after(tmp_path)
    assert (found.mine.median, found.by_evaluations.median, found.by_clock.median) == (math.inf, math.inf, math.inf)
    assert "on none" in paying_text((found,), "benchmarks")


def test_without_records_the_page_says_how_to_make_them(tmp_path):
    assert paid_after(tmp_path) == ()
    assert "landscape-opt bench NAME --out here" in paying_text((), "here")


# --- compiling


def test_without_a_compiler_the_reason_is_said_and_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no C++ compiler" in compiling.obstacle("inductor")
    found = compiling.evaluation_costs(panda(), (1,), num_rounds=1, backend=None)
    assert set(found.first_calls) == set(found.costs[0].alone) == set(found.costs[0].inverting) == {compiling.EAGER}


def test_the_folder_of_what_is_compiled_is_the_users_again(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "theirs")
    with compiling.empty_cache():
        assert compiling.os.environ["TORCHINDUCTOR_CACHE_DIR"] != "theirs"
    assert compiling.os.environ["TORCHINDUCTOR_CACHE_DIR"] == "theirs"


def test_a_compiled_model_inverts_as_the_one_that_was_fitted(fits):
    graphs, calls = [], []

    def backend(graph, _inputs):
        graphs.append(graph)
        return lambda *inputs: (calls.append(inputs[0]), graph.forward(*inputs))[1]

    torch.compiler.reset()
    fitted, problem = fits[1].inverter, fits[1].problem
    again = compiling.again(problem, fitted, torch.compile(problem.forward_model, backend=backend))
    weights = copy.deepcopy(problem.forward_model.state_dict())
    for _ in range(4):  # every call has a copy of F of its own, which shares what was compiled
        found, expected = again.invert(problem.test[:32], 10), fitted.invert(problem.test[:32], 10)
        again.invert(problem.test[:1], 10)
    assert len(calls) == 4 * 2 * 11  # ten evaluations and the reading of the last point
    assert len(graphs) < 8  # from then on torch would go on without compiling
    assert torch.allclose(found.loss, expected.loss, rtol=1e-3, atol=1e-6)
    assert all(torch.equal(weights[name], weight) for name, weight in problem.forward_model.state_dict().items())


@pytest.mark.slow
def test_the_quick_command_prints_and_writes_the_page_and_keeps_what_it_measured(tmp_path, capsys):
    docs, results = tmp_path / "docs", tmp_path / "results"
    command = ["costs", "--quick", "--silent", "--threads", "1", "--out", str(results), "--docs", str(docs)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    written = (docs / "costs.md").read_text(encoding="utf-8")
    assert written in printed
    for part in (
        "F is dear",
        "landscape-opt bench NAME",
        "update, ms",
        "targets",
        "invert, F compiled",
        "The first calls took",
    ):
        assert part in written
    drawn = (docs / "images" / "costs.svg").read_text(encoding="utf-8")
    assert "dimension of x" in drawn
    assert "targets fitted on" in drawn
    again = run_costs(results, None, QUICK)  # measures nothing: the seconds are those of before
    assert again.measured == cost_records.read(results)
    assert again.text == written.replace(f"\n\n![what a fit costs and what it is worth]({PICTURE})", "")


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / cost_records.NAME).write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="delete it"):
        cost_records.read(tmp_path)
