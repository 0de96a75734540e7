"""Reads the pages as they were built: `python docs/site_check.py [docs/_build/html]` exits with 1 where one is broken.

Asked of every page, and listed with the page where it does not hold:

* **link**: what it links to or includes within the site is there, and so is the anchor;
* **outside**: nothing is fetched from elsewhere to show it, so that it can be read without a network; what a reader clicks
  may lead anywhere;
* **alt**: every picture has an alternative text that says something, which the name of its file does not. A thumbnail whose
  title stands beside it is decoration, and has none;
* **head**: it has a language, a title and a viewport;
* **markup**: no directive stands there as text, because an extension that it needs is missing;
* **heading**: it begins with a first-level heading, and no level is skipped on the way down;
* **reach**: links lead to it from the front page, those of menus and forms included.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"src": "*", "srcset": "*", "poster": "*", "data": ("object",)}
RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch", "manifest"}
IN_STYLE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")
FILE_NAME = re.compile(r"\S+\.(png|svg|jpe?g|gif|webp)", re.IGNORECASE)
DECORATED = "sphx-glr-thumbcontainer"
DIRECTIVE = re.compile(r"^\s*:::+.*|\{[a-z-]+\}`.*", re.MULTILINE)
AS_IT_IS = {"pre", "code", "script", "style"}
EMPTY = {"img", "link", "meta", "br", "hr", "input", "source", "area", "base", "col", "embed", "track", "wbr"}


@dataclass(frozen=True)
class Finding:
    """Something wrong with a page.

    Attributes:
        page: relative to the site.
        rule: link, outside, alt, head, markup, heading or reach.
        what: what was found.
    """

    page: str
    rule: str
    what: str

    def __str__(self) -> str:
        """One line of the list."""
        return f"{self.page}: {self.rule}: {self.what}"


@dataclass
class Page:
    """What a page says of itself.

    Attributes:
        name: relative to the site.
        ids: anchors.
        links: what a reader may follow.
        fetched: what a browser asks for by itself.
        pictures: source and alternative text, which is None where there is none.
        levels: of the headings, in order.
        head: which of lang, title and viewport there are.
        markup: directives that stand there as text.
    """

    name: str
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str | None]] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    head: set[str] = field(default_factory=set)
    markup: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.page = Page(name)
        self.open: list[tuple[str, bool]] = []  # with whether it, or what is around it, is a thumbnail with its title

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        decorated = (self.open and self.open[-1][1]) or DECORATED in given.get("class", "").split()
        if tag not in EMPTY:
            self.open.append((tag, bool(decorated)))
        self._note_links(tag, given)
        self.page.ids |= {given[key] for key in ("id", "name") if key in given and (key == "id" or tag == "a")}
        if tag == "img" and not (decorated and given.get("alt") == ""):
            self.page.pictures.append((given.get("src", ""), given.get("alt")))
        if re.fullmatch(r"h[1-6]", tag):
            self.page.levels.append(int(tag[1]))
        if tag == "html" and given.get("lang"):
            self.page.head.add("lang")
        if tag == "meta" and given.get("name") == "viewport":
            self.page.head.add("viewport")

    def _note_links(self, tag: str, given: dict[str, str]) -> None:
        for name, tags in FETCHED.items():
            if name in given and (tags == "*" or tag in tags):
                parts = given[name].split(",") if name == "srcset" else [given[name]]
                self.page.fetched += [part.split()[0] for part in parts if part.strip()]
        self.page.fetched += _in_style(given.get("style", ""))
        if tag in ("a", "area") and "href" in given:
            self.page.links.append(given["href"])
        if tag == "form" and "action" in given:
            self.page.links.append(given["action"])
        if tag == "link" and RELATIONS & set(given.get("rel", "").lower().split()):
            self.page.fetched.append(given.get("href", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        while any(name == tag for name, _ in self.open) and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = [name for name, _ in self.open]
        if "style" in inside:
            self.page.fetched += _in_style(data)
        if not AS_IT_IS & set(inside):
            self.page.markup += DIRECTIVE.findall(data)
        if inside[-2:] == ["head", "title"] and data.strip():
            self.page.head.add("title")


def _in_style(text: str) -> list[str]:
    return [first or second for first, second in IN_STYLE.findall(text)]


def read(site: Path) -> dict[str, Page]:
    """All pages, by name. Fragments that a theme keeps beside them (`_static/*.html`) are not pages."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        name = path.relative_to(site).as_posix()
        if not name.startswith("_static/"):
            reader = _Reader(name)
            reader.feed(path.read_text(encoding="utf-8"))
            pages[name] = reader.page
    return pages


