"""The mapping θ, one rung a file, behind one interface."""

from .anchored import AnchoredMapping
from .conditioned import ConditionedMapping
from .context import Context
from .mapping import Calibration, LocalMapping, Mapping, MappingSpec, PlainMapping
from .residual import ResidualMapping

__all__ = [
    "AnchoredMapping",
    "Calibration",
    "ConditionedMapping",
    "Context",
    "LocalMapping",
    "Mapping",
    "MappingSpec",
    "PlainMapping",
    "ResidualMapping",
]
