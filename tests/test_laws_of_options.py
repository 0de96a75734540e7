"""The laws of the design page for every option of an inversion, one at a time and several together.

``max_seconds`` is not among them: what a clock cuts off is not the same twice, so only laws 4 and 5 can hold of it.
"""

from __future__ import annotations

from dataclasses import replace

import laws
import pytest
import strategies as given_by
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import ASKED, EACH, Question, questions
from strategies import FAILS_AT_START, FAILS_NEARBY, case

from landscape_opt.solvers import Backtracking

F64 = torch.float64
SEVERAL = {"two or three": range(2, 4), "four or five": range(4, 6), "six to eight": range(6, 9)}
CHOICES: dict[str, list[tuple[str, str]] | range] = {f"{name}: {value}": [(name, value)] for name, value in EACH}
each_option = pytest.mark.parametrize("chosen", (CHOICES | SEVERAL).values(), ids=CHOICES | SEVERAL)
several = pytest.mark.parametrize("chosen", SEVERAL.values(), ids=SEVERAL)
few = settings(max_examples=max(2, settings().max_examples // 2))


@each_option
@few
@given(data=st.data())
def test_a_row_in_a_batch_is_that_row_alone(chosen, data):
    laws.rows_do_not_mix(Question.ask, data.draw(questions(chosen)))


@each_option
@few
@given(data=st.data(), bad=st.integers(0, 2), mark=st.sampled_from([FAILS_NEARBY, FAILS_AT_START]))
def test_a_row_that_is_not_finite_changes_no_other(chosen, data, bad, mark):
    well = data.draw(questions(chosen))
    laws.a_failing_row_changes_no_other(Question.ask, well, well.failing(bad, mark), bad)


@several
@given(data=st.data(), order=st.permutations([1, 2, 0]))
def test_permuting_the_rows_permutes_the_results(chosen, data, order):
    laws.permuting_permutes(Question.ask, data.draw(questions(chosen)), torch.tensor(order))


@several
@given(data=st.data())
def test_the_unit_of_the_loss_is_not_known(chosen, data):
    question = data.draw(questions(chosen, ("the default", "before any fit", "Levenberg-Marquardt"), (F64,)))
    laws.unit_of_the_loss_is_not_known(question.ask(), question.ask(factor=32.0), 1024.0, 1e-12)


@each_option
@few
@given(data=st.data())
def test_what_comes_back_is_what_was_found_and_charged(chosen, data):
    question = data.draw(questions(chosen))
    budget = data.draw(st.integers(question.num_staged + 1, question.budget), label="budget")
    question.inverter()  # whose fit is not what is counted
    with given_by.Counter().of(case(question.kind, question.dtype).forward_model) as counter:
        result = question.ask(budget)
    recomputed, is_implicit = question.loss_at(result.x), question.options.get("differentiable") == "implicit"
    if is_implicit:  # its loss is that of a forward more, and rounded in company
        laws.assert_close(result.loss, result.history.best[-1], question.exactness, "loss with a gradient")
        result = replace(result, loss=result.history.best[-1])
    laws.loss_is_honest(result, recomputed, question.exactness)
    extra = 2 * len(question) if is_implicit else 0  # an evaluation and a reading of the answers, which are not charged
    readings = len(question) * (question.num_hypotheses + len(question.options.get("stages", ()))) + extra
    charged, jacobians = question.num_hypotheses * budget, ASKED[question.way].has_jacobians
    laws.evaluations_are_counted(result, counter.rows, charged, readings, jacobians)
    laws.converged_rows_meet_tolerance(result, recomputed, question.tolerance(result))
    if (limits := question.options.get("bounds")) is not None:
        lower, upper = (torch.as_tensor(limit, dtype=question.dtype) for limit in limits)
        assert ((result.x >= lower) & (result.x <= upper)).all()


@each_option
@few
@given(data=st.data())
def test_a_larger_budget_is_never_worse(chosen, data):
    question = data.draw(questions(chosen))
    longest, staged = question.budget - question.num_staged, question.num_staged
    # Pieces, Jacobians and hypotheses: products of fewer rows round differently.
    rounding, tolerance = (1e-12, 1e-9) if question.dtype == F64 else (1e-5, 1e-4)
    laws.budgets_are_prefixes(
        lambda budget: question.ask(staged + budget), longest, through=(1, longest // 2, longest),
        tolerance=tolerance, rounding=rounding, is_one_path=question.num_hypotheses == 1,
    )  # fmt: skip


@each_option
@few
@given(data=st.data())
def test_the_same_bits_again_and_nothing_is_touched(chosen, data):
    question = data.draw(questions(chosen))
    guest, results = case(question.kind, question.dtype).forward_model, []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = laws.snapshot(guest, question.tensors)
        results.append(question.ask())
        laws.assert_untouched(before, laws.snapshot(guest, question.tensors))
    laws.assert_same_bits(*results)


# ------------------------------------------------------------------------------------------ options that change no answer


@several
@given(data=st.data(), at_a_time=st.integers(1, 2))
def test_a_piece_at_a_time_gives_the_same_answers(chosen, data, at_a_time):
    question = data.draw(questions(chosen))
    whole, pieces = (question.ask(max_batch_size=size) for size in (None, at_a_time))
    laws.assert_same_to_rounding(pieces, whole, laws.rounded_apart(question.dtype), Question.ask, question)
    if question.dtype == F64 and question.num_hypotheses == 1:
        assert torch.equal(pieces.status, whole.status)
        assert torch.equal(pieces.num_evaluations, whole.num_evaluations)
        assert pieces.history.best.shape == whole.history.best.shape


@several
@given(data=st.data())
def test_a_gradient_through_the_answer_changes_no_answer(chosen, data):
    question = data.draw(questions(chosen))
    plain, implicit = (question.ask(differentiable=way) for way in (None, "implicit"))
    assert torch.equal(plain.x, implicit.x)
    assert torch.equal(plain.num_evaluations, implicit.num_evaluations)
    for name in ("prediction", "loss"):
        laws.assert_close(getattr(implicit, name), getattr(plain, name), question.exactness, name)


@several
@given(data=st.data())
def test_a_gradient_through_the_steps_is_that_of_plain_steps(chosen, data):
    question = data.draw(questions(chosen, ("the default", "before any fit")))
    # Hypotheses cannot be asked for, and stages before the last one are no part of what is differentiated.
    options = {name: value for name, value in question.options.items() if name not in ("starts", "num_hypotheses", "stages")}
    question = replace(question, options=options | {"differentiable": None, "restarts": False})
    steps = question.ask(**({"refine": False} if ASKED[question.way].is_fitted else {"solver": Backtracking()}))
    unrolled = question.ask(differentiable="unrolled")
    laws.assert_same_to_rounding(unrolled, steps, laws.rounded_apart(question.dtype), Question.ask, question)
    assert torch.equal(unrolled.num_evaluations, steps.num_evaluations)
