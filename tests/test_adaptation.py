"""invert(adapt=...): a copy of θ learns from the request, is charged for it, and leaves the inverter as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from strategies import squares

from landscape_opt import Adaptation, LandscapeInverter, LearnedLandscape, Memory, PerTarget, Stage
from landscape_opt.problems.arm import arm


class Counted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rows, self.lowest, self.highest = 0, 0.0, 0.0

    def forward(self, x):
        self.rows += len(x)
        self.lowest = min(self.lowest, float(x.detach().min()))
        self.highest = max(self.highest, float(x.detach().max()))
        heading = x.cumsum(1)
        return torch.stack([heading.cos(), heading.sin()], dim=2).cumsum(1).flatten(1)


def fitted(forward_model=None, number=256, rounds=4, **settings):
    F = Counted() if forward_model is None else forward_model
    y = F(0.5 * torch.randn(number, 4, generator=torch.Generator().manual_seed(0)))
    inverter = LandscapeInverter(LearnedLandscape(F, torch.full((4,), 0.1)), squares, batch_size=32, **settings)
    return inverter.fit(y, num_rounds=rounds, progress=False), F


def far(F, number=24):
    """Targets unlike those of the fit."""
    return F(1.0 + 0.5 * torch.randn(number, 4, generator=torch.Generator().manual_seed(1)))


@pytest.mark.slow
def test_unfamiliar_constraints_of_many_targets_are_met_by_more_of_them():
    plain, adapted = [], []
    for seed in (1, 2, 3):  # a few arms of each lean against an obstacle
        problem = arm(seed)
        inverter = LandscapeInverter(problem.landscape(), problem.loss_fn).fit(problem.train, num_rounds=15, progress=False)
        asked = {"observed": problem.unfamiliar.observed[:256], "extra_terms": problem.unfamiliar.extra_terms}
        plain.append(inverter.invert(problem.unfamiliar.targets[:256], 40, **asked).loss)
        found = inverter.invert(problem.unfamiliar.targets[:256], 40, adapt=True, **asked)
        assert found.num_evaluations.max() <= 40  # what learning took included
        adapted.append(found.loss)
    before, after = torch.cat(plain), torch.cat(adapted)
    assert after.mean() < 0.7 * before.mean()
    assert (after > 1e-4).sum() < 0.8 * (before > 1e-4).sum()


@pytest.mark.parametrize("adaptation", [True, Adaptation(3, updates_per_round=2, num_rows=7)])
def test_what_learning_takes_is_charged_and_the_inverter_stays_as_it_is(adaptation):
    inverter, F = fitted()
    targets = far(F)
    before = copy.deepcopy(inverter.state_dict())
    weights = [weight.clone() for weight in inverter.landscape.parameters()]
    state, F.rows = torch.random.get_rng_state(), 0
    result = inverter.invert(targets, 30, adapt=adaptation)
    assert F.rows <= int(result.num_evaluations.sum()) + len(targets)  # and a forward to read the last point
    cost = 20 if adaptation is True else 2  # 3 · 2 · 7 evaluations for 24 targets
    assert (result.num_evaluations > cost).all()
    assert (result.num_evaluations <= 30).all()
    assert torch.allclose(result.loss, squares(F(result.x), targets), rtol=1e-4, atol=1e-10)
    assert torch.equal(state, torch.random.get_rng_state())
    for one, other in zip(weights, inverter.landscape.parameters(), strict=True):
        assert torch.equal(one, other)
        assert other.grad is None or not other.grad.isnan().any()
    after = inverter.state_dict()
    assert torch.equal(before["memory"]["storage"][0], after["memory"]["storage"][0])
    assert torch.equal(before["generator"], after["generator"])
    assert before["counters"] == after["counters"]
    assert len(before["history"]) == len(after["history"])
    assert torch.equal(inverter.invert(targets, 30, adapt=adaptation).x, result.x)  # the same request, the same answer


def test_hidden_parts_never_reach_the_fit():
    """Whatever stands where nothing was observed, NaN included: the answers are the same to the bit."""
    for settings in ({}, {"memory": Memory(capacity=0)}):
        inverter, F = fitted(**settings)
        targets = far(F)
        observed = torch.rand(targets.shape, generator=torch.Generator().manual_seed(2)) < 0.6
        found = []
        for hidden in (torch.nan, 0.0, 99.0):
            shown = targets.masked_fill(~observed, hidden)
            found.append(inverter.invert(shown, 16, observed=observed, adapt=Adaptation(6)))
        assert found[0].loss.isfinite().all()
        assert (found[0].loss < found[0].history.loss[0]).all()
        assert torch.equal(found[0].x, found[1].x)
        assert torch.equal(found[0].x, found[2].x)
    with pytest.raises(ValueError, match="NaN"):
        inverter.invert(shown.masked_fill(~observed, torch.nan), 16, adapt=Adaptation(6))


def test_terms_weights_and_bounds_are_those_of_the_request():
    inverter, F = fitted()
    targets, near = far(F), torch.full((24, 4), 0.3)
    stay = PerTarget(lambda x, prediction, told: 5.0 * (x - told).square().sum(1), near)
    weights = torch.rand(targets.shape, generator=torch.Generator().manual_seed(2))
    F.lowest = F.highest = 0.0
    result = inverter.invert(targets, 16, observed=weights, extra_terms=[stay], bounds=(-0.4, 0.6), adapt=Adaptation(6))
    assert F.lowest >= -0.4 - 1e-6  # F is never asked outside
    assert F.highest <= 0.6 + 1e-6
    wanted = squares(weights.sqrt() * F(result.x), weights.sqrt() * targets) + 5.0 * (result.x - near).square().sum(1)
    assert torch.allclose(result.loss, wanted, rtol=1e-4)


def test_an_f_that_is_given_more_than_x():
    gain = 1.0 + torch.rand(64, 1, generator=torch.Generator().manual_seed(1))
    y = gain * torch.randn(64, 3, generator=torch.Generator().manual_seed(2))
    landscape = LearnedLandscape(lambda x, gain: gain * x, torch.zeros(3), given=lambda t: t["gain"])
    inverter = LandscapeInverter(landscape, lambda p, t: squares(p, t["y"]), batch_size=32)
    targets = {"gain": gain, "y": y}
    inverter.fit(targets, num_rounds=3, progress=False)
    result = inverter.invert(targets, 16, adapt=Adaptation(4))
    assert torch.allclose(result.x, y / gain, atol=1e-2)
    term = PerTarget(lambda x, prediction, told: 0.0 * told[:, 0], y)
    assert torch.allclose(inverter.invert(targets, 16, adapt=Adaptation(4), extra_terms=[term]).x, y / gain, atol=1e-2)


def test_the_published_landscape_adapts_too():
    F = Counted()
    y = F(0.5 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))
    inverter = LandscapeInverter.published(F, torch.full((4,), 0.1), squares).fit(y, num_rounds=1, progress=False)
    result = inverter.invert(y[:8], 12, adapt=Adaptation(4))
    assert (result.loss < result.history.loss[0]).all()


def test_stages_hypotheses_and_time():
    inverter, F = fitted()
    targets = far(F)
    staged = inverter.invert(targets, 16, stages=[Stage(3)], adapt=Adaptation(4))
    assert staged.num_evaluations.max() <= 16
    several = inverter.invert(targets, 16, num_hypotheses=2, adapt=Adaptation(4), max_batch_size=10)
    assert several.hypotheses.num_evaluations.max() <= 14
    assert (several.num_evaluations == several.hypotheses.num_evaluations.sum(1) + 2).all()  # 4 rounds of 10 of 24 rows
    hurried = inverter.invert(targets, 200, adapt=Adaptation(150), max_seconds=1e-6)
    assert hurried.loss.isfinite().all()
    assert hurried.num_evaluations.max() < 150


def test_what_cannot_be_adapted_is_refused():
    inverter, F = fitted(rounds=1)
    targets = far(F)
    with pytest.raises(ValueError, match="takes 20 of 20 evaluations and leaves none"):
        inverter.invert(targets, 20, adapt=True)
    with pytest.raises(ValueError, match="use 'implicit'"):
        inverter.invert(targets, 40, adapt=True, differentiable="unrolled")
    with pytest.raises(TypeError, match="adapt must be True, False or"):
        inverter.invert(targets, 20, adapt=3)
    with pytest.raises(ValueError, match="num_rounds must be at least 1"):
        Adaptation(num_rounds=0)
    with pytest.raises(ValueError, match="learning_rate must be positive"):
        Adaptation(learning_rate=0.0)
    with pytest.raises(Exception, match="fit"):
        inverter.unfitted().invert(targets, 20, adapt=True, allow_unfitted=True)
