"""The fit engine: the loop of rounds, validation, exact resume, and what may be told of a fit while it runs."""

from .callbacks import Callback, Log, Logging
from .guard import DivergenceGuard, EarlyStopping
from .loop import FitLoop
from .pictures import TrajectoryPictures
from .progress import ProgressBar
from .ranks import Alone, RankError, Ranks, ranks_of
from .rehearsal import Rehearsal
from .run_folder import Checkpoints, ResumeError
from .schedule import Constant, Cosine, Schedule
from .tensorboard import TensorBoard
from .validation import Validation

__all__ = [
    "Alone",
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
    "RankError",
    "Ranks",
    "Rehearsal",
    "ResumeError",
    "Schedule",
    "TensorBoard",
    "TrajectoryPictures",
    "Validation",
    "ranks_of",
]
