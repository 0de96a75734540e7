"""Benchmark problems; each is also an example of bringing your own forward model."""

from __future__ import annotations

from landscape_opt.problems.digits import digits
from landscape_opt.problems.linear import LinearProblem, linear
from landscape_opt.problems.problem import Problem

__all__ = ["LinearProblem", "Problem", "digits", "linear"]
