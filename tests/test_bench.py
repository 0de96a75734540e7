"""The benchmark: figures against arithmetic by hand, honest counting, and a campaign that can be stopped and resumed."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from landscape_opt import LeastSquares
from landscape_opt.benchmark import bench, registry
from landscape_opt.benchmark.affine import AffineMapping
from landscape_opt.benchmark.best_of import best_of
from landscape_opt.benchmark.campaign import QUICK, Campaign, units_of
from landscape_opt.benchmark.contestants import groups_named
from landscape_opt.benchmark.figures import Field, ahead, ratio, seconds_after, stuck
from landscape_opt.benchmark.grids import Family, Ladder, scale_at
from landscape_opt.benchmark.library import Library
from landscape_opt.benchmark.records import MethodRecord, read, read_all, write
from landscape_opt.benchmark.rivals import Curves, Rival, least_squares
from landscape_opt.benchmark.sets import first, hidden
from landscape_opt.benchmark.table import Row
from landscape_opt.benchmark.tuner import Tuner
from landscape_opt.benchmark.unrolled import LearnedOptimizer, Training
from landscape_opt.benchmark.ways import Way, in_x, opened
from landscape_opt.cli import main
from landscape_opt.problems import Metric, Problem, TargetSet, linear
from landscape_opt.solvers import LevenbergMarquardt

AT_START = {"in distribution": 9.0, "validation": 9.0}


def until_a_tie(begin, end, before, after):
    """Evaluations until a median that falls from ``before`` at ``begin`` to ``after`` at ``end`` is within 1 % of that."""
    return begin * (end / begin) ** (math.log(before / (1.01 * after)) / math.log(before / after))


def residuals(prediction, target):
    return prediction - target


def tiny(name="tiny", **changes):
    """x ↦ (x + sin 2x, products of neighbours), of 4 numbers, with every set of targets and a metric."""

    def forward(x):
        return torch.cat([x + (2.0 * x).sin(), x * x.roll(1, 1)], dim=1)

    truth = torch.randn(400, 4, generator=torch.Generator().manual_seed(7))
    targets = forward(truth)
    seen = torch.rand(50, 8, generator=torch.Generator().manual_seed(8)) < 0.7
    problem = Problem(
        name=name,
        forward_model=forward,
        loss_fn=LeastSquares(residuals),
        x_init=torch.full((4,), 0.1),
        train=targets[:256],
        validation=targets[256:320],
        test=targets[320:370],
        hard_because="A sine has many minima.",
        partly=TargetSet(targets=targets[320:370], observed=seen, described_as="three tenths hidden"),
        unfamiliar=TargetSet(targets=forward(1.5 * truth[370:]), described_as="x half as large again"),
        metric=Metric(
            name="largest residual", unit="", of=lambda x, prediction, target: (prediction - target).abs().amax(1)
        ),
    )
    return replace(problem, **changes)


def record(name, losses, on_validation=None, budgets=(0, 1, 2, 5), mean=None, seconds=None, fit_seconds=0.0):
    row = Row(name, budgets, losses, mean or losses, losses)
    validation = row if on_validation is None else Row(name, budgets, on_validation, on_validation, on_validation)
    return MethodRecord(name, fit_seconds, 0, validation, {"in distribution": row}, seconds=seconds or {1: 1.0, 5: 5.0})


# --- figures


def test_a_ratio_is_interpolated_between_budgets_and_its_level_has_a_floor():
    budgets = (0, 1, 10, 100)
    rival = Row("rival", budgets, (8.0, 4.0, 2.0, 1e-3), (8.0,) * 4)
    ours = Row("ours", budgets, (8.0, 2.0, 1e-6, 1e-6), (8.0,) * 4)
    found = ratio(ours, rival, 1e-2, at_start=100.0)  # the floor is 1, above the rival's median at 100
    assert found.wanted == 1.0
    assert found.reaches_floor
    assert found.theirs == pytest.approx(10.0 * 10.0 ** (math.log(2.0) / math.log(2e3)))
    assert found.mine == pytest.approx(10.0 ** (math.log(2.0) / math.log(2e6)))
    deep = ratio(ours, rival, 1e-8, at_start=100.0)
    assert (deep.wanted, deep.reaches_floor) == (pytest.approx(1.01e-3), False)  # a tie with the rival's median at 100
    assert deep.theirs == pytest.approx(until_a_tie(10, 100, before=2.0, after=1e-3))
    never = ratio(rival, ours, 1e-8, at_start=100.0)  # their median at 100, 1e-6, is never ours
    assert never.value == 0.0


def test_an_answer_before_any_evaluation_counts_as_one():
    row = Row("row", (0, 1, 100), (1e-9, 1e-9, 1e-9), (1.0,) * 3)
    assert ratio(row, row, 1e-3, at_start=1.0).value == 1.0


def test_stuck_and_ahead_are_read_at_their_budgets():
    budgets = (0, 5, 20, 100, 500)
    ours = Row("ours", budgets, (9.0, 3.0, 1.0, 0.5, 0.2), (9.0, 8.0, 7.0, 3.0, 2.0))
    rival = Row("rival", budgets, (9.0, 6.0, 4.0, 2.0, 1.0), (9.0, 9.0, 8.0, 6.0, 5.0))
    assert stuck(ours, rival) == 0.5
    assert ahead(ours, rival) == {"20 against 500": True, "5 against 100": False}


def test_dominance_is_against_everyone_and_ties_are_no_loss():
    ours = record("landscape", (9.0, 5.0, 1.001, 2e-10), mean=(9.0, 5.0, 5.0, 5.0))
    early = record("early", (9.0, 4.0, 4.0, 4.0), mean=(9.0, 9.0, 9.0, 9.0))
    late = record("late", (9.0, 9.0, 1.0, 1e-11), mean=(9.0, 9.0, 9.0, 9.0))
    field = Field({one.name: one for one in (ours, early, late)}, AT_START, ("in distribution",))
    assert field.dominated("in distribution") == (2, 5)  # 1.001 against 1 is a tie, and below 9e-10 all are solved


def test_the_best_of_several_rivals_is_chosen_on_validation_targets():
    adam = record("Adam", (9.0, 4.0, 3.0, 2.0), on_validation=(9.0, 1.0, 5.0, 5.0))
    gd = record("GD", (9.0, 3.0, 2.0, 1.0), on_validation=(9.0, 2.0, 4.0, 4.0))
    field = Field({"Adam": adam, "GD": gd}, AT_START, ("in distribution",))
    best = field.best(("GD", "Adam", "momentum"), "best", "in distribution")
    assert best.median == best.mean == (9.0, 4.0, 2.0, 1.0)
    assert field.best(("LM",), "none", "in distribution") is None


def test_among_solved_rivals_the_mean_decides():
    steady, lucky = Row("steady", (0, 1), (9.0, 1e-12), (9.0, 0.1)), Row("lucky", (0, 1), (9.0, 1e-14), (9.0, 3.0))
    records = {
        row.name: MethodRecord(row.name, 0.0, 0, row, {"in distribution": replace(row, p90=row.mean)})
        for row in (lucky, steady)
    }
    best = Field(records, AT_START, ("in distribution",)).best(("lucky", "steady"), "best", "in distribution")
    assert best.median == (9.0, 1e-12)


def test_break_even_and_wall_time_follow_from_seconds_and_evaluations():
    ours = record("landscape", (8.0, 1.0, 1.0, 1.0), seconds={1: 0.5, 5: 1.5}, fit_seconds=60.0)
    rivals = [record(name, (8.0, 8.0, 8.0, 1.0), seconds={1: 1.0, 5: 5.0}) for name in ("GD", "L-BFGS", "encoder + Adam")]
    field = Field({one.name: one for one in (ours, *rivals)}, AT_START, ("in distribution",))
    figures = field.figures("in distribution")
    theirs = until_a_tie(2, 5, before=8.0, after=1.0)  # a second each, against half a second for one of ours
    assert figures.ratios["S1"].value == pytest.approx(theirs)
    assert figures.break_even["S1"] == pytest.approx(60.0 / (theirs - 0.5))
    assert figures.wall["S3"] == pytest.approx(theirs / 0.5)
    assert figures.per_evaluation == pytest.approx(1.5 / 5.0)
    assert seconds_after(ours, 3.0) == pytest.approx(1.0)
    assert seconds_after(ours, 9.0) == pytest.approx(2.5)
    noisy = record("LM", (8.0, 8.0, 8.0, 8.0), seconds={1: 1.0, 5: 0.9})
    assert seconds_after(noisy, 100.0) == pytest.approx(1.0)


def test_the_wall_time_of_a_rival_is_that_of_the_one_that_gets_there():
    ours = record("landscape", (8.0, 1.0, 1.0, 1.0), seconds={1: 1.0, 5: 5.0})
    idle = record("LM", (8.0, 8.0, 8.0, 8.0), seconds={1: 0.1, 5: 0.1})  # it cannot afford a Jacobian
    busy = record("L-BFGS", (8.0, 4.0, 2.0, 1.0), seconds={1: 2.0, 5: 10.0})
    field = Field({one.name: one for one in (ours, idle, busy)}, AT_START, ("in distribution",))
    assert field.figures("in distribution").wall["S2"] == pytest.approx(2.0 * until_a_tie(2, 5, before=2.0, after=1.0))


# --- tuning


def test_tuning_climbs_to_the_best_rung_and_runs_few_to_the_end():
    run = []

    def way(rung):
        return Way(str(rung), None)

    def curves_of(ways, length):
        run.extend((one.name, length) for one in ways)
        return [Curves(one.name, torch.tensor([[1.0 + abs(int(one.name) - 7)]]).expand(length + 1, 5)) for one in ways]

    tuned = Tuner(Family("family", ladders=(Ladder(way, (0, 2, 4)),)), (0, 1, 50, 500), curves_of).run()
    assert {one.name for one in tuned.choices} == {"7"}
    assert sorted(name for name, length in run if length == 500) == ["6", "7", "8"]
    assert tuned.at(20).name == "7"


def test_units_do_not_depend_on_the_scale_of_the_loss_and_of_x():
    problem = linear(dim=6, condition=10.0)
    louder = replace(problem, loss_fn=lambda prediction, target: 1000.0 * problem.loss_fn(prediction, target))
    wider = replace(problem, forward_model=lambda x: problem.forward_model(0.1 * x))
    scale, loud, wide = scale_at(problem), scale_at(louder), scale_at(wider)
    assert loud.step == pytest.approx(scale.step / 1000.0, rel=1e-4)
    assert loud.move == pytest.approx(scale.move, rel=1e-4)
    assert wide.move == pytest.approx(10.0 * scale.move, rel=1e-4)


# --- honest counting


@pytest.mark.parametrize("count", [1, 4])
def test_best_of_k_counts_the_evaluations_of_all_hypotheses(count):
    problem = tiny()
    some, most = first(TargetSet(targets=problem.test), 6), 30
    seen = best_of("seen", problem, count, 0.5, 0.1).invert(some, most).best
    longer = best_of("longer", problem, count, 0.5, 0.1).invert(some, 2 * most).best
    assert torch.equal(seen, longer[: most + 1])  # a larger budget goes on from a smaller one
    one_by_one = _by_hand(problem, some, count, most)
    assert torch.allclose(seen, one_by_one, rtol=1e-4, atol=1e-7)


def _by_hand(problem, some, count, most):
    """The losses of all points in the order of their evaluation, then the lowest so far."""
    losses = {row: [] for row in range(len(some.targets))}

    def watched(prediction, target):
        loss = LeastSquares(residuals)(prediction, target)
        if loss.requires_grad:
            for row, value in zip(target, loss.detach(), strict=True):
                losses[next(k for k in losses if torch.equal(some.targets[k], row))].append(float(value))
        return loss

    best_of("watched", replace(problem, loss_fn=watched), count, 0.5, 0.1).invert(some, most)
    best = torch.tensor([(one + [math.inf] * most)[: most + 1] for one in losses.values()]).T
    return best.cummin(0).values


def test_levenberg_marquardt_is_charged_for_its_jacobians():
    problem, most = tiny(), 40
    some = first(TargetSet(targets=problem.test), 8)
    way = in_x(least_squares((1e-3,))[0], problem)
    curve = way.invert(some, most).best
    for budget in (0, 1, 4, 6, 11, 25):
        assert torch.allclose(way.invert(some, budget).best[-1], curve[budget])
    with opened(problem, some) as (objective, target):
        x = objective.layout.start(8)
        start = objective.read(x, target).loss
        assert torch.equal(curve[4], start)  # an evaluation and a Jacobian of four columns come before the first step
        evaluation, jacobian = objective.evaluate(x, target), objective.jacobian(x, target)
        run = LevenbergMarquardt().start(type("Begun", (), {"x": x})())
        run.observe(evaluation)
        run.take(jacobian)
        after = objective.read(run.propose(), target).loss
    assert objective.num_evaluations == 8 * 5
    assert torch.allclose(curve[5], torch.minimum(start, after), rtol=1e-4)


def test_enough_is_enough_and_changes_nothing_above_it():
    problem = tiny()
    some, way = TargetSet(targets=problem.test), in_x(least_squares()[0], problem)
    whole, ended = way.invert(some, 60).best, way.invert(some, 60, 1e-6).best
    assert torch.allclose(whole.clamp_min(1e-6), ended.clamp_min(1e-6), rtol=1e-4)


def test_hidden_elements_cannot_be_seen():
    problem = tiny()
    given = hidden(problem.partly)
    assert torch.equal(given.isnan(), ~problem.partly.observed)
    unseen = torch.where(problem.partly.observed, problem.partly.targets, 1e3)
    library = Library(problem).fit(0.3)
    for way in (in_x(least_squares()[0], problem), in_x(least_squares()[0], problem, library)):
        answers = [way.invert(replace(problem.partly, targets=one), 9).x for one in (problem.partly.targets, unseen)]
        assert torch.equal(*answers)


# --- rivals


@pytest.mark.slow
def test_the_learned_optimizer_learns(monkeypatch):
    problem = linear(dim=8, condition=100.0)
    some = TargetSet(targets=problem.validation)
    ticks = itertools.count()  # a clock that counts updates: no test depends on how busy the machine is
    monkeypatch.setattr("landscape_opt.benchmark.unrolled.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    losses = []
    for num_updates in (1, 400):
        network = Training(problem).run(num_updates)
        rival = Rival("unrolled", "unrolled", partial(lambda trained, landscape: LearnedOptimizer(trained), network))
        losses.append(in_x(rival, problem).invert(some, 5).best[5].median())
    assert losses[1] < 0.5 * losses[0]


def test_the_affine_landscape_is_plain_descent_at_birth():
    problem = linear(dim=4, condition=10.0)
    mapping = AffineMapping()
    landscape = problem.landscape(mapping)
    landscape.build(problem.forward_model, problem.train, seed=0)
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(landscape.x(z, problem.test[:5]), problem.x_init + z)
    assert torch.allclose(mapping.metric(z, None)(z), z)


# --- campaigns


@pytest.mark.slow
def test_what_is_there_is_not_run_again(tmp_path):
    lines = []
    asked = {"only": ("landscape", "gd", "lm"), "quick": True, "out": tmp_path, "show": lines.append}

    def again(seeds=(0, 1), seconds=0.2):
        return bench(tiny(), seconds, seeds, **asked)

    report = again()
    assert report.num_run == 4  # what does not train is run for one seed
    assert len(lines) == 5
    assert again().num_run == 0
    assert again(seeds=(0, 1, 2)).num_run == 1
    assert again(seconds=0.3).num_run == 2  # other seconds: those that train
    asked["once"] = ("landscape",)
    assert again(seeds=(0, 5), seconds=0.3).num_run == 0
    other = tiny(test=tiny().test[:30])
    assert bench(other, 0.3, (0,), only=("landscape", "gd"), quick=True, out=tmp_path).num_run == 2  # another problem
    assert not [*tmp_path.glob("**/*.unfinished"), *tmp_path.glob("**/*.tmp")]


def test_a_campaign_stops_after_a_unit_and_says_what_remains(tmp_path):
    names = ("landscape", "gd", "lbfgs")
    remaining = []
    for _ in names:
        report = bench(tiny(), 0.2, (0,), only=names, quick=True, out=tmp_path, max_minutes=1e-6)
        assert report.num_run == 1
        remaining.append(report.remaining)
    assert remaining == [(("tiny", 0, "gd"), ("tiny", 0, "lbfgs")), (("tiny", 0, "lbfgs"),), ()]


@pytest.mark.slow
def test_a_problem_whose_targets_say_more_than_y_goes_through_all_methods():
    generator = torch.Generator().manual_seed(3)
    gains = 0.5 + torch.rand(200, 1, generator=generator)
    targets = {"gain": gains, "y": (gains * torch.randn(200, 3, generator=generator)).sinh()}
    train, validation, test = ({name: part[some] for name, part in targets.items()} for some in
                               (slice(100), slice(100, 140), slice(140, 200)))  # fmt: skip
    problem = Problem(
        name="gains",
        forward_model=lambda x, gain: (gain * x).sinh(),
        given=lambda target: target["gain"],
        loss_fn=lambda prediction, target: (prediction - target["y"]).square().sum(1),
        x_init=torch.full((3,), 0.2),
        train=train,
        validation=validation,
        test=test,
        unfamiliar=TargetSet(
            targets=test, extra_terms=(lambda x, prediction: (x.sum(1) - 1.0).square(),), described_as="one more term"
        ),
        hard_because="Every target has a gain of its own.",
    )
    rivals = ("restarts", "encoder", "unrolled", "nearest", "affine", "published", "untrained")
    only = ("landscape", *rivals, "conditioned", "parts")
    summary = bench(problem, 0.1, (0,), only=only, quick=True).summaries["gains"]
    rows = {row.name: row for one in (summary, summary.parts) for row in one.single_rows("out of distribution")}
    assert {"nearest + L-BFGS", "unrolled", "θ(z; y)", "without memory", "best of K", "encoder + Adam"} <= rows.keys()
    assert all(row.median[-1] <= row.median[0] for row in rows.values())


def test_what_is_not_for_a_problem_is_said_and_recorded(tmp_path):
    lines = []
    problem = tiny(loss_fn=lambda prediction, target: (prediction - target).abs().sum(1))
    report = bench(problem, only=("lm",), quick=True, out=tmp_path, show=lines.append)
    assert lines[-1] == "tiny, seed 0, lm: not for this problem"
    assert report.records[0].methods == ()
    assert bench(problem, only=("lm",), quick=True, out=tmp_path).num_run == 0


def test_records_come_back_as_they_were_written(tmp_path):
    campaign = Campaign("tiny", tiny(), QUICK, tmp_path)
    (unit,) = units_of(groups_named(("lm",)), (3,))
    made = campaign.run([unit]).records[0]
    found = read(tmp_path / made.place)
    assert found.seed == 0
    assert found.versions["torch"] == torch.__version__
    method = found.methods[0]
    assert set(method.sets) == {"in distribution", "partly observed", "out of distribution"}
    assert method.sets["partly observed"].median == pytest.approx(made.methods[0].sets["partly observed"].median, rel=1e-4)
    assert method.metric["in distribution"][20] < 1.0
    infinite = replace(
        found, methods=(replace(method, validation=Row("LM", (0, 1), (1.0, math.inf), (1.0, 2.0), (3.0, 4.0))),)
    )
    assert read(write(infinite, tmp_path)) == infinite
    (tmp_path / made.place).write_text(json.dumps({"format": 0}))
    with pytest.raises(ValueError, match="delete it"):
        read_all(tmp_path)


def test_names_are_checked_at_the_door(tmp_path):
    with pytest.raises(ValueError, match="choose from landscape, gd"):
        bench(tiny(), only=("newton",))
    with pytest.raises(ValueError, match="choose from linear, digits"):
        bench("lienar")
    with pytest.raises(ValueError, match="ascend from 0"):
        bench(tiny(), budgets=(1, 2))
    with pytest.raises(SystemExit, match="name a problem"):
        main(["bench"])
    assert "linear" in registry.available()


def test_the_command_runs_everyone_and_the_report_is_a_page(tmp_path, capsys):
    results, docs = tmp_path / "results", tmp_path / "docs"
    command = ["bench", "linear", "--quick", "--seconds", "0.2", "--seeds", "0", "--threads", "1", "--out", str(results)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for part in ("linear, seed 0, unrolled", "linear, seed 0, lm: ", "S1: ", "S3deep: ", "stuck: ", "dominance: ",
                 "encoder, refined by the best", "published θ(z)", "break-even", "Where another is better"):  # fmt: skip
        assert part in printed
    bench(tiny(), 0.2, (0,), only=("landscape", "adam", "lbfgs", "encoder"), quick=True, out=results)
    assert main(["bench", "--report", "--threads", "1", "--out", str(results), "--docs", str(docs)]) == 0
    page = (docs / "benchmarks.md").read_text(encoding="utf-8")
    for part in ("| linear: in distribution | 32 |", "three tenths hidden", "largest residual", "images/bench-tiny.svg"):
        assert part in page
    assert (docs / "images" / "bench-linear.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert sum(path.stat().st_size for path in results.glob("**/*.json")) < 100_000
