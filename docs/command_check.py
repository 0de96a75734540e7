"""Where figures come from: `python docs/command_check.py` exits with 1 where a page does not say by which command.

* **command**: every ``landscape-opt COMMAND``, ``tox -e NAME`` and script of this repository that a page names is there;
* **picture**: every file of ``docs/images`` is shown on a page, and each page that shows one names such a command;
* **table**: so does each page with a table of figures, one in which half of the cells below the head, or more, are digits
  rather than letters.

Whether the command prints those figures is for people to see. A page under another roof is asked as well: ``README.md``.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from landscape_opt.cli import main as landscape_opt

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"(landscape-opt|tox -e) ([a-z]+)|(python|torchrun)\b[^\n`]*? ((?:examples|docs)/[\w/.-]+\.py)")
TABLE = re.compile(r"(?:^[ ]*\|.*\|[ ]*\n)+", re.MULTILINE)


def pages(root: Path) -> dict[str, str]:
    """The text of every page, by its path."""
    paths = [root / "README.md", *sorted((root / "docs").glob("*.md")), *sorted((root / "docs/applications").glob("*.md"))]
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths if path.exists()}


def findings(root: Path) -> list[str]:
    """What is missing, page by page, a line each."""
    texts = pages(root)
    found = [f"{page}: {what}" for page, text in texts.items() for what in _of_page(root, text)]
    for picture in sorted((root / "docs/images").glob("*.*")):
        if not any(f"images/{picture.name}" in text for text in texts.values()):
            found.append(f"docs/images/{picture.name}: picture: shown on no page")
    return found


def _of_page(root: Path, text: str) -> Iterator[str]:
    named = {" ".join(filter(None, parts)) for parts in COMMAND.findall(text)}
    missing = {name for name in named if not _is_there(root, *name.rsplit(" ", 1))}
    yield from (f"command: there is no {name}" for name in sorted(missing))
    if named <= missing:
        yield from (f"picture: {name}, and no command" for name in re.findall(r"\]\(\S*?(images/[\w.-]+)\)", text))
        yield from (f"table: {head}, and no command" for head in _tables_of_figures(text))


def _is_there(root: Path, program: str, name: str) -> bool:
    """Whether a script is in the repository, tox.ini has an environment, or a subcommand has a help text."""
    if program != "landscape-opt":
        settings = (root / "tox.ini").read_text(encoding="utf-8") if program == "tox -e" else ""
        return f"[testenv:{name}]" in settings or (root / name).is_file()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            landscape_opt([name, "--help"])
        except SystemExit as ended:
            return ended.code == 0
    return False


def _tables_of_figures(text: str) -> Iterator[str]:
    """The head of every table of figures."""
    for table in TABLE.findall(text):
        head, _, *rows = table.strip().splitlines()
        cells = [cell for row in rows for cell in row.strip().strip("|").split("|")]
        if rows and 2 * sum(map(_is_figure, cells)) >= len(cells):
            yield head.strip()


def _is_figure(cell: str) -> bool:
    return sum(map(str.isdigit, cell)) > sum(map(str.isalpha, cell))


def main() -> int:
    """Print what is missing; 1 where something is."""
    found = findings(ROOT)
    sys.stdout.write("\n".join([*found, f"{len(found)} findings on {len(pages(ROOT))} pages"]) + "\n")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
