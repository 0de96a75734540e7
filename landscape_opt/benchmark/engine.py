"""The tables of ``landscape-opt engine``: what the fit engine promises, measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Show: TypeAlias = Callable[[str], None]


def _kills(quick: bool, show: Show) -> str:
    from .engine_kills import run_kills

    return (run_kills(2, num_rounds=6, show=show) if quick else run_kills(show=show)).text


def _ranks(quick: bool, _show: Show) -> str:
    from .engine_ranks import run_ranks

    return run_ranks(2 if quick else 4).text


def _memory(quick: bool, _show: Show) -> str:
    from .engine_memory import run_memory

    return run_memory(quick)


def _profile(quick: bool, _show: Show) -> str:
    from .engine_profile import run_profile

    return run_profile(quick)


def _compiling(quick: bool, _show: Show) -> str:
    from .engine_compiling import run_compiling

    return run_compiling(quick)


def _gpu(quick: bool, _show: Show) -> str:
    from .engine_gpu import run_gpu

    return run_gpu(quick)


TABLES: dict[str, Callable[[bool, Show], str]] = {
    "kills": _kills,
    "ranks": _ranks,
    "memory": _memory,
    "profile": _profile,
    "compiling": _compiling,
    "gpu": _gpu,
}


def run_engine(names: list[str], quick: bool, show: Show) -> str:
    """The tables of these names, or all.

    Raises:
        ValueError: for a name that is none.
    """
    if unknown := [name for name in names if name not in TABLES]:
        raise ValueError(f"there is no table {unknown[0]!r}; choose from {', '.join(TABLES)}")
    return "\n".join(TABLES[name](quick, show) for name in names or TABLES)
