"""Landscapes that lack a part: each lacks that part and nothing else, and the report says what the part is worth."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from test_bench import AT_START, record, tiny, until_a_tie

from landscape_opt import LandscapeInverter
from landscape_opt.benchmark import ablation, bench, landscapes
from landscape_opt.benchmark.contestants import ABLATION, groups_named
from landscape_opt.benchmark.entry import Preparation
from landscape_opt.benchmark.figures import Field
from landscape_opt.benchmark.landscapes import (
    AGAIN,
    ALL_ROWS,
    CONDITIONED,
    NO_HAND_OVER,
    NO_MEMORY,
    NO_METRIC,
    NO_PROXIMITY,
    NO_RESTARTS,
    NO_SECOND_CHANCES,
    NO_WAYS_OUT,
    OURS,
    RESIDUAL,
    UNTOLD,
)
from landscape_opt.benchmark.page import write_page
from landscape_opt.benchmark.records import read_all
from landscape_opt.benchmark.summary import Summary, summary
from landscape_opt.cli import main
from landscape_opt.memory import Memory
from landscape_opt.problems import TargetSet
from landscape_opt.solvers import LBFGS, Restarts

IN = "in distribution"


def described(inverter):
    """All that a fit and an inversion are made of."""
    return {
        "mapping": (type(inverter.landscape.mapping), inverter.landscape.mapping.training),
        "objective": (type(inverter.theta_objective), vars(inverter.theta_objective)),
        "replay": (type(inverter.replay), inverter.replay.num_rows, inverter.replay.second_chances),
        "memory": (type(inverter.memory), inverter.memory.capacity, inverter.memory.escapes.ring.capacity),
        "optimizer": (inverter.theta_optimizer.func, inverter.theta_optimizer.keywords, inverter.z_optimizer),
        "rest": (inverter.batch_size, inverter.seed),
    }


def changed(one, other):
    return {name for name, value in one.items() if value != other[name]}


def test_every_group_lacks_one_thing(monkeypatch):
    made, fits = {}, []
    monkeypatch.setattr(LandscapeInverter, "fit", lambda self, *given, **named: fits.append(self) or self)
    monkeypatch.setattr(
        landscapes, "by_inverter",
        lambda name, inverter, **options: made.update({name: (inverter, options)}) or landscapes.Way(name, None),
    )  # fmt: skip
    for group in groups_named(ABLATION[:-1]):
        group.prepare(Preparation(tiny(), seed=3))
    whole = described(made[OURS][0])
    lacks = {name: changed(described(inverter), whole) for name, (inverter, _) in made.items()}
    shared = {
        AGAIN: set(),
        NO_RESTARTS: set(),
        NO_HAND_OVER: set(),
        NO_METRIC: set(),
        NO_MEMORY: {"memory"},
        NO_WAYS_OUT: {"memory"},
    }
    own = {NO_PROXIMITY: {"objective"}, NO_SECOND_CHANCES: {"replay"}, UNTOLD: {"mapping"}, CONDITIONED: {"mapping"}}
    own[RESIDUAL] = {"mapping"}
    assert lacks == {OURS: set(), **shared, **own}
    objective = made[NO_PROXIMITY][0].theta_objective
    assert changed(vars(objective), vars(made[OURS][0].theta_objective)) == {"proximity"}
    assert objective.proximity == 0.0
    assert not made[NO_SECOND_CHANCES][0].replay.second_chances
    assert len(fits) == 2 + len(own)
    assert len({id(made[name][0].landscape) for name in shared}) == 1
    assert {name: set(options) for name, (_, options) in made.items() if options} == {
        NO_RESTARTS: {"restarts"}, NO_HAND_OVER: {"refine"}, NO_METRIC: {"solver"},
    }  # fmt: skip


def test_all_rows_are_compared_where_some_are_spared(monkeypatch):
    fits = []
    monkeypatch.setattr(LandscapeInverter, "fit", lambda self, *given, **named: fits.append(self) or self)
    given = Preparation(tiny(), seed=3)
    assert landscapes.with_all_rows(given) is None
    assert fits == []
    monkeypatch.setattr(landscapes, "affordable_rows", lambda _: 64)
    assert [family.name for family in landscapes.with_all_rows(given).families] == [ALL_ROWS]
    assert changed(described(fits[0]), described(landscapes._inverter(given))) == {"replay"}
    assert fits[0].replay.num_rows == 256


class Watch:
    """What inversions do: their results, the starts of L-BFGS and of restarts, and look-ups."""

    def __init__(self, monkeypatch):
        self.results, self.solvers, self.begun, self.restarted, self.looked_up = [], [], [], 0, 0
        invert, start, restart, nearest = LandscapeInverter.invert, LBFGS.start, Restarts.start, Memory.nearest

        def watched_invert(inverter, *given, **named):
            self.results.append(invert(inverter, *given, **named))
            return self.results[-1]

        def watched_start(solver, at):
            self.solvers.append(solver)
            return start(solver, at)

        def watched_restart(solver, at):
            run = restart(solver, at)
            begin = run.begin
            run.begin = lambda rows, one, x=None: (self.begun.append((run.rows[rows], x)), begin(rows, one, x))[1]
            self.restarted += 1
            return run

        def watched_nearest(memory, *given, **named):
            self.looked_up += 1
            return nearest(memory, *given, **named)

        monkeypatch.setattr(LandscapeInverter, "invert", watched_invert)
        monkeypatch.setattr(LBFGS, "start", watched_start)
        monkeypatch.setattr(Restarts, "start", watched_restart)
        monkeypatch.setattr(Memory, "nearest", watched_nearest)

    @property
    def in_x(self):
        return bool(self.results[-1].history.in_x.any())

    @property
    def inherits(self):
        return {(solver.metric is not None, len(solver.pairs) > 0) for solver in self.solvers}


@contextmanager
def counted_rounds(num_rounds=40):
    """Fits end after so many rounds: no test depends on how busy the machine is."""
    fit = LandscapeInverter.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            LandscapeInverter, "fit", lambda self, some, **_: fit(self, some, num_rounds=num_rounds, progress=False)
        )
        yield


@pytest.fixture(scope="module")
def shared_fit():
    with counted_rounds():
        return {family.name: family.ways[0] for family in landscapes.parts(Preparation(tiny())).families}


@pytest.mark.parametrize("name", [AGAIN, NO_MEMORY, NO_RESTARTS, NO_HAND_OVER, NO_METRIC])
def test_what_is_left_out_is_not_there(shared_fit, monkeypatch, name):
    watch = Watch(monkeypatch)
    problem = tiny()
    shared_fit[name].invert(TargetSet(targets=problem.test), 60)
    assert watch.in_x == (name != NO_HAND_OVER)
    assert watch.inherits == {NO_HAND_OVER: set(), NO_METRIC: {(False, False)}}.get(name, {(True, True)})
    assert watch.restarted == (name != NO_RESTARTS)
    assert (watch.looked_up > 0) == (name not in (NO_MEMORY, NO_RESTARTS))
    if name == NO_MEMORY:
        rows = torch.cat([rows for rows, _ in watch.begun])
        x = torch.cat([x for _, x in watch.begun])
        first = [int((rows == row).nonzero()[0]) for row in rows.unique()]
        assert (x[first] == problem.x_init).all()
        assert len(first) > 0


def test_all_rows_share_their_start(shared_fit):
    curves = [shared_fit[name].invert(TargetSet(targets=tiny().test), 3).best[0] for name in shared_fit]
    assert all(torch.equal(one, curves[0]) for one in curves)


def test_the_untold_mapping_begins_alike_for_all_targets(monkeypatch):
    results = Watch(monkeypatch).results
    problem = tiny()
    with counted_rounds(5):
        entries = [prepare(Preparation(problem)) for prepare in (landscapes.default_landscape, landscapes.untold)]
    for entry in entries:
        entry.families[0].ways[0].invert(TargetSet(targets=problem.test), 0)
    told, untold = (result.x for result in results)
    assert not torch.allclose(told, told[:1].expand_as(told))
    assert torch.equal(untold, untold[:1].expand_as(untold))
    assert not torch.equal(untold[0], problem.x_init)


def methods(**losses):
    """Records by name, underscores for spaces."""
    return {name.replace("_", " "): record(name.replace("_", " "), values) for name, values in losses.items()}


def toy(name, **losses):
    field = Field(methods(landscape=(9.0, 1.0, 1.0, 1.0), **losses), AT_START, (IN,))
    return Summary(name, {0: field}, {}, 4, parts=Summary(name, {0: field}, {}, 4))


def test_the_table_says_what_a_part_is_worth_and_where_it_does_harm():
    one = toy("one", fitted_again=(9.0, 1.0, 1.0, 1.0), without_proximity=(9.0, 9.0, 9.0, 1.0),
              without_memory=(9.0, 4.0, 1.0, 0.5))  # fmt: skip
    other = toy("other", without_proximity=(9.0, 9.0, 9.0, 1.0))
    assert ablation.sections([Summary("none", {}, {}, 4)]) == ()
    about, over, first, second = ablation.sections([one, other])
    assert "chance" in about
    lines = {line.split(" | ")[0].strip("| "): line for line in over.splitlines() if line.startswith("|")}
    assert lines["without proximity"] == "| without proximity | 4.98 | 4.98 |"  # five against one, on both; a tie is enough
    assert lines["without memory"] == "| without memory | 1.99 (1) | 1.99 (1) |"
    assert "without hand-over" not in lines
    assert "| without memory | 0.5 / 0.5 |" in first
    assert "* in distribution, median: without memory is better at 5 (1 > 0.5)" in first
    assert "without proximity is better" not in first
    assert "* nowhere" in second


def test_what_is_better_without_a_part_is_below_one():
    parts = toy("one", slow=(9.0, 9.0, 1.0, 0.5), quick=(9.0, 0.5, 0.5, 0.5)).parts
    times = until_a_tie(2, 5, before=1.0, after=0.5)  # evaluations of the slow one, against one
    assert ablation.worth(parts, ablation.Part("quick", "", whole="slow"), IN, 1e-3) == pytest.approx(1.0 / times)
    assert ablation.worth(parts, ablation.Part("slow", "", whole="quick"), IN, 1e-3) == pytest.approx(times)


@pytest.mark.slow
def test_the_report_shows_the_parts_and_no_rival_is_gained_by_them(tmp_path):
    results, docs = tmp_path / "results", tmp_path / "docs"
    problem = tiny("linear", unfamiliar=None)
    asked = {"budgets": (0, 1, 5), "num_validation": 12, "num_test": 12, "quick": True, "out": results}
    bench(problem, 0.1, (0,), only=("landscape", "adam"), **asked)
    assert "What each part is worth" not in write_page(results, docs).read_text(encoding="utf-8")
    before = summary(read_all(results))
    assert before.parts is None
    report = bench(problem, 0.1, (0,), only=ABLATION[:-1], **asked)
    assert "Each part left out in turn" in report.text
    after = summary(read_all(results))
    for some in after.sets:
        assert [row.name for row in after.rows(some)] == [row.name for row in before.rows(some)]
        assert after.honest_lines(some) == before.honest_lines(some)
        assert after.figures(some)[0].dominated == before.figures(some)[0].dominated
        assert {row.name for row in after.parts.single_rows(some)} >= {AGAIN, NO_MEMORY, UNTOLD, RESIDUAL, CONDITIONED}
    page = write_page(results, docs).read_text(encoding="utf-8")
    for said in ("## What each part is worth", "### linear: each part left out in turn"):
        assert page.count(said) == 1
    there = [part.label for part in ablation.PARTS[:-1] if part.method != ALL_ROWS]  # F is cheap: no rows are spared
    for label in ("landscape", *there):
        assert f"\n| {label} | " in page


def test_the_command_knows_the_ablation_by_one_name(tmp_path, capsys):
    command = ["bench", "linear", "--quick", "--seconds", "0.1", "--seeds", "0", "1", "--threads", "1"]
    some = ["--only", "ablation", "--once", "ablation", "--max-minutes", "1e-6", "--out", str(tmp_path)]
    assert main([*command, *some]) == 0
    printed = capsys.readouterr().out
    assert "linear, seed 0, landscape" in printed
    assert "Not done: " + ", ".join(f"linear {name} (seed 0)" for name in ABLATION[1:]) + "." in printed
