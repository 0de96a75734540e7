"""Methods compared at equal evaluations of F; nothing of it is imported by ``import landscape_opt``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .command import BenchReport, bench

__all__ = ["BenchReport", "bench"]


def __getattr__(name: str) -> Any:
    """``bench`` and what it returns, imported when they are asked for: other commands need not wait for all rivals."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import command

    return getattr(command, name)
