"""Who takes part: groups of methods that share a fit. A group is prepared once per seed, and is a unit of work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from .best_of import best_of_family
from .entry import Entry, Preparation
from .grids import first_order_families, lbfgs_family, lm_family, scale_at
from .landscapes import (
    affine,
    conditioned,
    default_landscape,
    parts,
    published,
    residual,
    untold,
    untrained,
    with_all_rows,
    without_proximity,
    without_second_chances,
)
from .trained import encoder_refined, nearest_solution, unrolled


@dataclass(frozen=True)
class Group:
    """Methods that are prepared together.

    Attributes:
        name: as on the command line.
        prepare: trains them; None where the problem is not for them.
        trains: whether seconds are spent on it, so that there is a seed. Without, one run serves every seed.
        default: whether it takes part when nobody is named.
    """

    name: str
    prepare: Callable[[Preparation], Entry | None] = field(repr=False)
    trains: bool = True
    default: bool = True


def _one_family(place: int, given: Preparation) -> Entry:
    families = first_order_families(given.problem, scale_at(given.problem), quick=given.quick)
    return Entry((families[place],))


def _lbfgs(given: Preparation) -> Entry:
    return Entry((lbfgs_family(given.problem, scale_at(given.problem), quick=given.quick),))


def _lm(given: Preparation) -> Entry | None:
    family = lm_family(given.problem, quick=given.quick)
    return None if family is None else Entry((family,))


def _restarts(given: Preparation) -> Entry:
    return Entry((best_of_family(given.problem, scale_at(given.problem), quick=given.quick),))


GROUPS = (
    Group("landscape", default_landscape),
    Group("gd", partial(_one_family, 0), trains=False),
    Group("momentum", partial(_one_family, 1), trains=False),
    Group("adam", partial(_one_family, 2), trains=False),
    Group("lbfgs", _lbfgs, trains=False),
    Group("lm", _lm, trains=False),
    Group("restarts", _restarts, trains=False),
    Group("encoder", encoder_refined),
    Group("unrolled", unrolled),
    Group("nearest", nearest_solution),
    Group("affine", affine),
    Group("published", published),
    Group("untrained", untrained, trains=False),
    Group("parts", parts, default=False),
    Group("no-proximity", without_proximity, default=False),
    Group("no-second-chances", without_second_chances, default=False),
    Group("all-rows", with_all_rows, default=False),
    Group("untold", untold, default=False),
    Group("conditioned", conditioned, default=False),
    Group("residual", residual, default=False),
)
"""In the order in which they run: what the figures need comes first."""
ABLATION = (
    "landscape", "parts", "no-proximity", "no-second-chances", "all-rows", "untold", "conditioned", "residual", "published"
)  # fmt: skip
"""The default beside landscapes that lack a part of it, each in turn."""


def written_out(names: Sequence[str]) -> tuple[str, ...]:
    """Names as a command line takes them, where ``ablation`` stands for all groups of it.

    Example:
        >>> written_out(("gd", "ablation"))[:3]
        ('gd', 'landscape', 'parts')
    """
    return tuple(dict.fromkeys(one for name in names for one in (ABLATION if name == "ablation" else (name,))))


def groups_named(names: tuple[str, ...] | None) -> tuple[Group, ...]:
    """The groups of these names, or those that take part by default.

    Raises:
        ValueError: for a name that is none.

    Example:
        >>> [group.name for group in groups_named(("landscape", "lm"))]
        ['landscape', 'lm']
    """
    if names is None:
        return tuple(group for group in GROUPS if group.default)
    known = {group.name: group for group in GROUPS}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no method {unknown[0]!r}; choose from {', '.join(known)}")
    return tuple(known[name] for name in names)
