"""What a landscape looks like, in numbers and pictures, on held-out targets."""

from __future__ import annotations

from .basins import Basins
from .conditioning import Conditioning, NotAvailable
from .curvature import Spectrum
from .diagnosis import Diagnosis, diagnose
from .pictures import described, draw_losses, draw_slices
from .reach import Reach
from .slices import Slice, Slices, Trace, slices

__all__ = [
    "Basins",
    "Conditioning",
    "Diagnosis",
    "NotAvailable",
    "Reach",
    "Slice",
    "Slices",
    "Spectrum",
    "Trace",
    "described",
    "diagnose",
    "draw_losses",
    "draw_slices",
    "slices",
]
