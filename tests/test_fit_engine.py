"""Validation, early stopping, divergence, callbacks, logs, schedules, and a trainer of the user's own."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from strategies import MAPPINGS, Fuse, case, new_inverter, squares

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.fitting import (
    Callback,
    Constant,
    Cosine,
    DivergenceGuard,
    EarlyStopping,
    FitLoop,
    Logging,
    Validation,
)
from landscape_opt.replay import Streaming

PROBLEM = case("mlp", torch.float64)
TARGETS, HELD_OUT = PROBLEM.targets(128, 3), PROBLEM.targets(32, 8)


pytestmark = pytest.mark.filterwarnings("ignore:this fit has not paid")  # rounds of two updates teach little


def begun():
    landscape = LearnedLandscape(PROBLEM.forward_model, PROBLEM.x_init, MAPPINGS["anchored"]())
    return LandscapeInverter(landscape, squares, replay=Streaming(32, 4, updates_per_round=2), batch_size=32)


def weights(inverter):
    return {name: value.clone() for name, value in inverter.landscape.mapping.state_dict().items()}


def same(mine, theirs):
    return all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_validation_reads_the_losses_that_an_inversion_reaches():
    checks = Validation(HELD_OUT, budgets=(0, 1, 3, 8), every=5)
    inverter = begun().fit(TARGETS, num_rounds=12, validation=checks, progress=False)
    validated = [record.round for record in inverter.history if record.validation is not None]
    assert validated == [4, 9, 11]
    kept = min((record.validation for record in inverter.history if record.validation), key=lambda one: one.area)
    for place, budget in enumerate(kept.budgets):
        loss = PROBLEM.loss_at(inverter.invert(HELD_OUT, max(budget, 1)).x, HELD_OUT) if budget else None
        if loss is not None:
            assert math.isclose(kept.median[place], float(loss.median()), rel_tol=1e-6)
            assert math.isclose(kept.mean[place], float(loss.mean()), rel_tol=1e-6)


def test_the_plain_curve_is_plain_descent_and_the_area_its_mean_decade():
    checks = Validation(HELD_OUT, budgets=(1, 4), every=3)
    inverter = begun().fit(TARGETS, num_rounds=3, validation=checks, progress=False)
    found = inverter.history[-1].validation
    plain = begun().invert(HELD_OUT, 4, allow_unfitted=True).history
    level = plain.loss[0].mean()
    assert math.isclose(found.plain_median[1], float(plain.best[4].median()), rel_tol=1e-9)
    assert math.isclose(found.plain_area, float((plain.best[[1, 4]] / level).log10().mean()), rel_tol=1e-9)


def test_validation_does_not_change_what_a_fit_does():
    checked = begun().fit(TARGETS, num_rounds=6, validation=Validation(HELD_OUT, every=2, keep_best=False), progress=False)
    assert same(weights(checked), weights(begun().fit(TARGETS, num_rounds=6, progress=False)))
    assert checked.num_evaluations == begun().fit(TARGETS, num_rounds=6, progress=False).num_evaluations


def test_held_out_targets_alone_are_enough():
    inverter = begun().fit(TARGETS, num_rounds=3, validation=HELD_OUT, progress=False)
    assert inverter.history[-1].validation.budgets == (0, 1, 2, 5, 10, 20)


class Spoil(Callback):
    """θ is spoilt after a round, as by an accident."""

    def __init__(self, at, how):
        self.at, self.how = at, how

    def on_round_end(self, *, inverter, record, **context):
        if record.round in self.at:
            with torch.no_grad():
                for weight in inverter.landscape.mapping.parameters():
                    self.how(weight)


def test_a_fit_ends_with_the_best_theta_that_was_validated():
    spoil = Spoil([7], lambda weight: weight.mul_(-3.0).add_(1.0))
    checks = Validation(HELD_OUT, budgets=(0, 1, 2), every=4)
    kept = begun().fit(TARGETS, num_rounds=10, validation=checks, callbacks=[spoil], progress=False)
    alone = begun().fit(TARGETS, num_rounds=8, progress=False)
    areas = {record.round: record.validation.area for record in kept.history if record.validation}
    assert areas[7] < areas[9]
    assert same(weights(kept), weights(alone))
    assert Validation(HELD_OUT, budgets=(0, 1, 2)).check(kept).area == pytest.approx(areas[7])


def test_early_stopping_waits_its_patience():
    stop = EarlyStopping(patience=2, min_delta=1e3)  # nothing counts as progress but the first
    checks = Validation(HELD_OUT, budgets=(1,), every=2)
    inverter = begun().fit(TARGETS, num_rounds=50, validation=checks, callbacks=[stop], progress=False)
    assert len(inverter.history) == 6


def test_a_fit_that_does_not_pay_says_so():
    spoil = Spoil([1], lambda weight: weight.add_(5.0))
    checks = Validation(HELD_OUT, budgets=(0, 1), every=50, keep_best=False)
    with pytest.warns(UserWarning, match=r"has not paid.*plain descent reaches|has not paid.*plain descent \("):
        begun().fit(TARGETS, num_rounds=2, validation=checks, callbacks=[spoil], progress=False)


def test_targets_of_another_scale_are_pointed_out():
    checks = Validation(100.0 * HELD_OUT, budgets=(1,))
    with pytest.warns(UserWarning, match="the two are not alike"):
        begun().fit(TARGETS, num_rounds=2, validation=checks, progress=False)


def test_break_even_counts_the_evaluations_saved():
    problem = case("linear", torch.float64)
    checks = Validation(problem.targets(64, 8), budgets=(1, 2, 5, 10, 20), every=40)
    inverter = new_inverter(problem.forward_model, problem.x_init)
    found = inverter.fit(problem.targets(256, 3), num_rounds=40, validation=checks, progress=False).history[-1].validation
    assert found.pays
    arrived = next(
        budget for budget, loss in zip(found.budgets, found.median, strict=True) if loss <= found.plain_median[-1]
    )
    needed = next(budget for budget, loss in zip(found.budgets, found.plain_median, strict=True)
                  if loss <= found.plain_median[-1])  # fmt: skip
    assert arrived < needed
    assert found.break_even == inverter.num_evaluations / (needed - arrived)


@pytest.mark.parametrize("how", ["nan", "huge"])
def test_a_theta_that_runs_away_is_taken_back(how):
    spoilt = {"nan": lambda weight: weight.fill_(math.nan), "huge": lambda weight: weight.mul_(1e6)}[how]
    inverter = begun()
    with pytest.warns(RuntimeWarning, match="taken back to where it was well; its learning rate is now 0.5"):
        inverter.fit(TARGETS, num_rounds=40, callbacks=[Spoil([29], spoilt)], progress=False)
    assert len(inverter.history) == 40
    assert inverter.history[-1].learning_rate == pytest.approx(1e-3)
    clean = begun().fit(TARGETS, num_rounds=40, progress=False)
    mine, theirs = (one.invert(HELD_OUT, 5).loss.mean() for one in (inverter, clean))
    assert mine < 10 * theirs + 1e-6


def test_steps_that_run_away_while_the_start_does_not_are_taken_back():
    """Every other round trains the start alone: its rounds go well, however wild the steps of the rounds between."""
    inverter = begun()
    heads = inverter.prepare(TARGETS).mapping

    def wild(weight):
        if any(weight is one for head in (heads.left, heads.diagonal) for one in head.parameters()):
            weight.mul_(1e9).add_(1e9)

    with pytest.warns(RuntimeWarning, match="taken back to where it was well"):
        inverter.fit(TARGETS, num_rounds=40, callbacks=[Spoil([29], wild)], progress=False)
    assert max(record.objective for record in inverter.history[-4:]) < 10.0
    assert heads.left.weight.abs().max() < 1e3


def test_trouble_long_ago_is_forgotten():
    inverter = begun()
    guard = DivergenceGuard()
    inverter.fit(TARGETS, num_rounds=12, callbacks=[guard], progress=False)
    record, loop = inverter.history[-1], FitLoop(inverter, Constant(), ())
    wild = dataclasses.replace(record, objective=1e6)
    for one in (wild, record, wild, record, record, record, record, wild, record, wild, record):
        assert not guard.on_round_end(inverter=inverter, record=one, fit=loop)
    assert guard.num_returns == 0
    with pytest.warns(RuntimeWarning, match="ran away"):
        guard.on_round_end(inverter=inverter, record=wild, fit=loop)


def test_a_fit_that_keeps_running_away_ends():
    always = Spoil([3, 4, 5], lambda weight: weight.fill_(math.nan))
    with pytest.warns(RuntimeWarning, match="ran away") as warned:
        inverter = begun().fit(TARGETS, num_rounds=1000, callbacks=[always], progress=False)
    assert [str(one.message)[-19:] for one in warned][-1].endswith("the fit ends here")
    assert len(warned) == 3
    assert len(inverter.history) == 7
    assert all(bool(weight.isfinite().all()) for weight in inverter.landscape.parameters())


def test_the_guard_does_nothing_while_all_is_well():
    guarded = begun().fit(TARGETS, num_rounds=30, progress=False)
    by_hand = begun()
    by_hand.fit(TARGETS, num_rounds=30, callbacks=[DivergenceGuard()], progress=False)
    assert same(weights(guarded), weights(by_hand))


def test_callbacks_are_told_in_order_and_may_end_the_fit():
    told = []

    class Told(Callback):
        def __init__(self, name):
            self.name = name

        def on_fit_begin(self, **context):
            told.append((self.name, "begin", sorted(context)))

        def on_round_end(self, *, record, fit, **context):
            told.append((self.name, record.round, fit.num_rounds_done))
            return self.name == "b" and record.round == 1

        def on_fit_end(self, **context):
            told.append((self.name, "end", sorted(context)))

    begun().fit(TARGETS, num_rounds=5, callbacks=[Told("a"), Told("b")], progress=False)
    context = ["fit", "inverter"]
    assert told == [("a", "begin", context), ("b", "begin", context), ("a", 0, 1), ("b", 0, 1), ("a", 1, 2), ("b", 1, 2),
                    ("a", "end", context), ("b", "end", context)]  # fmt: skip


def test_the_log_gets_numbers_by_name_and_the_round():
    seen = []
    begun().fit(TARGETS, num_rounds=4, validation=Validation(HELD_OUT, budgets=(1, 3), every=2),
                log=lambda figures, step: seen.append((step, figures)), progress=False)  # fmt: skip
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert all(isinstance(value, float) for _, figures in seen for value in figures.values())
    assert "validation/median_at_3" in seen[1][1]
    assert "validation/area" not in seen[0][1]
    assert seen[3][1]["fit/evaluations"] > seen[2][1]["fit/evaluations"]


def test_schedules():
    rates = []

    class Rates(Callback):
        def on_round_end(self, *, record, **context):
            rates.append(record.learning_rate)

    warm = begun()
    warm.num_updates = 50
    warm.fit(TARGETS, num_rounds=20, schedule=Cosine(floor=0.5), callbacks=[Rates()], progress=False)
    wanted = [2e-3 * (0.5 + 0.25 * (1 + math.cos(math.pi * number / 20))) for number in range(20)]
    assert rates == pytest.approx(wanted)
    assert [Constant().factor(share) for share in (0.0, 0.7)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="floor must lie in"):
        Cosine(floor=2.0)


def test_a_users_optimizer_and_backward_take_the_place_of_ours():
    mine, theirs = begun(), begun()
    batches_ = TARGETS.split(32)
    optimizer = torch.optim.AdamW(mine.prepare(batches_[0]).parameters(), lr=2e-3)
    seen = []

    def backward(value):
        seen.append(float(value.detach()))
        (1.0 * value).backward()

    for batch in batches_:
        record = mine.step(batch, optimizer=optimizer, backward=backward)
        assert record.learning_rate == 2e-3
    assert len(seen) == 2 * len(batches_)
    assert mine.optimizer is None
    # ours with the warm-up taken out is the same
    own = begun_without_warm_up()
    for batch in batches_:
        own.step(batch)
    assert same(weights(mine), weights(own))
    assert theirs.num_updates == 0


def begun_without_warm_up():
    inverter = begun()
    inverter.num_updates = 10**6
    return inverter


def test_prepare_is_what_the_first_round_would_do():
    prepared, other = begun(), begun()
    prepared.prepare(TARGETS[:32])
    assert prepared.landscape.is_fitted
    prepared.step(TARGETS[:32])
    other.step(TARGETS[:32])
    assert same(weights(prepared), weights(other))
    assert prepared.num_evaluations == other.num_evaluations


def test_the_user_s_model_and_random_state_are_untouched_by_the_engine(tmp_path):
    model = copy.deepcopy(PROBLEM.forward_model)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    inverter = new_inverter(model, PROBLEM.x_init)
    inverter.fit(TARGETS, num_rounds=3, validation=HELD_OUT, checkpoint=tmp_path, callbacks=[EarlyStopping()],
                 progress=False)  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert same(model.state_dict(), before)
    assert all(weight.grad is None for weight in model.parameters())


ERRORS = {
    "budgets, empty": (lambda: Validation(HELD_OUT, budgets=()), "budgets must be"),
    "budgets, order": (lambda: Validation(HELD_OUT, budgets=(5, 1)), "ascending"),
    "budgets, zero alone": (lambda: Validation(HELD_OUT, budgets=(0,)), "at least 1"),
    "every": (lambda: Validation(HELD_OUT, every=0), "every must be at least 1"),
    "targets, empty": (lambda: Validation(HELD_OUT[:0]), "no targets"),
    "targets, nan": (lambda: Validation(HELD_OUT * math.nan), "NaN or infinity"),
    "patience": (lambda: EarlyStopping(patience=0), "patience must be at least 1"),
    "min_delta": (lambda: EarlyStopping(min_delta=-1.0), "min_delta must not be negative"),
    "size": (
        lambda: begun().fit(TARGETS, num_rounds=1, progress=False)
        .fit(TARGETS, num_rounds=1, validation=HELD_OUT[:, :3], progress=False),
        "the landscape was built for|size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ERRORS)
def test_errors(what):
    make, message = ERRORS[what]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_log_must_be_callable():
    with pytest.raises(TypeError, match="log must be a function"):
        Logging({"round": 1})
    with pytest.raises(TypeError, match="log must be a function"):
        begun().fit(TARGETS, num_rounds=1, log=3, progress=False)


def test_an_error_in_a_callback_loses_nothing(tmp_path):
    class Broken(Callback):
        def on_round_end(self, **context):
            raise ZeroDivisionError

    inverter = begun()
    with pytest.raises(ZeroDivisionError):
        inverter.fit(TARGETS, num_rounds=5, callbacks=[Broken()], progress=False)
    assert len(inverter.history) == 1
    assert inverter.invert(HELD_OUT, 3).loss.isfinite().all()


def test_a_fuse_that_burns_in_validation_is_an_error_of_the_user_s_model():
    fuse = Fuse(PROBLEM.forward_model)
    fuse.countdown[0] = 3
    inverter = LandscapeInverter(LearnedLandscape(fuse, PROBLEM.x_init), squares, replay=Streaming(num_rows=32))
    with pytest.raises(ZeroDivisionError):
        inverter.fit(TARGETS, num_rounds=1, validation=HELD_OUT, progress=False)
    assert not inverter.history


def test_unfitted_is_plain_descent_of_the_same_problem():
    inverter = begun().fit(TARGETS, num_rounds=2, progress=False)
    mine = inverter.unfitted().invert(HELD_OUT, 6, allow_unfitted=True)
    theirs = LandscapeInverter(LearnedLandscape(PROBLEM.forward_model, PROBLEM.x_init), squares).invert(
        HELD_OUT, 6, allow_unfitted=True
    )
    assert torch.equal(mine.x, theirs.x)
