"""A problem's figures over the seeds of fitting, in words and tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .contestants import ABLATION, GROUPS
from .figures import FIRST_ORDER, RATIOS, REFINED, SECOND_ORDER, Field, SetFigures, fields_of
from .landscapes import OURS, PUBLISHED
from .records import UnitRecord, are_comparable
from .table import TIE, Row, as_text, is_worse, where_we_lose
from .tuning import Statistic

IN_DISTRIBUTION = "in distribution"
COMPOSED = {
    "best first order in X": FIRST_ORDER,
    "best second order in X": SECOND_ORDER,
    "encoder, refined by the best": REFINED,
}
"""Rows that take the method best on validation targets at every budget."""
ALONE = (
    "encoder",
    "nearest + L-BFGS",
    "unrolled",
    "unrolled + L-BFGS",
    "affine θ",
    "untrained θ",
    PUBLISHED,
)
TRAINED = (OURS, "encoder", "unrolled", "nearest + L-BFGS", "affine θ", PUBLISHED)
"""One of every fit."""
PARTS = {one.name for one in GROUPS if one.name in ABLATION and not one.default}
"""Groups of landscapes that lack a part: no rivals, but in a table of their own."""


@dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        median: over the seeds.
        low: the lowest.
        high: the highest.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value per seed; NaN is none."""
        known = [value for value in values if not math.isnan(value)]
        return cls(statistics.median(known), min(known), max(known)) if known else cls(math.nan, math.nan, math.nan)

    def __str__(self) -> str:
        if math.isnan(self.median):
            return "–"
        middle = number(self.median)
        return middle if self.low == self.high else f"{middle} ({number(self.low)}–{number(self.high)})"


def number(value: float) -> str:
    """Two or three digits of it.

    Example:
        >>> number(12.345), number(0.0123), number(float("inf")), number(123456.0)
        ('12.3', '0.012', '∞', '123,456')
    """
    if math.isinf(value):
        return "∞"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def loss_text(loss: float) -> str:
    """Two digits of it."""
    return "∞" if math.isinf(loss) else f"{loss:.2g}"


def as_markdown(head: Sequence[str], lines: Sequence[Sequence[str]], aligned: Sequence[str] | None = None) -> str:
    """A table of a page; ``aligned`` holds ``---``, ``---:`` or ``:---:`` for every column, None the first for all."""
    shown = [head, ["---"] * len(head) if aligned is None else aligned, *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in shown)


