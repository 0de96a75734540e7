"""What the front page of the documentation shows of code runs, and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import test_docs
import torch

PAGE = Path(__file__).parents[1] / "docs" / "index.md"


def block(language: str) -> str:
    """The page's only block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return found


def side(diff: str, sign: str) -> str:
    """The program before (-) or after (+) a change."""
    return "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in {" ", sign})


def test_the_twelve_lines_are_twelve_and_run(capsys, tmp_path, monkeypatch):
    assert len([line for line in block("python").splitlines() if line]) == 12
    test_docs.test_python_blocks_run("docs/index.md", capsys, tmp_path, monkeypatch)


def test_the_loop_runs_before_and_after_the_change_and_ends_lower():
    diff = block("diff")
    changed = [line for line in diff.splitlines() if line[0] in "+-" and " import " not in line]
    assert [line[:13] for line in changed] == ["-optimizer = ", "+optimizer = "]
    namespace: dict = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(block("python").replace("max_seconds=20", "num_rounds=40, progress=False"), namespace)
        ended = {}
        for sign in "-+":
            exec(side(diff, sign), namespace)
            x, targets = namespace["x"].detach(), namespace["targets"][:8]
            ended[sign] = float(namespace["loss_fn"](namespace["forward_model"](x), targets).mean())
    assert ended["+"] < ended["-"] / 3
    assert namespace["result"].loss.median() < 1e-6


def test_every_picture_of_the_page_is_there_and_has_a_text():
    pictures = re.findall(r"!\[([^]]*)\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert pictures
    for text, path in pictures:
        assert (PAGE.parent / path).exists()
        assert len(text) > 80
