"""Formulas as MathML, written while the pages are built: no script, no font and no request is needed to read them.

``sphinx.ext.mathjax`` fetches two megabytes of JavaScript from elsewhere on every page that has a formula. Browsers have
drawn MathML themselves since January 2023, in the colour of the text and at its size, and screen readers read it. Docutils
has the converter for its own HTML; this file registers it with Sphinx. TeX that it does not know is a warning, with the
line, and so an error in the build.
"""

from __future__ import annotations

import html

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def _mathml(node: nodes.math | nodes.math_block) -> str:
    """The formula of a node, or where it cannot be read its TeX, escaped, after a warning."""
    tex = node.astext()
    try:
        return str(latex2mathml.tex2mathml(tex, as_block=isinstance(node, nodes.math_block)))
    except MathError as error:
        logger.warning("no MathML for %r: %s", tex, error, location=node)
        return f"<code>{html.escape(tex)}</code>"


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """``$…$`` and ``:math:``."""
    self.body.append(f'<span class="math notranslate">{_mathml(node)}</span>')
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """``$$…$$`` and the environments of amsmath; a formula that is wider than the page scrolls within itself."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate"))
    if node["number"]:  # only then is there something to point to
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append(f"{_mathml(node)}</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """What Sphinx calls."""
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
