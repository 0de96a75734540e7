"""The Python of these pages runs as it is printed, block after block; what they say of names and tests is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import test_docs

from landscape_opt import Status

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("choose", "concepts", "reliability", "status_codes", "faq", "citing")
HOW_TO = ("solver", "structured", "realtime", "noisy", "nan", "cheap")
NAMED_TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
LINK = re.compile(r"\]\(([\w/]+\.md)(?:#([\w-]+))?\)")


@pytest.mark.parametrize("page", [*PAGES, *(f"howto_{name}" for name in HOW_TO)])
def test_python_blocks_run(page, capsys, tmp_path, monkeypatch):
    test_docs.test_python_blocks_run(f"docs/{page}.md", capsys, tmp_path, monkeypatch)


def test_every_status_has_its_row_with_its_number_in_order():
    page = (DOCS / "status_codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert [(name, int(value)) for name, value, *_ in rows] == [(one.name, int(one)) for one in sorted(Status)]


def test_the_tests_that_hold_a_promise_are_there():
    named = NAMED_TEST.findall((DOCS / "reliability.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, function in named:
        source = (Path(__file__).parent / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", source, re.MULTILINE), f"{file}::{function}"


def test_every_law_of_the_design_is_promised():
    laws = re.findall(r"^(\d)\. \*\*", (DOCS / "design.md").read_text(encoding="utf-8"), re.MULTILINE)
    promised = re.findall(r"^\| (\d)\. ", (DOCS / "reliability.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(set(promised)) == sorted(laws)


@pytest.mark.parametrize("page", [*PAGES, "glossary", *(f"howto_{name}" for name in HOW_TO)])
def test_links_to_other_pages_lead_somewhere(page):
    for target, anchor in LINK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8")):
        text = (DOCS / target).read_text(encoding="utf-8")
        headings = {_anchor(heading) for heading in re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)}
        labels = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
        assert not anchor or anchor in headings | labels, f"{target}#{anchor}"


def _anchor(heading: str) -> str:
    """As MyST makes it of a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")
