"""How many rows go into one update of θ."""

from __future__ import annotations

from ..mappings.mapping import Mapping

MOST_ROWS = 256
FEWEST_ROWS = 64
UPDATE_COST = 3e8
"""Multiply-adds of F that an update may take on a CPU before rows are spared: about a twentieth of a second of one core."""


def affordable_rows(mapping: Mapping) -> int:
    """Rows of an update: 256, and on a CPU fewer where F is expensive, but not below 64.

    Where an evaluation takes most of the time, fewer rows make more updates of the same seconds, and those are what a
    short fit lacks. An accelerator takes as long for 64 rows as for 256, and so does a model of many small operations.

    Args:
        mapping: built, so that the cost of an evaluation is known.

    Example:
        >>> import torch
        >>> from landscape_opt.mappings.mapping import MappingSpec, PlainMapping
        >>> cheap, dear = PlainMapping(), PlainMapping()
        >>> cheap.build(MappingSpec(torch.zeros(2), 0, 0, evaluation_cost=1e3))
        >>> dear.build(MappingSpec(torch.zeros(2), 0, 0, evaluation_cost=1e7))
        >>> affordable_rows(cheap), affordable_rows(dear)
        (256, 64)
    """
    spec = mapping.spec
    row_cost = 0.0 if spec is None else spec.evaluation_cost - spec.call_cost
    if mapping.x_init.device.type == "cpu" and row_cost * MOST_ROWS > UPDATE_COST:
        return max(FEWEST_ROWS, int(UPDATE_COST / row_cost))
    return MOST_ROWS
