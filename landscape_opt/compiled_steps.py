"""θ through ``torch.compile``: what a step in the learned space reads of it, compiled once for all rounds and sizes."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .compiled import as_written, lasting
from .mappings import AnchoredMapping, Context, Mapping
from .mappings.anchored import Chart
from .mappings.layers import BLOCK
from .mappings.metric import RowMetric


def compile_steps(mapping: Mapping, **options: Any) -> None:
    """Compile, in place, what a step reads of θ: x of z, and for an anchored mapping the choice of the chart.

    Rows come in any number, since rows end and new ones begin. They are filled up to a multiple of 16 with copies of the
    last one, and the number is left open in what is compiled, so that nothing is compiled again from round to round. The
    learned metric, which is differentiated twice, runs as it was written. F is the user's to compile:
    ``LearnedLandscape(torch.compile(F), x_init)``. Weights, ``state_dict`` and the kind of the mapping stay as they are, and
    a deep copy is compiled likewise.

    Args:
        mapping: θ, before or after it is built.
        options: of ``torch.compile``, as ``backend`` and ``mode``.

    Raises:
        TypeError: if it is not a mapping.

    Example:
        >>> import torch
        >>> from landscape_opt import LearnedLandscape
        >>> landscape = LearnedLandscape(torch.nn.Identity(), torch.zeros(3))
        >>> compile_steps(landscape.mapping, backend="eager")
        >>> landscape.mapping.forward
        forward of AnchoredMapping, compiled
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(f"expected a mapping, as inverter.landscape.mapping, got {type(mapping).__name__}")
    names = ("forward", "chart") if isinstance(mapping, AnchoredMapping) else ("forward",)
    for name in names:
        setattr(mapping, name, _Compiled(mapping, name, {"dynamic": True, **options}))
    mapping.metric = _AsWritten(mapping)  # type: ignore[method-assign]


class _Compiled:
    """A method of a mapping, compiled.

    Args:
        mapping: whose method.
        name: of the method, whose last argument is a context.
        options: of ``torch.compile``.
    """

    def __init__(self, mapping: Mapping, name: str, options: dict[str, Any]) -> None:
        self.mapping, self.name, self.options = mapping, name, options
        method = getattr(type(mapping), name)
        # With a code object of its own, since that is what the compiler keeps its graphs by, and counts them to a limit.
        own = types.FunctionType(method.__code__.replace(), method.__globals__, name, None, method.__closure__)
        self.compiled: Callable[..., Any] = torch.compile(own, **options)

    def __call__(self, *given: Any) -> Any:
        """The same answer as the method's."""
        *z, context = given
        size = len(z[0]) if z else len(context.evaluation.x)
        if size == 0:
            return getattr(type(self.mapping), self.name)(self.mapping, *given)
        index = torch.arange(size + -size % BLOCK).clamp_max(size - 1).to(self.mapping.x_init.device)
        answer = self.compiled(self.mapping, *(rows[index] for rows in z), _bare(context).rows(index))
        return _first(answer, size)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Compiled:
        return _Compiled(memo.get(id(self.mapping), self.mapping), self.name, self.options)

    def __repr__(self) -> str:
        return f"{self.name} of {type(self.mapping).__name__}, compiled"


class _AsWritten:
    """The metric of a mapping of which other methods are compiled."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping

    def __call__(self, z: Tensor, context: Context) -> RowMetric:
        with as_written():
            return _MetricAsWritten(type(self.mapping).metric(self.mapping, z, context))

    def __deepcopy__(self, memo: dict[int, Any]) -> _AsWritten:
        return _AsWritten(memo.get(id(self.mapping), self.mapping))


class _MetricAsWritten(RowMetric):
    """What it answers is not compiled, though it reads a mapping that is."""

    def __init__(self, metric: RowMetric) -> None:
        self.metric = metric

    def __call__(self, v: Tensor) -> Tensor:
        with as_written():
            return self.metric(v)

    def rows(self, index: Tensor) -> RowMetric:
        return _MetricAsWritten(self.metric.rows(index))

    def beside(self, other: RowMetric) -> RowMetric | None:
        joined = self.metric.beside(other.metric) if isinstance(other, _MetricAsWritten) else None
        return None if joined is None else _MetricAsWritten(joined)


def _bare(context: Context) -> Context:
    """What θ reads of a context: a prediction is not among it."""
    return context if context.evaluation is None else replace(context, evaluation=context.evaluation.without_prediction())


def _first(answer: Any, size: int) -> Any:
    first = slice(size)  # a view: nothing is copied that lasts
    return answer.rows(first).map(lasting) if isinstance(answer, Chart) else lasting(answer[first])
