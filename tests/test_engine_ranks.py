"""The table of ``landscape-opt engine ranks``."""

from __future__ import annotations

import pytest

from landscape_opt.benchmark.engine_rank import Case
from landscape_opt.benchmark.engine_ranks import run_ranks


@pytest.mark.slow
def test_ranks_are_compared_and_lost():
    report = run_ranks(2, 10.0, cases=(Case("network", "streaming", "float64"),))
    assert report.comparisons[0].difference < 1e-6
    assert [loss.said.startswith("rank 1 does not answer") for loss in report.losses] == [True, True]
    assert "two ranks" in report.text