@dataclass(frozen=True, eq=False)
class Summary:
    """A problem over all seeds of fitting that were run.

    Attributes:
        name: of the problem.
        fields: the methods, by seed.
        about: what is said of the problem.
        dim: numbers in one x.
        parts: the landscape beside those that lack a part of it; None where none was run.
    """

    name: str
    fields: dict[int, Field]
    about: dict[str, object]
    dim: int
    parts: Summary | None = None

    @property
    def sets(self) -> tuple[str, ...]:
        """The target sets."""
        return next(iter(self.fields.values())).sets

    @property
    def has_rivals(self) -> bool:
        """Whether any other method was run."""
        return any(field.rivals() for field in self.fields.values())

    def figures(self, some: str) -> list[SetFigures]:
        """Of every seed."""
        return [field.figures(some) for field in self.fields.values()]

    def spread(self, some: str, figure: Callable[[SetFigures], float]) -> Spread:
        """One figure over the seeds."""
        return Spread.of([figure(one) for one in self.figures(some)])

    def ratio(self, some: str, name: str) -> Spread:
        """S1, S2, … over the seeds."""
        return self.spread(some, lambda one: one.ratios[name].value if name in one.ratios else math.nan)

    def rows(self, some: str) -> list[Row]:
        """Ours first, then composed rows and single methods: every loss the median over the seeds."""
        wanted = {OURS: (OURS,), **COMPOSED, **{name: (name,) for name in ALONE}}
        found = [self._over_seeds(name, names, some) for name, names in wanted.items()]
        return [row for row in found if row is not None]

    def single_rows(self, some: str) -> list[Row]:
        """Every method for itself, ours first."""
        names = {OURS: None} | {name: None for field in self.fields.values() for name in field.methods}
        found = [self._over_seeds(name, (name,), some) for name in names]
        return [row for row in found if row is not None]

    def _over_seeds(self, name: str, names: Sequence[str], some: str) -> Row | None:
        rows = [row for field in self.fields.values() if (row := field.best(names, name, some)) is not None]
        if not rows:
            return None
        columns = {
            kind: tuple(statistics.median(losses) for losses in zip(*(getattr(row, kind) for row in rows), strict=True))
            for kind in ("median", "mean", "p90")
        }
        return Row(name, rows[0].budgets, **columns)

    def solved(self, some: str) -> float:
        """The loss below which losses are as good as one another, the median over the seeds."""
        return statistics.median(field.solved(some) for field in self.fields.values())

    def honest_lines(self, some: str) -> tuple[str, ...]:
        """Where any other method wins, and where one is as good."""
        ours, *rivals = self.single_rows(some)
        solved = self.solved(some)
        won = where_we_lose(ours, rivals, solved, TIE)
        return (*won, *(line for rival in rivals if (line := _tied(ours, rival, solved))))

    def figure_lines(self, some: str) -> tuple[str, ...]:
        """The figures of a set, a line each."""
        figures = self.figures(some)
        lines = [f"{name}: {self.ratio(some, name)}" for name in RATIOS if self._has(some, name)]
        lines.append(f"stuck: {self.spread(some, lambda one: one.stuck)}")
        dominated = self.spread(some, lambda one: float(len(one.dominated)))
        lines.append(f"dominance: {dominated} of {len(figures[0].budgets)} budgets")
        for name in figures[0].ahead:
            count = sum(one.ahead[name] for one in figures)
            lines.append(f"{name}: {'yes' if count == len(figures) else f'{count} of {len(figures)} seeds'}")
        per_evaluation = self.spread(some, lambda one: one.per_evaluation)
        lines.append(f"wall time of an evaluation over the first-order one's: {per_evaluation}")
        for name in figures[0].break_even:
            count_of = Spread.of([one.break_even[name] for one in figures])
            wall = Spread.of([one.wall[name] for one in figures])
            lines.append(
                f"against {name}'s rival: break-even after {count_of} inversions; wall time to the level {wall} times ours"
            )
        if told := self._evaluations_of_fits():
            lines.append(f"evaluations of F in a fit: {', '.join(told)}")
        return tuple(lines)

    def _evaluations_of_fits(self) -> list[str]:
        """Of every method that is trained: what the same seconds came to, on a machine that was not always as fast."""
        told = []
        for name in TRAINED:
            methods = [field.methods[name] for field in self.fields.values() if name in field.methods]
            spent = Spread.of([float(one.fit_evaluations) for one in methods])
            if spent.median > 0:
                told.append(f"{name} {spent}")
        return told

    def _has(self, some: str, name: str) -> bool:
        return any(name in one.ratios for one in self.figures(some))

    def text(self) -> str:
        """All that a terminal shows."""
        seeds = ", ".join(map(str, self.fields))
        parts = [f"{self.name}: x of {self.dim} numbers; seeds of fitting {seeds}; every loss is the median over them"]
        for some in self.sets:
            parts.append(f"== {some} ==\n\n{as_text(self.rows(some))}")
            parts.append("\n".join(f"  {line}" for line in self.figure_lines(some)))
            lines = self.honest_lines(some)
            title = "Where another is better, or as good:"
            parts.append("\n".join([title, *(f"  {line}" for line in lines or ("nowhere",))]))
            if self.parts is not None:
                parts.append(f"Each part left out in turn:\n\n{as_text(self.parts.single_rows(some))}")
        return "\n\n".join(parts) + "\n"


def summary(records: Sequence[UnitRecord]) -> Summary | None:
    """Of the records of one problem; None while the landscape itself has not been run.

    Raises:
        ValueError: if the records were made with different settings, so that they cannot be compared.
    """
    own = [record for record in records if record.group == OURS]
    if not own:
        return None
    if stale := [str(record.place) for record in records if not are_comparable(record, own[0])]:
        raise ValueError(
            f"made with other settings than {own[0].place}, or on another problem: {', '.join(stale)}; run them again"
        )
    about, dim = own[0].about, own[0].facts["dim"]
    rivals = [record for record in records if record.group not in PARTS]
    parts = None
    if len(rivals) < len(records):
        beside = [record for record in records if record.group in ABLATION]
        parts = Summary(own[0].problem, fields_of(beside), about, dim)
    return Summary(own[0].problem, fields_of(rivals), about, dim, parts)


def _tied(ours: Row, rival: Row, solved: float) -> str:
    """A line on the budgets from 1 on at which the rival is as good, by both statistics; empty if there are none."""
    tied = [
        str(budget)
        for place, budget in enumerate(ours.budgets)
        if budget > 0 and all(_is_tie(ours.values(one)[place], rival.values(one)[place], solved) for one in Statistic)
    ]
    return f"{rival.name} is as good at {', '.join(tied)}" if tied else ""


def _is_tie(mine: float, theirs: float, solved: float) -> bool:
    return not is_worse(mine, theirs, solved, TIE) and not is_worse(theirs, mine, solved, TIE)
