"""Per-sample methods behind one interface: propose a point, observe what F showed there."""

from .backtracking import Backtracking
from .best_of import BestOf
from .handover import HandOver
from .landscape import LandscapeStep
from .lbfgs import LBFGS
from .levenberg_marquardt import LevenbergMarquardt
from .restarts import Restarts
from .solver import Run, Solver, Start, Wanted
from .torch_optim import TorchOptim
from .tournament import Tournament

__all__ = [
    "LBFGS",
    "Backtracking",
    "BestOf",
    "HandOver",
    "LandscapeStep",
    "LevenbergMarquardt",
    "Restarts",
    "Run",
    "Solver",
    "Start",
    "TorchOptim",
    "Tournament",
    "Wanted",
]
