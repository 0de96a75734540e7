"""The GAN inversion example in its quick mode, as a user starts it."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "gan_inversion.py"


@pytest.mark.slow
def test_the_quick_example_prints_its_tables_and_writes_its_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--quick", "--out", str(tmp_path)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    for name in ("in distribution", "partly observed", "out of distribution", "8x8 pixels", "grey", "pivotal tuning"):
        assert f"| {name} |" in printed
    for way in ("Adam in W", "encoder + refine", "ReStyle", "landscape in W", "then pivotal tuning"):
        assert way in printed
    for name in ("in", "partly", "out", "8x8", "grey", "edits"):
        assert (tmp_path / f"gan_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_example_is_short():
    """A reader can lift it: user code on top of the library."""
    assert len(EXAMPLE.read_text().splitlines()) < 150
