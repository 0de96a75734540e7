"""The progress bar of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from .results import RoundRecord

Show: TypeAlias = Callable[[RoundRecord, float], None]


@contextmanager
def progress_bar(wanted: bool, max_seconds: float | None, num_rounds: int | None) -> Iterator[Show]:
    """A function that shows a round and the share of the seconds spent; does nothing unless wanted."""
    if not wanted:
        yield lambda _record, _spent: None
        return
    from tqdm import tqdm  # here, because it costs a tenth of a second to import

    by_seconds = max_seconds is not None
    total = round(max_seconds) if max_seconds is not None else num_rounds
    with tqdm(total=total, desc="fit", unit="s" if by_seconds else "round") as bar:

        def show(record: RoundRecord, spent: float) -> None:
            bar.set_postfix_str(f"round {record.round}, objective {record.objective:.4g}", refresh=False)
            done = int(spent * (max_seconds or 0)) if by_seconds else bar.n + 1
            bar.update(done - bar.n)

        yield show
