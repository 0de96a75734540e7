"""The adversarial-defence example, in its quick form, and the tables that it prints."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from landscape_opt.applications.defence import Outcome, Robustness
from landscape_opt.applications.defence.report import Row, steps_for, steps_table, table

EXAMPLE = Path(__file__).parent.parent / "examples" / "adversarial_defence.py"


def record(num_steps, clean, crafted, adaptive):
    def rows(count):
        return torch.arange(10) < count

    return Robustness(
        clean=rows(clean),
        crafted=(Outcome("PGD", rows(crafted)),),
        adaptive=(Outcome("BPDA", rows(adaptive)),),
        num_steps=num_steps,
        seconds=0.001,
    )


def test_the_table_holds_every_attack_and_the_mean_over_seeds():
    row = Row("plain", (record(5, 9, 5, 2), record(5, 9, 6, 3)))
    assert row.means == {"clean": 90.0, "PGD": pytest.approx(55.0), "+BPDA": pytest.approx(25.0)}
    lines = table([row]).splitlines()
    assert lines[0] == "| defence | steps | clean | PGD | +BPDA | ms |"
    assert lines[2] == "| plain | 5 | 90.0 | 55.0 | 25.0 ± 7.1 | 1.00 |"
    with pytest.raises(ValueError, match="at least one seed"):
        Row("plain", ())


def test_steps_are_compared_at_plain_reversal_s_best():
    plain = [Row("plain", (record(5, 9, 4, 2),)), Row("plain", (record(10, 9, 6, 3),))]
    landscape = [Row("landscape", (record(1, 9, 5, 1),)), Row("landscape", (record(2, 8, 6, 2),))]
    assert steps_for(60.0, "PGD", landscape) == 2
    assert steps_for(70.0, "PGD", landscape) is None
    lines = steps_table(plain, landscape).splitlines()
    assert lines[3] == "| PGD | 60.0 | 10 | 2 | 5 |"
    assert lines[4] == "| +BPDA | 30.0 | 10 | not reached (20.0) |  |"


@pytest.mark.slow
def test_the_quick_example_prints_its_tables_and_writes_its_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--quick", "--out", str(tmp_path)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    heads = "| defence | steps | clean | FGSM | PGD | CW | ensemble | transfer | other defence | +BPDA | +unrolled |"
    assert printed.count(heads) == 4
    assert printed.count("| landscape | 5 |") == 4
    for name in ("digits", "letters"):
        assert (tmp_path / f"defence_{name}_accuracy.svg").stat().st_size > 1000
        assert (tmp_path / f"defence_{name}_images.png").stat().st_size > 1000


def test_the_user_s_part_of_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 150
