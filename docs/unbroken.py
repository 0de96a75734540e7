"""Numbers in tables stay on one line: browsers would break 3.2e-12 behind its hyphen, where a cell is narrow."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

NUMBER = re.compile(r"([\d.]+e-\d+)")


def keep_together(_app: Sphinx, doctree: nodes.document, _name: str) -> None:
    """Put each such number of a table into a span of class ``unbroken``; the text stays as it is, also when it is copied."""
    texts = [text for cell in doctree.findall(nodes.entry) for text in cell.findall(nodes.Text)]
    for text in texts:
        if NUMBER.search(text) and not isinstance(text.parent, nodes.literal):
            parts = (part for part in NUMBER.split(text) if part)
            spans = [nodes.inline("", p, classes=["unbroken"]) if NUMBER.fullmatch(p) else nodes.Text(p) for p in parts]
            text.parent.replace(text, spans)


def setup(app: Sphinx) -> ExtensionMetadata:
    """What Sphinx calls."""
    app.connect("doctree-resolved", keep_together)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
