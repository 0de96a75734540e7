"""The fit engine: the loop of rounds, validation, exact resume, and what may be told of a fit while it runs."""

from .callbacks import Callback, Log, Logging
from .guard import DivergenceGuard, EarlyStopping
from .loop import FitLoop
from .progress import ProgressBar
from .run_folder import Checkpoints, ResumeError
from .schedule import Constant, Cosine, Schedule
from .validation import Validation

__all__ = [
    "Callback",
    "Checkpoints",
    "Constant",
    "Cosine",
    "DivergenceGuard",
    "EarlyStopping",
    "FitLoop",
    "Log",
    "Logging",
    "ProgressBar",
    "ResumeError",
    "Schedule",
    "Validation",
]
