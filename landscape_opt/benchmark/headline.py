"""The benchmark in one row per problem, for those who have not read how it is measured: front page and README."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from .. import atomic
from . import headline_notes
from .page import summaries_of
from .records import UnitRecord, read_all
from .registry import CONTROL
from .summary import IN_DISTRIBUTION, Summary, as_markdown, number

BEGIN, END = "<!-- headline: begin -->", "<!-- headline: end -->"
"""Lines of a README between which the table stands."""
SAID = {
    "linear": "a linear model of condition number 1000",
    "digits": "latent code of an image of a digit",
    "arm": "planar arm of ten links among obstacles",
    "panda": "inverse kinematics of a robot arm",
    "skeleton": "human pose from 2D keypoints",
    "phase": "image from diffraction patterns",
    "wave": "speed of sound along a borehole",
    "camera": "pose of an object from its silhouette",
    "attack": "image before an adversarial attack",
    "style": "latent code of a style generator",
    "frequencies": "two frequencies of a record; the control",
}
"""What is looked for, in a few words; a problem of one's own has its name alone."""
COLUMNS = {"S1": "Adam, momentum, GD", "S2": "L-BFGS, LM, K starts", "S3": "encoder, refined"}
"""By the figure of the benchmark that a column shows in evaluations."""
LEAD = (
    "How many evaluations of F the best method of a kind needs to get down to a loss, and how many the landscape needs to "
    "the same (*theirs : ours*), in the median over targets like those of the fit."
)
BEHIND = "**behind**"
COLON = "\u00a0:\u00a0"
"""Between two figures that stay on one line."""


def headline(records: Sequence[UnitRecord]) -> str:
    """The table with what has to be known to read it, as Markdown without links.

    A problem on which no other method has been run is named below the table. Where a kind of rival has not been run there
    is a dash. Figures are medians over the seeds of the landscape's fit.

    Args:
        records: of one problem or many.

    Raises:
        ValueError: if there is no record of the landscape itself.
    """
    found = summaries_of(records)
    shown = [one for one in found if one.has_rivals]
    notes = headline_notes.of(found, records)
    if not shown:
        return notes
    head = ["what is looked for", "numbers in x", *COLUMNS.values(), "budgets not beaten"]
    aligned = ["---", "---:", "---:", "---:", "---:", "---:"]
    table = as_markdown(head, [_line(one) for one in shown], aligned)
    lead = f"{LEAD} Marked {BEHIND} is where the landscape needs more." if BEHIND in table else LEAD
    return "\n\n".join([headline_notes.wrapped(lead), table, notes])


def write_headline(folder: Path, docs: Path) -> tuple[Path, ...]:
    """Write ``headline.md`` into the documentation, and the same into the README beside it, if that has a place for it.

    Args:
        folder: of the results.
        docs: of the documentation; the README is looked for in the folder that holds it.

    Returns:
        The files that were written.

    Raises:
        ValueError: if there is no record of the landscape itself, or the README has one of the two lines alone.
    """
    text = headline(read_all(folder))
    pages = {docs / "headline.md": text + "\n"}
    readme = docs.absolute().parent / "README.md"
    before = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if BEGIN in before or END in before:
        pages[readme] = between(before, text)
    atomic.write({path: page.encode() for path, page in pages.items()})
    return tuple(pages)


def between(page: str, text: str) -> str:
    r"""A page with a text between its two lines, in place of what stood there.

    Raises:
        ValueError: if it has not both lines once, in their order.

    Example:
        >>> between(f"# Me\n\n{BEGIN}\nold\n{END}\n", "new").splitlines()[2:]
        ['<!-- headline: begin -->', '', 'new', '', '<!-- headline: end -->']
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(f"the README needs one line {BEGIN} and below it one line {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _line(one: Summary) -> list[str]:
    said = SAID.get(one.name)
    name = one.name if said is None else f"{one.name}: {said}"
    budgets = one.figures(IN_DISTRIBUTION)[0].budgets
    dominated = one.spread(IN_DISTRIBUTION, lambda each: float(len(each.dominated)))
    held = f"{dominated} of {len(budgets)}" + (", see below" if one.name == CONTROL else "")
    return [name, str(one.dim), *(_against(one, name) for name in COLUMNS), held]


def _against(one: Summary, name: str) -> str:
    """Evaluations of the rival and ours, each the median over the seeds."""
    found = [each.ratios[name] for each in one.figures(IN_DISTRIBUTION) if name in each.ratios]
    if not found:
        return "–"
    theirs, mine = (statistics.median(getattr(each, side) for each in found) for side in ("theirs", "mine"))
    shown = f"{_count(theirs)}{COLON}{_count(mine)}"
    return f"{shown} {BEHIND}" if mine > theirs else shown


def _count(evaluations: float) -> str:
    return number(evaluations) if math.isfinite(evaluations) else "never"
