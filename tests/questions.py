"""What the laws of the options are tried on: targets with options of an inversion, drawn by Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import laws
import strategies as given_by
import torch
from hypothesis import strategies as st
from strategies import WAYS, Way, case, seeded
from torch import Tensor

from landscape_opt import InversionResult, LandscapeInverter, PerTarget, Stage
from landscape_opt.hypotheses import Given, LatinHypercube, Remembered, Scattered

ASKED: dict[str, Way] = {
    "the default": WAYS["the default"],
    "before any fit": Way(is_fitted=False, max_evaluations=12),
    "landscape steps": WAYS["landscape steps"],
    "Levenberg-Marquardt": WAYS["Levenberg-Marquardt, after the hand-over"],
    "θ(z)": Way(mapping="residual", max_evaluations=12),
    "Adam": WAYS["Adam in Z"],
}
TAKES_STEPS_OF_ITS_OWN = ("the default", "before any fit", "landscape steps")  # what differentiable="unrolled" needs
OF_ROWS = ("observed", "warm_start", "starts", "stages", "extra_terms")  # options that hold something for every row


# ----------------------------------------------------------------------------------------------------------- questions


@dataclass(frozen=True, repr=False)
class Question:
    """Targets and what is asked for beside them. Sliced and scaled as targets are, so that the laws take either."""

    way: str
    kind: str
    dtype: torch.dtype
    target: Tensor
    options: dict[str, Any] = field(default_factory=dict)
    about: str = ""

    def __repr__(self) -> str:
        return f"{self.way}, {self.kind}, {self.dtype}, {self.about}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would print every Tensor

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: Any) -> Question:
        rows = torch.arange(len(self))[index]
        options = {name: _rows(value, rows) if name in OF_ROWS else value for name, value in self.options.items()}
        return replace(self, target=self.target[rows], options=options)

    def __mul__(self, factor: float | Tensor) -> Question:
        return replace(self, target=self.target * factor)

    @property
    def shape(self) -> torch.Size:
        return self.target.shape

    def failing(self, bad: int, mark: float) -> Question:
        """The same, but for a row that is to fail."""
        target = self.target.clone()
        target.flatten(1)[bad, 0] = mark
        return replace(self, target=target)

    def ask(self, budget: int | None = None, factor: float = 1.0, **options: Any) -> InversionResult:
        """The answer, where the loss and all that is told in its unit is factor² as large."""
        way, told = ASKED[self.way], {**self.options, **options}
        for name in {"atol", "target_loss"} & told.keys():
            told[name] *= factor**2
        told["extra_terms"] = _scaled(told.get("extra_terms", ()), factor)
        told["stages"] = [replace(stage, extra_terms=_scaled(stage.extra_terms, factor)) for stage in told.get("stages", ())]
        found = way.ask(self.inverter(factor), self.target, budget, **told)
        return replace(found, x=found.x.detach(), prediction=found.prediction.detach(), loss=found.loss.detach())

    def inverter(self, factor: float = 1.0) -> LandscapeInverter:
        """With the loss times factor²."""
        return ASKED[self.way].inverter(self.kind, self.dtype, factor)

    def loss_at(self, x: Tensor) -> Tensor:
        """What is minimised, outside the library."""
        x, prediction = x.detach(), case(self.kind, self.dtype).prediction_at(x.detach())
        errors = (prediction - self.target.detach()).square() * self.options.get("observed", 1.0)
        terms = self.options.get("extra_terms", ())
        told = [(term.told,) if isinstance(term, PerTarget) else () for term in terms]
        return 0.5 * errors.flatten(1).sum(1) + sum(
            term(x, prediction, *more) for term, more in zip(terms, told, strict=True)
        )

    def tolerance(self, result: InversionResult) -> Tensor:
        """The loss at which a row has converged; 0 where nothing was asked for."""
        told = self.options
        wanted = torch.full_like(result.loss, told.get("target_loss", 0.0))
        return wanted.maximum(told.get("atol", 0.0) + told.get("rtol", 0.0) * result.history.loss[0])

    @property
    def exactness(self) -> float:
        """To which one computation agrees with another of the same."""
        return 1e-12 if self.dtype == torch.float64 else 1e-5

    @property
    def budget(self) -> int:
        """Of the whole, stages included."""
        return ASKED[self.way].max_evaluations + self.num_staged

    @property
    def num_staged(self) -> int:
        return sum(stage.num_evaluations for stage in self.options.get("stages", ()))

    @property
    def num_hypotheses(self) -> int:
        return self.options.get("num_hypotheses", 1)

    @property
    def tensors(self) -> list[Tensor]:
        """All that was given."""
        told = self.options
        held = [getattr(given, "x", given) for given in (told.get("observed"), told.get("warm_start"), told.get("starts"))]
        held += [*told.get("bounds", ()), *(stage.observed for stage in told.get("stages", ()))]
        return [self.target, *(one for one in held if isinstance(one, Tensor))]


def _rows(value: Any, rows: Tensor) -> Any:
    """Of an option that holds something for every row."""
    if isinstance(value, Tensor):
        return value[rows]
    if isinstance(value, InversionResult):
        return laws.picked(value, rows)
    if isinstance(value, Given):
        return Given(value.x[rows])
    if isinstance(value, list):
        if not isinstance(value[0], Stage):
            return [PerTarget(one.term, one.told[rows]) if isinstance(one, PerTarget) else one for one in value]
        return [one if one.observed is None else replace(one, observed=one.observed[rows]) for one in value]
    return value


def _scaled(terms: Any, factor: float) -> list[Any]:
    def scaled(term: Any) -> Any:
        times = lambda *told: factor**2 * (term.term if isinstance(term, PerTarget) else term)(*told)  # noqa: E731
        return PerTarget(times, term.told) if isinstance(term, PerTarget) else times

    return [scaled(term) for term in terms]


# ------------------------------------------------------------------------------------------------------------- options


def random_mask(question: Question, share: float) -> Tensor:
    """Observed elements; the first is always one of them, since it holds the mark of a row that is to fail."""
    mask = torch.rand(question.target.shape, generator=seeded(31)) < share
    mask.flatten(1)[:, 0] = True
    return mask


def random_weights(question: Question) -> Tensor:
    """Some of them 0."""
    return random_mask(question, 0.8) * (0.1 + torch.rand(question.target.shape, generator=seeded(32))).to(question.dtype)


def beside(question: Question, *shape: int) -> Tensor:
    """Points around the plain start, (*shape, d)."""
    x_init = case(question.kind, question.dtype).x_init
    return x_init + 0.3 * torch.randn(*shape, len(x_init), generator=seeded(33)).to(x_init)


def encoder(kind: str, dtype: torch.dtype, target: Tensor) -> Tensor:
    """A function of the targets, row by row, that returns x."""
    return 0.3 * target.flatten(1)[:, 1 : 1 + len(case(kind, dtype).x_init)].tanh()


def near(x: Tensor, prediction: Tensor, place: Tensor) -> Tensor:
    return 0.2 * (x - place).square().sum(1)


def small(x: Tensor, prediction: Tensor) -> Tensor:
    return 0.1 * x.square().sum(1)


def smooth(x: Tensor, prediction: Tensor) -> Tensor:
    return 0.05 * prediction.flatten(1).diff(dim=1).square().sum(1)


Option = Callable[[Question], Any]
OPTIONS: dict[str, dict[str, Option]] = {
    "observed": {"mask": lambda q: random_mask(q, 0.7), "weights": random_weights},
    "extra_terms": {
        "two terms": lambda q: [small, smooth],
        "told of each": lambda q: [small, PerTarget(near, beside(q, len(q)))],
    },
    "bounds": {
        "numbers": lambda q: (-0.4, 0.5),
        "Tensors": lambda q: (beside(q) - 0.5, beside(q) + 0.1),
    },
    "warm_start": {
        "Tensor": lambda q: beside(q, len(q)),
        "result": lambda q: q.ask(2),
        "encoder": lambda q: partial(encoder, q.kind, q.dtype),
    },
    "starts": {
        "none": lambda q: None,
        "scattered": lambda q: Scattered(2.0),
        "remembered": lambda q: Remembered(),
        "box": lambda q: LatinHypercube(-1.0, 1.0),
        "given": lambda q: Given(beside(q, len(q), 3)),
    },
    "stages": {
        "weights first": lambda q: [Stage(3, observed=random_weights(q))],
        "terms, then a mask": lambda q: [Stage(2, extra_terms=(small,)), Stage(3, random_mask(q, 0.5), (smooth,))],
    },
    "max_batch_size": {"pieces": lambda q: 2},
    "patience": {"none": lambda q: 1},
    "atol": {"a little": lambda q: 0.02},
    "rtol": {"a quarter": lambda q: 0.25},
    "target_loss": {"level": lambda q: 0.1},
    "restarts": {"off": lambda q: False},
    "differentiable": {"implicit": lambda q: "implicit", "unrolled": lambda q: "unrolled"},
}
EACH = [(name, value) for name, values in OPTIONS.items() for value in values]


def asked(way: str, kind: str, dtype: torch.dtype, target: Tensor, chosen: list[tuple[str, str]]) -> Question:
    """With the chosen options, in a fixed order."""
    question = Question(way, kind, dtype, target.requires_grad_("differentiable" in dict(chosen)))
    options = {name: OPTIONS[name][value](question) for name, value in sorted(chosen)}
    if "starts" in options:
        options["num_hypotheses"] = 3
    return replace(question, options=options, about=", ".join(f"{name}: {value}" for name, value in sorted(chosen)))


def go_together(way: str, chosen: list[tuple[str, str]]) -> bool:
    """Whether `invert` takes them: an unrolled answer is that of one descent in steps of its own, in a chart that moves."""
    is_unrolled = ("differentiable", "unrolled") in chosen
    return not is_unrolled or (way in TAKES_STEPS_OF_ITS_OWN and "starts" not in dict(chosen))


@st.composite
def questions(
    draw: st.DrawFn,
    chosen: list[tuple[str, str]] | range,
    ways: tuple[str, ...] = tuple(ASKED),
    dtypes: tuple[torch.dtype, ...] = given_by.DTYPES,
) -> Question:
    """Three targets with the chosen options, or with so many as are in a range, where they go together."""
    turn = 0 if isinstance(chosen, range) else EACH.index(chosen[0])  # the first example is another one for every option
    again = turn // len(ASKED)
    if isinstance(chosen, range):
        names = draw(st.lists(st.sampled_from(sorted(OPTIONS)), min_size=chosen[0], max_size=chosen[-1], unique=True))
        chosen = [(name, draw(st.sampled_from(sorted(OPTIONS[name])))) for name in names]
    if not any(go_together(way, chosen) for way in ways):
        chosen = [(name, value) for name, value in chosen if name != "differentiable"]
    way = draw(st.sampled_from(_turned([way for way in ways if go_together(way, chosen)], turn)))
    kind, dtype = (draw(st.sampled_from(_turned(values, again))) for values in (given_by.KINDS, dtypes))
    seed = draw(given_by.target_seeds)
    return asked(way, kind, dtype, case(kind, dtype).targets(3, seed), chosen)


def _turned(values: Any, turn: int) -> list[Any]:
    return [*values[turn % len(values) :], *values[: turn % len(values)]]
