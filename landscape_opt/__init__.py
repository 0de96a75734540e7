"""Invert any differentiable model in a few evaluations, by learning the space in which to descend.

from landscape_opt import LandscapeInverter, LearnedLandscape

landscape = LearnedLandscape(forward_model, x_init)        # x_init without batch dimension
inverter = LandscapeInverter(landscape, loss_fn, seed=0)   # loss_fn(prediction, target) -> (B,)
inverter.fit(targets, max_seconds=120)                     # from targets alone
result = inverter.invert(target, max_evaluations=20)
result.x, result.loss, result.status, result.num_evaluations, result.history
"""

from .adaptation import Adaptation
from .checkpoint import CheckpointError
from .differentiable import Differentiable
from .inverter import LandscapeInverter
from .landscape import LearnedLandscape
from .least_squares import LeastSquares
from .memory import Memory
from .optimizer import LandscapeOptimizer
from .results import InversionHistory, InversionResult, RoundRecord, Status, ValidationRecord
from .stages import Stage
from .terms import PerTarget

__all__ = [
    "Adaptation",
    "CheckpointError",
    "Differentiable",
    "InversionHistory",
    "InversionResult",
    "LandscapeInverter",
    "LandscapeOptimizer",
    "LearnedLandscape",
    "LeastSquares",
    "Memory",
    "PerTarget",
    "RoundRecord",
    "Stage",
    "Status",
    "ValidationRecord",
]
__version__ = "0.1.0"
