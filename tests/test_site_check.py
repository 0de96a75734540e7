"""The checks of the documentation find what they are made to find, on pages of a few lines."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import test_docs

DOCS = Path(__file__).parents[1] / "docs"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


site_check, command_check = script("site_check"), script("command_check")

PAGE = """<!doctype html>
<html lang="en"><head><title>A page</title><meta name="viewport" content="width=device-width">{head}</head>
<body><h1 id="top">A page</h1>{body}</body></html>"""


@pytest.fixture
def site(tmp_path):
    def write(body="", head="", **others):
        (tmp_path / "picture.png").write_bytes(b"")
        (tmp_path / "index.html").write_text(PAGE.format(body=body, head=head), encoding="utf-8")
        for name, text in others.items():
            (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def rules(site):
    return [(one.page, one.rule) for one in site_check.findings(site)]


def test_a_page_on_which_all_is_well(site):
    other = PAGE.format(head="", body='<h2>Part</h2><h3>Smaller</h3><h2>Next</h2><a href="index.html#top">back</a>')
    body = (
        '<a href="other.html">next</a> <a href="#top">up</a> <a href="https://example.org/x#y">elsewhere</a>'
        '<a href="mailto:a@example.org">mail</a> <img src="picture.png" alt="A curve that falls.">'
        '<img src="data:image/png;base64,AAAA" alt="A dot."> <form action="other.html"><input></form>'
    )
    assert rules(site(body, '<link rel="canonical" href="https://example.org">', other=other)) == []


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ('<a href="gone.html">x</a>', "gone.html: no such file"),
        ('<a href="#gone">x</a>', "#gone: no such anchor"),
        ('<a href="index.html#gone">x</a>', "index.html#gone: no such anchor"),
        ('<a href="folder/">x</a>', "folder/: no such file"),
        ('<img src="gone.png" alt="A curve.">', "gone.png: no such file"),
        ('<script src="gone.js"></script>', "gone.js: no such file"),
    ],
)
def test_a_link_or_a_file_that_is_not_there(site, body, what):
    assert [(one.rule, one.what) for one in site_check.findings(site(body))] == [("link", what)]


@pytest.mark.parametrize(
    "fetched",
    [
        '<script src="https://cdn.example.org/a.js"></script>',
        '<link rel="stylesheet" href="//cdn.example.org/a.css">',
        '<link rel="preconnect" href="https://fonts.example.org">',
        '<img src="https://example.org/badge.svg" alt="The build passes.">',
        '<img src="picture.png" srcset="picture.png, https://example.org/2.png 2x" alt="A curve.">',
        "<style>@import 'https://example.org/a.css';</style>",
        '<p style="background: url(https://example.org/a.png)">x</p>',
        '<object data="https://example.org/a.svg"></object>',
    ],
)
def test_what_is_fetched_from_elsewhere(site, fetched):
    assert rules(site(fetched)) == [("index.html", "outside")]


def test_a_style_sheet_that_fetches_from_elsewhere(site):
    folder = site()
    (folder / "a.css").write_text(
        "@font-face { src: url('https://fonts.example.org/a.woff2') } p { background: url(a.png) }"
    )
    assert rules(folder) == [("a.css", "outside")]


@pytest.mark.parametrize(
    "picture",
    [
        '<img src="picture.png">',
        '<img src="picture.png" alt="">',
        '<img src="picture.png" alt="  ">',
        '<img src="picture.png" alt="picture">',
        '<img src="picture.png" alt="other-name.SVG">',
    ],
)
def test_a_picture_without_words(site, picture):
    assert rules(site(picture)) == [("index.html", "alt")]


def test_the_name_that_the_gallery_gives_where_a_figure_has_no_title(site):
    folder = site('<img src="sphx_glr_plot_arm_001.png" alt="plot arm">')
    (folder / "sphx_glr_plot_arm_001.png").write_bytes(b"")
    assert rules(folder) == [("index.html", "alt")]


def test_a_thumbnail_beside_its_title_is_decoration(site):
    thumbnail = '<div class="sphx-glr-thumbcontainer"><p><img src="picture.png" alt=""></p><div>An arm</div></div>'
    assert rules(site(thumbnail)) == []
    assert rules(site(thumbnail + '<img src="picture.png" alt="">')) == [("index.html", "alt")]


def test_a_page_without_language_title_viewport_or_first_heading(site):
    bare = "<!doctype html><html><head></head><body><h2>x</h2></body></html>"
    found = [one for one in site_check.findings(site('<a href="bare.html">x</a>', bare=bare)) if one.page == "bare.html"]
    assert [one.what for one in found] == ["no lang", "no title", "no viewport", "h2 after nothing"]


def test_a_title_of_a_drawing_is_not_that_of_the_page(site):
    head = '<meta name="viewport" content="x">'
    bare = f'<!doctype html><html lang="en"><head>{head}</head><body><svg><title>x</title></svg><h1>x</h1></body></html>'
    assert ("bare.html", "head") in rules(site('<a href="bare.html">x</a>', bare=bare))


def test_a_heading_that_is_skipped(site):
    assert rules(site("<h3>Deep</h3><h2>Back</h2><h4>Deep</h4>")) == [("index.html", "heading")] * 2


def test_a_directive_that_stands_there_as_text(site):
    body = "<p>::::{grid} 1 2</p><p>See {doc}`method`.</p><pre>::: shown</pre><p>Times: <code>{doc}`x`</code></p>"
    assert rules(site(body)) == [("index.html", "markup")] * 2


def test_a_page_that_no_link_leads_to(site):
    island = PAGE.format(head="", body='<a href="index.html">x</a>')
    assert rules(site(other=island, third=island)) == [("other.html", "reach"), ("third.html", "reach")]


def test_the_script_prints_its_findings_and_says_whether_there_are_any(site, capsys):
    assert site_check.main([str(site())]) == 0
    assert site_check.main([str(site('<a href="gone.html">x</a>'))]) == 1
    assert "index.html: link: gone.html: no such file\n1 findings on 1 pages" in capsys.readouterr().out


def test_a_folder_without_pages(tmp_path, capsys):
    assert site_check.main([str(tmp_path)]) == 1
    assert "build the site first" in capsys.readouterr().out


FIGURES = "| loss | after |\n| --- | --- |\n| 1.2e-3 | 5 |\n"


def sources(root, page, picture=True):
    (root / "docs/images").mkdir(parents=True)
    (root / "examples").mkdir()
    (root / "examples/draw.py").touch()
    (root / "tox.ini").write_text("[testenv:demo]\n")
    (root / "docs/page.md").write_text(page)
    if picture:
        (root / "docs/images/curve.svg").touch()
    return command_check.findings(root)


@pytest.mark.parametrize(
    "command", ["landscape-opt hidden", "python examples/draw.py --out x", "torchrun --n 2 examples/draw.py", "tox -e demo"]
)
def test_figures_and_the_command_that_makes_them(tmp_path, command):
    assert sources(tmp_path, f"`{command}` prints:\n\n{FIGURES}\n![A curve.](images/curve.svg)\n") == []


@pytest.mark.parametrize("command", ["landscape-opt gone", "python examples/gone.py", "tox -e gone"])
def test_a_command_that_is_not_there(tmp_path, command):
    found = sources(tmp_path, f"`{command}` prints:\n\n{FIGURES}", picture=False)
    assert found == [
        f"docs/page.md: command: there is no {command}",
        "docs/page.md: table: | loss | after |, and no command",
    ]


def test_figures_without_a_command(tmp_path):
    assert sources(tmp_path, f"{FIGURES}\n![A curve.](images/curve.svg)\n") == [
        "docs/page.md: picture: images/curve.svg, and no command",
        "docs/page.md: table: | loss | after |, and no command",
    ]


def test_a_picture_that_no_page_shows(tmp_path):
    assert sources(tmp_path, "Nothing.\n") == ["docs/images/curve.svg: picture: shown on no page"]


def test_a_table_of_words_needs_no_command(tmp_path):
    page = "| status | value |\n| --- | --- |\n| `CONVERGED` | met within 1e-3 of the loss |\n"
    assert sources(tmp_path, page, picture=False) == []


def test_every_page_says_where_its_figures_come_from():
    assert command_check.findings(command_check.ROOT) == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/howto_resume.md"])
def test_python_blocks_run(page, capsys, tmp_path, monkeypatch):
    test_docs.test_python_blocks_run(page, capsys, tmp_path, monkeypatch)
