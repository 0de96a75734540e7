"""The README's Python runs as it is printed."""

from __future__ import annotations

import doctest
import importlib.util
import pathlib
import re

import pytest
import torch

ROOT = pathlib.Path(__file__).parent.parent
HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "docs/quickstart.md", "docs/asking.md", "docs/optimizer.md", "docs/worth_it.md"),
        *("docs/fitting.md", "docs/diagnostics.md", "docs/saving.md"),
        "docs/lifelong.md",
        pytest.param("docs/logging.md", marks=pytest.mark.skipif(not HAS_TENSORBOARD, reason="needs tensorboard")),
        # Dynamo looks at .grad of what it traces, and hides the warning where warnings are no errors.
        pytest.param("docs/precision.md", marks=pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")),
        "docs/applications/adversarial_defence.md",
    ],
)
def test_python_blocks_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a page may write files
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert blocks, f"{page} shows no Python"
    namespace: dict = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for number, block in enumerate(blocks):
            if ">>>" in block:
                test = doctest.DocTestParser().get_doctest(block, {}, f"{page}:{number}", page, 0)
                test.globs = namespace
                flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
                result = doctest.DocTestRunner(optionflags=flags).run(test, clear_globs=False)
                assert result.failed == 0, capsys.readouterr().out
            else:
                short = re.sub(r"max_seconds=\d+", "num_rounds=20", block)  # the same on every machine
                exec(compile(short, f"{page}:{number}", "exec"), namespace)
