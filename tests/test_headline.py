"""The short table of the front page: what the records say, also where some are missing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from landscape_opt.benchmark.headline import BEGIN, END, between, headline, write_headline
from landscape_opt.benchmark.page import write_page
from landscape_opt.benchmark.records import MethodRecord, UnitRecord, read_all, write
from landscape_opt.benchmark.table import Row

ROOT = Path(__file__).parents[1]
BUDGETS = (0, 1, 10, 100)
AT_START = 8.0
FAST, SLOW = (AT_START, 1e-6, 1e-6, 1e-6), (AT_START, 4.0, 2.0, 1e-3)
TO_LEVEL = f"{10.0 * 10.0 ** (math.log(2.0 / 8e-3) / math.log(2.0 / 1e-3)):.3g}"
"""Evaluations of the slow one to a thousandth of the loss at the start, between 10 and 100."""
NAMES = {"landscape": "landscape", "adam": "Adam", "lbfgs": "L-BFGS", "encoder": "encoder + L-BFGS"}


def unit(problem: str, group: str, losses: tuple[float, ...] = SLOW, seed: int = 0) -> UnitRecord:
    """What a unit of work might have found, with the same losses on every set."""
    row = Row(NAMES[group], BUDGETS, losses, losses, losses)
    sets = {"in distribution": row, "out of distribution": row}
    method = MethodRecord(NAMES[group], 1.0, 10, row, sets, seconds={1: 1.0, 100: 200.0 if group == "landscape" else 100.0})
    start = {name: {"median": AT_START} for name in (*sets, "validation")}
    about = {"hard_because": f"{problem} is hard.", "metric": None, "described_as": {}}
    machine, facts = {"cpu": "a CPU", "threads": 1}, {"dim": 4, "start": start}
    return UnitRecord(problem, seed, group, {}, {"torch": "2"}, machine, facts, about, (method,), 1.0)


def prose(records: list[UnitRecord]) -> str:
    """What is said around the table, as one line."""
    return " ".join(headline(records).split())


def cells(text: str, problem: str) -> list[str]:
    """Of the problem's row."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {problem}"))
    return [cell.strip().replace("\u00a0", " ") for cell in line.strip("|").split("|")]


def test_a_row_shows_the_evaluations_of_both_to_the_rivals_loss():
    records = [unit("mine", "landscape", FAST), unit("mine", "adam")]
    text = headline(records)
    name, dim, first, second, encoder, led = cells(text, "mine")
    assert (name, dim, first) == ("mine", "4", TO_LEVEL + " : 1")
    assert (second, encoder) == ("–", "–")  # nobody of these was run
    assert led == "3 of 3"
    assert "behind" not in text
    assert "Ahead at the others" not in text
    assert "one in the landscape takes 2 times as long" in prose(records)


def test_where_another_method_is_ahead_is_told():
    records = [unit("mine", "landscape"), unit("mine", "adam"), unit("mine", "lbfgs", FAST)]
    text = headline(records)
    _, _, first, second, _, led = cells(text, "mine")
    assert first == f"{TO_LEVEL} : {TO_LEVEL}"
    assert second == f"1 : {TO_LEVEL} **behind**"
    assert led == "0 of 3"
    assert "Marked **behind** is where the landscape needs more." in prose(records)
    assert "Ahead at the others: L-BFGS on mine (at 1, 10, 100)." in prose(records)
    assert "on 1 of 1 problems where targets are out of distribution" in prose(records)
    stuck = headline([unit("mine", "landscape", (AT_START,) * 4), unit("mine", "encoder", FAST)])
    assert cells(stuck, "mine")[4] == "1 : never **behind**"


def test_the_control_is_never_shown_as_a_success():
    records = [unit("frequencies", "landscape", FAST), unit("frequencies", "adam")]
    assert cells(headline(records), "frequencies")[-1] == "3 of 3, see below"
    assert "the control, hard? frequencies is hard." in prose(records)


def test_what_has_not_been_run_is_told_and_breaks_nothing(tmp_path):
    records = [unit("mine", "landscape", FAST, seed) for seed in (0, 1, 2)]
    records += [unit("mine", "encoder"), unit("style", "landscape"), unit("wave", "landscape", FAST), unit("wave", "adam")]
    records += [unit("orphan", "adam")]  # whose landscape is still running
    text = prose(records)
    assert "| style" not in text
    assert "nobody but the landscape has been run there so far: style." in text
    assert "orphan" not in text
    for missing in ("`encoder` on wave", "`adam` on mine", "`gd`, `momentum`, `lbfgs`"):
        assert missing in text
    assert "Seeds of the fit: 3 on mine; 1 on wave, of rivals that train fewer: 1 of `encoder` on mine." in text
    alone = headline([unit("style", "landscape")])
    assert "|" not in alone
    with pytest.raises(ValueError, match="no results of the landscape"):
        headline([unit("mine", "adam")])
    for record in (unit("style", "landscape"), *records):
        write(record, tmp_path / "results")
    page = write_page(tmp_path / "results", tmp_path / "docs").read_text(encoding="utf-8")
    assert page.count("No other method has been run on this problem so far.") == 2  # on both sets of style
    assert "| style: in distribution | 4 | – | – | – | – | – | – | – | – | – | – |" in page


def test_the_readme_beside_the_documentation_gets_the_table_between_its_lines(tmp_path):
    results, docs, readme = tmp_path / "results", tmp_path / "docs", tmp_path / "README.md"
    docs.mkdir()
    for record in (unit("mine", "landscape", FAST), unit("mine", "adam")):
        write(record, results)
    assert [path.name for path in write_headline(results, docs)] == ["headline.md"]
    readme.write_text("# Mine\n", encoding="utf-8")
    assert [path.name for path in write_headline(results, docs)] == ["headline.md"]
    assert readme.read_text(encoding="utf-8") == "# Mine\n"
    readme.write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\n\nThe end\n", encoding="utf-8")
    for _ in range(2):
        assert write_headline(results, docs)[1].samefile(readme)
        table = (docs / "headline.md").read_text(encoding="utf-8")
        assert readme.read_text(encoding="utf-8") == f"# Mine\n\n{BEGIN}\n\n{table}\n{END}\n\nThe end\n"


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{END}", f"{BEGIN}{BEGIN}{END}"])
def test_a_place_that_is_none_is_refused(page):
    with pytest.raises(ValueError, match="the README needs one line"):
        between(page, "table")


def test_records_of_other_settings_are_named(tmp_path):
    other = replace(unit("mine", "adam"), facts={**unit("mine", "adam").facts, "dim": 5})
    with pytest.raises(ValueError, match=r"adam-0\.json; run them again"):
        headline([unit("mine", "landscape"), other])


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="a source distribution has no records")
def test_the_front_page_and_the_readme_say_what_the_records_say():
    """After new records, ``landscape-opt bench --report`` writes both again."""
    said = headline(read_all(ROOT / "benchmarks"))
    assert (ROOT / "docs" / "headline.md").read_text(encoding="utf-8") == said + "\n"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between(readme, said) == readme
