"""The benchmark's own arithmetic, on curves that are known, and its commands in their quick mode."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from landscape_opt.benchmark.crowd import run_crowd
from landscape_opt.benchmark.demo import Settings, tuned
from landscape_opt.benchmark.hidden import hidden_sets
from landscape_opt.benchmark.picture import checked_path
from landscape_opt.benchmark.rivals import CHUNK, Curves, curves, first_order, run, second_order
from landscape_opt.benchmark.table import Row, break_even, evaluations_to, level, row, tuned_row, where_we_lose
from landscape_opt.benchmark.tuning import Choice, Statistic, choose, chosen
from landscape_opt.cli import main
from landscape_opt.descent import Limits
from landscape_opt.problems import digits, linear


def curve(name, *steps):
    return Curves(name, torch.tensor(steps))


EARLY = curve("early", [9.0, 9.0, 9.0], [4.0, 4.0, 4.0], [4.0, 4.0, 4.0])
LATE = curve("late", [9.0, 9.0, 9.0], [8.0, 8.0, 8.0], [1.0, 1.0, 1.0])
OFTEN = curve("often", [9.0, 9.0, 9.0], [5.0, 5.0, 5.0], [0.5, 0.5, 90.0])  # the best median, a bad mean


def test_the_strongest_is_chosen_for_every_budget_and_statistic():
    choices = choose([EARLY, LATE, OFTEN], (0, 1, 2))
    assert {one.budget for one in choices} == {1, 2}
    assert chosen(choices, 1, Statistic.MEDIAN) == chosen(choices, 1, Statistic.MEAN) == "early"
    assert chosen(choices, 2, Statistic.MEDIAN) == "often"
    assert chosen(choices, 2, Statistic.MEAN) == "late"


def test_a_tuned_row_takes_the_test_losses_of_what_was_chosen():
    choices = choose([EARLY, LATE, OFTEN], (0, 1, 2))
    tested = {"early": curve("early", [7.0, 7.0, 7.0], [3.0, 3.0, 6.0], [3.0, 3.0, 3.0]),
              "late": curve("late", [7.0, 7.0, 7.0], [6.0, 6.0, 6.0], [2.0, 2.0, 5.0]),
              "often": curve("often", [7.0, 7.0, 7.0], [5.0, 5.0, 5.0], [1.0, 1.5, 50.0])}  # fmt: skip
    assert tuned_row("rival", tested, choices, (0, 1, 2)) == Row("rival", (0, 1, 2), (7.0, 3.0, 1.5), (7.0, 4.0, 3.0))


def test_what_is_read_off_a_table():
    ours = row("ours", curve("ours", [8.0, 8.0], [2.0, 2.0], [1.0, 1.0]), (0, 1, 2))
    rival = Row("rival", (0, 1, 2, 100), (8.0, 8.0, 8.0, 2.0), (8.0, 8.0, 0.5, 0.5))
    assert level(rival) == pytest.approx(2.02)
    assert level(replace(rival, median=(8.0, 8.0, 8.0, 0.0))) == pytest.approx(8e-3)
    assert evaluations_to(2.0, ours) == 1.0
    assert evaluations_to(math.sqrt(2.0), ours) == pytest.approx(math.sqrt(2.0))
    assert evaluations_to(0.5, ours) is None
    lost = where_we_lose(ours, [Row("rival", (0, 1, 2), (1.0, 3.0, 1.0), (1.0, 3.0, 0.5))])
    assert lost == ("mean: rival is better at 2 (1 > 0.5)",)
    assert break_even(60.0, 0.5, 0.2) == pytest.approx(200.0)
    assert break_even(60.0, 0.2, 0.2) is None


def test_tuning_looks_at_the_validation_targets_and_reports_the_test_targets():
    problem = linear(dim=4, condition=30.0)
    problem = replace(problem, validation=problem.validation[:40], test=problem.test[:30])
    rivals = first_order({"GD": (0.1, 0.5), "Adam": (0.1,)})
    found = tuned("first order", rivals, problem, Settings(1.0, 1.0, (0, 1, 5, 20), progress=False))
    for place, budget in enumerate((1, 5, 20), start=1):
        on_validation = {one.name: curves(one, problem, problem.validation, 20).best[budget].median() for one in rivals}
        best = min(on_validation, key=lambda name: float(on_validation[name]))
        assert Choice(budget, Statistic.MEDIAN, best) in found.choices
        rival = next(one for one in rivals if one.name == best)
        assert found.row.median[place] == pytest.approx(
            float(run(rival, problem, problem.test, Limits(budget)).loss.median())
        )


def test_curves_in_chunks_are_the_curves_of_the_whole():
    problem = linear(dim=4, condition=30.0)
    targets, rival = problem.test[: CHUNK + 9], second_order((None,))[0]
    whole = run(rival, problem, targets, Limits(6)).history.best
    assert torch.allclose(curves(rival, problem, targets, 6).best, whole, rtol=1e-4, atol=1e-6)


def test_the_place_of_the_picture_is_checked_before_any_work(tmp_path):
    assert checked_path(tmp_path) == tmp_path / "landscape-demo.png"
    assert checked_path(tmp_path / "new" / "picture.png").parent.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        checked_path(tmp_path / "file" / "picture.png")


@pytest.mark.slow
def test_the_quick_linear_command_prints_both_parts(capsys):
    assert main(["linear", "--quick", "--silent", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    for part in ("over the loss at its own start", "over the loss at x_init", "in the paper's θ(z)", "in X, GD lr"):
        assert part in printed


def test_what_is_hidden_is_what_the_problem_says_and_one_side_of_an_image():
    assert list(hidden_sets(linear(dim=4))) == ["half of the numbers are lost"]
    images = digits()
    sets = hidden_sets(images)
    assert sets["half of the pixels at random"] is images.partly
    assert not sets["the right half"].observed[:, :, 4:].any()
    assert sets["the right half"].observed[:, :, :4].all()
    with pytest.raises(ValueError, match="linear has no partly observed targets"):
        hidden_sets(replace(linear(dim=4), partly=None))


def test_the_quick_hidden_command_prints_every_method(capsys):
    assert main(["hidden", "--quick", "--silent", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    for part in ("landscape, memory and restarts", "landscape alone", "L-BFGS from the plain start", "encoder, then L-BFGS",
                 "half of the pixels at random", "the right half", "Look-ups took"):  # fmt: skip
        assert part in printed


def test_waiting_rows_take_the_places_of_finished_ones():
    staying, leaving, replaced = run_crowd(num_targets=96, at_a_time=16, width=16, num_steps=400).ways
    assert leaving.rows < staying.rows
    assert abs(replaced.rows - leaving.rows) <= 0.05 * leaving.rows  # the same evaluations, but for rounding
    assert replaced.calls < leaving.calls
