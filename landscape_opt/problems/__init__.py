"""Benchmark problems; each is also an example of bringing your own forward model."""

from __future__ import annotations

from landscape_opt.problems.arm import arm
from landscape_opt.problems.attack import attack
from landscape_opt.problems.camera import camera
from landscape_opt.problems.digits import digits
from landscape_opt.problems.frequencies import frequencies
from landscape_opt.problems.linear import LinearProblem, linear
from landscape_opt.problems.panda import panda
from landscape_opt.problems.phase import phase
from landscape_opt.problems.problem import Metric, Problem, TargetSet
from landscape_opt.problems.skeleton import skeleton
from landscape_opt.problems.style import style
from landscape_opt.problems.wave import wave
from landscape_opt.problems.zoo import Classic, classic, classic_names, zoo

__all__ = [
    "Classic",
    "LinearProblem",
    "Metric",
    "Problem",
    "TargetSet",
    "arm",
    "attack",
    "camera",
    "classic",
    "classic_names",
    "digits",
    "frequencies",
    "linear",
    "panda",
    "phase",
    "skeleton",
    "style",
    "wave",
    "zoo",
]
