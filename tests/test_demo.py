"""The demo in its quick mode, as a user starts it."""

import pytest

from landscape_opt.cli import main


@pytest.mark.slow
def test_the_quick_demo_prints_its_table_and_writes_its_picture(tmp_path, capsys):
    picture = tmp_path / "demo.png"
    main(["demo", "--quick", "--silent", "--threads", "1", "--out", str(picture)])
    printed = capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
    for row in ("landscape", "published algorithm", "GD, momentum, Adam", "L-BFGS", "Break-even", "Wall time"):
        assert row in printed
