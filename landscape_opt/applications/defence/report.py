"""The table of a comparison: accuracies against steps, defence by defence, with the adaptive attacks in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev

from ...benchmark.summary import as_markdown
from .robustness import Robustness


@dataclass(frozen=True)
class Row:
    """A defence at a number of steps, over several seeds.

    Attributes:
        defence: as in the table.
        records: one for every seed, all with the same attacks.
    """

    defence: str
    records: tuple[Robustness, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.records:
            raise ValueError(f"a row needs the record of at least one seed, {self.defence!r} has none")

    @property
    def num_steps(self) -> int:
        """Of the reversal."""
        return self.records[0].num_steps

    @property
    def columns(self) -> dict[str, list[float]]:
        """Accuracy in percent for every seed, clean, under every crafted attack, and after every adaptive one."""
        found = {"clean": [record.clean_accuracy for record in self.records]}
        for place, outcome in enumerate(self.records[0].crafted):
            found[outcome.name] = [record.crafted[place].accuracy for record in self.records]
        for place, outcome in enumerate(self.records[0].adaptive):
            found[f"+{outcome.name}"] = [record.adaptive[place].accuracy for record in self.records]
        return found

    @property
    def means(self) -> dict[str, float]:
        """The mean over seeds of every column."""
        return {name: mean(values) for name, values in self.columns.items()}

    @property
    def milliseconds(self) -> float:
        """Of the defence for one image, the mean over seeds."""
        return 1000.0 * mean(record.seconds for record in self.records)


def table(rows: Sequence[Row]) -> str:
    """A Markdown table: percent right, the mean over seeds, with the standard deviation after the last adaptive attack.

    A column with a plus counts the images that neither the attacks to its left nor its own have broken. The last one is the
    robust accuracy.
    """
    names = list(rows[0].means)
    lines = []
    for row in rows:
        cells = [f"{value:.1f}" for value in row.means.values()]
        last = list(row.columns.values())[-1]
        cells[-1] += f" ± {stdev(last):.1f}" if len(last) > 1 else ""
        lines.append([row.defence, str(row.num_steps), *cells, f"{row.milliseconds:.2f}"])
    return as_markdown(["defence", "steps", *names, "ms"], lines, ["---", *["---:"] * (len(names) + 2)])


def steps_for(level: float, column: str, rows: Sequence[Row]) -> int | None:
    """The fewest steps among ``rows`` at which the mean of a column is at least ``level``; None if at none of them."""
    enough = [row.num_steps for row in rows if row.means[column] >= level]
    return min(enough, default=None)


def steps_table(plain: Sequence[Row], landscape: Sequence[Row]) -> str:
    """For every column: the best that plain reversal reaches, in how many steps, and how many the landscape needs for it."""
    head, lines = ["attack", "plain reversal's best", "its steps", "the landscape's steps to it", "ratio"], []
    for column in plain[0].means:
        level = max(row.means[column] for row in plain)
        its, ours = steps_for(level, column, plain), steps_for(level, column, landscape)
        best = max(row.means[column] for row in landscape)
        needed = f"not reached ({best:.1f})" if ours is None else str(ours)
        ratio = f"{its / ours:.3g}" if its and ours else ""
        lines.append([column, f"{level:.1f}", str(its), needed, ratio])
    return as_markdown(head, lines, ["---", *["---:"] * 4])
