"""Benchmark problems; each is also an example of bringing your own forward model."""

from __future__ import annotations

from landscape_opt.problems.digits import digits
from landscape_opt.problems.linear import LinearProblem, linear
from landscape_opt.problems.problem import Metric, Problem, TargetSet
from landscape_opt.problems.zoo import Classic, classic, classic_names, zoo

__all__ = [
    "Classic",
    "LinearProblem",
    "Metric",
    "Problem",
    "TargetSet",
    "classic",
    "classic_names",
    "digits",
    "linear",
    "zoo",
]