def findings(site: Path) -> list[Finding]:
    """Everything that is wrong with a site."""
    return _findings(site, read(site))


def _findings(site: Path, pages: dict[str, Page]) -> list[Finding]:
    """Page by page, then what style sheets ask for."""
    if "index.html" not in pages:
        return [Finding("index.html", "reach", "there is no such page: build the site first")]
    reached = _reached(pages)
    found = []
    for page in pages.values():
        found += [Finding(page.name, rule, what) for rule, what in _of_page(site, pages, page)]
        if page.name not in reached:
            found.append(Finding(page.name, "reach", "no link leads here from index.html"))
    for sheet in sorted(site.rglob("*.css")):
        asked = _in_style(sheet.read_text(encoding="utf-8"))
        name = sheet.relative_to(site).as_posix()
        found += [Finding(name, "outside", url) for url in asked if _is_outside(url)]
    return found


def _of_page(site: Path, pages: dict[str, Page], page: Page) -> Iterator[tuple[str, str]]:
    for url in page.fetched:
        if _is_outside(url):
            yield "outside", url
    for url in [*page.links, *page.fetched]:
        if not urlsplit(url).scheme and not _is_outside(url) and (missing := _missing(site, pages, page, url)):
            yield "link", missing
    for source, text in page.pictures:
        if text is None or not text.strip():
            yield "alt", f"none for {source}"
        elif FILE_NAME.fullmatch(text.strip()) or _words(text) == _words(Path(unquote(source)).stem):
            yield "alt", f"{text!r} is the name of the file {source}"
    for part in ("lang", "title", "viewport"):
        if part not in page.head:
            yield "head", f"no {part}"
    yield from (("markup", text.strip()) for text in page.markup)
    for above, level in zip([0, *page.levels], page.levels, strict=False):
        if level > above + 1:
            yield "heading", f"h{level} after " + (f"h{above}" if above else "nothing")


def _is_outside(url: str) -> bool:
    return url.startswith("//") or urlsplit(url).scheme in ("http", "https", "ws", "wss", "ftp")


def _words(text: str) -> list[str]:
    """For comparison: sphinx-gallery's prefix and the number of a picture say nothing either."""
    return re.findall(r"[a-z]+", text.lower().removeprefix("sphx_glr_"))


def _missing(site: Path, pages: dict[str, Page], page: Page, url: str) -> str:
    """What of a link within the site is not there."""
    parts = urlsplit(url)
    target = _target(page, parts.path)
    if not (site / target).is_file():
        return f"{url}: no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].ids:
        return f"{url}: no such anchor"
    return ""


def _target(page: Page, path: str) -> str:
    """The file that a path on a page leads to, relative to the site."""
    if not path:
        return page.name
    parts: list[str] = []
    for part in [*Path(page.name).parent.parts, *unquote(path).split("/")]:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join([*parts, "index.html"] if path.endswith("/") else parts)


def _reached(pages: dict[str, Page]) -> set[str]:
    reached, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in pages and name not in reached:
            reached.add(name)
            own = [urlsplit(url) for url in pages[name].links if not _is_outside(url)]
            waiting += [_target(pages[name], url.path) for url in own]
    return reached


def main(arguments: list[str]) -> int:
    """Print what was found; 1 where there is something."""
    site = Path(arguments[0]) if arguments else Path(__file__).parent / "_build" / "html"
    pages = read(site)
    found = _findings(site, pages)
    lines = [str(one) for one in found]
    sys.stdout.write("\n".join([*lines, f"{len(found)} findings on {len(pages)} pages of {site}"]) + "\n")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
