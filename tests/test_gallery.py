"""What every tutorial of the gallery owes its reader: a title, a claim that it asserts, and the same page every time.

The scripts themselves are run by the build of the documentation.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("plot_*.py"))
TITLE = re.compile(r"\A\n?(\S.*)\n(=+)\n\n\S")


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Calls of a function or method by this name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if name in (getattr(call.func, "attr", None), getattr(call.func, "id", None))]


def keywords(tree: ast.AST) -> set[str]:
    """Names of all arguments given by name, anywhere."""
    return {one.arg for one in ast.walk(tree) if isinstance(one, ast.keyword) and one.arg}


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.stem)
def tree(request: pytest.FixtureRequest) -> ast.Module:
    return ast.parse(request.param.read_text(encoding="utf-8"))


def test_there_is_a_gallery():
    assert EXAMPLES / "plot_quickstart.py" in SCRIPTS


def test_it_has_a_title_and_says_what_it_is_about(tree):
    title = TITLE.match(ast.get_docstring(tree, clean=False) or "")
    assert title, "the docstring begins with a title, underlined by =, and a paragraph"
    assert len(title[2]) >= len(title[1])


def test_it_asserts_what_it_claims(tree):
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def test_no_clock_decides_what_it_shows(tree):
    fits = [{one.arg for one in call.keywords} for call in calls(tree, "fit")]
    of_landscapes = [arguments for arguments in fits if "progress" in arguments]  # other things are fitted, too
    assert of_landscapes
    assert all("num_rounds" in arguments for arguments in of_landscapes), "fit(num_rounds=...)"
    assert "max_seconds" not in keywords(tree)


def test_it_leaves_global_randomness_alone(tree):
    assert not calls(tree, "manual_seed") or calls(tree, "Generator"), "torch.Generator().manual_seed(0)"
    bare = [call for call in calls(tree, "manual_seed") if getattr(getattr(call.func, "value", None), "id", "") == "torch"]
    assert not bare, "torch.manual_seed changes what every later page of the gallery draws"
