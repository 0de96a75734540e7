"""Per-sample methods behind one interface: propose a point, observe what F showed there."""

from .handover import HandOver
from .landscape import LandscapeStep
from .lbfgs import LBFGS
from .solver import Run, Solver, Start
from .torch_optim import TorchOptim

__all__ = ["LBFGS", "HandOver", "LandscapeStep", "Run", "Solver", "Start", "TorchOptim"]
