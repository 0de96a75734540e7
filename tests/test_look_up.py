"""How stored points are found, in an inversion and in a fit, and what the memory then holds."""

from __future__ import annotations

import strategies as given_by
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import squares

from landscape_opt import LandscapeInverter, LearnedLandscape, Memory
from landscape_opt.look_up import NUM_CLOSEST, StoredPoints
from landscape_opt.persistence import described, made
from landscape_opt.replay.streaming import Streaming
from landscape_opt.terms import Terms
from landscape_opt.theta_objective import LossRatio

F64 = torch.float64


def filled(count: int = 300, seed: int = 3, dtype: torch.dtype = F64) -> Memory:
    """Points on a line with predictions of two parts, of which only one is of floats."""
    generator, memory = given_by.seeded(seed), Memory(capacity=count)
    x = torch.arange(float(count), dtype=dtype)[:, None]
    image = torch.randn(count, 2, 3, generator=generator, dtype=dtype)
    memory.add(x, {"image": image, "label": torch.arange(count)})
    return memory


def all_distances(memory: Memory, image, weights):
    stored = memory.storage[1]["image"]
    errors = (stored[None] - image[:, None]).square()
    return (errors * weights[:, None]).flatten(2).sum(2)


@given(seed=given_by.target_seeds, kind=st.sampled_from(["all", "mask", "weights"]))
def test_the_closest_predictions_are_those_of_the_smallest_weighed_errors(seed, kind):
    generator, memory = given_by.seeded(seed), filled()
    image = torch.randn(4, 2, 3, generator=generator, dtype=F64)
    weights = torch.rand(image.shape, generator=generator, dtype=F64)
    if kind != "weights":
        weights = (weights > (0.4 if kind == "mask" else -1.0)).double()
    told = image if kind == "all" else torch.where(weights > 0, image, torch.nan)  # what was hidden is never looked at
    target = {"image": told, "label": torch.zeros(4, dtype=torch.long)}
    observed = {"image": weights.bool() if kind == "mask" else weights, "label": torch.ones(4, dtype=torch.bool)}
    found = memory.closest(target, 20, None if kind == "all" else observed)
    expected = all_distances(memory, image, weights).topk(20, dim=1, largest=False)
    assert torch.equal(found.sort(1).values, expected.indices.sort(1).values)
    assert torch.equal(found, expected.indices)


def test_predictions_of_another_shape_than_the_target_have_no_distance():
    memory = Memory()
    memory.add(torch.zeros(10, 1), torch.zeros(10, 3))
    assert memory.closest(torch.zeros(2, 4), 5) is None
    assert memory.closest(torch.zeros(2, 3, dtype=torch.long), 5) is None


def test_a_cheap_look_finds_what_was_stored_first_also_under_a_mask():
    memory, seen = Memory(capacity=4000), []
    x = torch.linspace(-1.0, 1.0, 4000)[:, None]
    memory.add(x, torch.cat([x, -x, x * x], dim=1))

    def loss_of(x, prediction, target):
        seen.append(len(x))
        weights = target["observed"] if isinstance(target, dict) else 1.0
        wanted = target["target"] if isinstance(target, dict) else target
        return squares(weights**0.5 * prediction, weights**0.5 * wanted)

    at = x[[17, 2000, 3990]]
    target = torch.cat([at, -at, at * at], dim=1)
    look_up = StoredPoints(memory, target, loss_of, torch.zeros(1), level=1.0, evaluation_cost=100.0)
    found = look_up.candidates(torch.arange(3))
    assert torch.equal(found.x[:, 0], at)
    assert (found.loss[:, 0] < 1e-12).all()
    assert sum(seen) == 3 * NUM_CLOSEST  # the loss itself is asked for at few points
    masked = {"target": torch.cat([at, at + 9.0, at * at], dim=1), "observed": torch.tensor([[1.0, 0.0, 1.0]]).expand(3, 3)}
    look_up = StoredPoints(
        memory, masked, loss_of, torch.zeros(1), level=1.0, evaluation_cost=100.0, terms=Terms(masked=True)
    )
    assert torch.equal(look_up.candidates(torch.arange(3)).x[:, 0], at)


def wells(x):
    """Local minima of a squared error at every whole number."""
    return torch.cat([0.1 * x, torch.sin(torch.pi * x)], dim=1)


def fitted_on_wells(second_chances: bool, elsewhere: float = 0.15) -> LandscapeInverter:
    """On targets some of which lie where descent from the start does not lead; a solution close to each is known."""
    spread = 4.0 * torch.randn(256, 1, generator=given_by.seeded(5))
    replay = Streaming(num_rows=64, elsewhere=elsewhere, second_chances=second_chances)
    inverter = LandscapeInverter(LearnedLandscape(wells, torch.tensor([0.2])), squares, replay=replay)
    known = torch.arange(-12.0, 13.0)[:, None]
    inverter.remember(known)
    return inverter.fit(wells(spread), num_rounds=12, progress=False)


def test_a_fit_with_second_chances_stores_solutions_of_targets_that_it_does_not_reach():
    y = wells(torch.linspace(-9.7, 9.7, 40)[:, None])

    def level(second_chances: bool) -> float:
        memory = fitted_on_wells(second_chances).memory
        found = memory.nearest(y, lambda x, prediction, target: squares(prediction, target))
        return float(found.loss[:, 0].mean())

    assert level(True) < 0.5 * level(False)


def test_a_row_that_goes_on_keeps_its_target_and_is_not_told_it():
    stream = fitted_on_wells(second_chances=True, elsewhere=0.0).replay.stream
    assert stream is not None
    gone_on = stream.is_fixed
    assert bool(gone_on.any())
    assert (stream.known[gone_on] == 0).all()
    assert (stream.known[~gone_on] == 1).all()
    # The point was looked up for the row's target: it lies in that target's well, or in one next to it.
    # One that was caught looks for a way out, wherever that leads.
    away = (stream.fixed_x[:, 0] - 10.0 * stream.target[:, 0]).abs()[gone_on & stream.caught_loss.isnan()]
    assert float(away.median()) < 1.0
    assert not bool(fitted_on_wells(second_chances=False, elsewhere=0.0).replay.stream.is_fixed.any())


def test_what_was_set_is_saved():
    replay, objective = Streaming(num_rows=7, second_chances=False), LossRatio(share=0.4, proximity=0.25)
    again = made(described(replay), None, "replay")
    assert (again.num_rows, again.second_chances) == (7, False)
    again = made(described(objective), None, "theta_objective")
    assert (again.share, again.proximity) == (0.4, 0.25)


@given(seed=given_by.target_seeds)
def test_what_was_not_observed_is_told_from_the_best_stored_predictions(seed):
    memory = Memory()
    x = torch.linspace(-1.0, 1.0, 400, dtype=F64)[:, None]
    memory.add(x, {"curve": torch.cat([x, x.exp(), x.sin()], dim=1), "kind": torch.zeros(400, dtype=torch.long)})
    at = 2.0 * torch.rand(5, 1, generator=given_by.seeded(seed), dtype=F64) - 1.0
    whole = torch.cat([at, at.exp(), at.sin()], dim=1)
    seen = torch.tensor([[True, False, False]] * 4 + [[True, True, True]])
    hidden = torch.where(seen, whole, torch.nan)
    target = {
        "target": {"curve": hidden, "kind": torch.ones(5, dtype=torch.long)},
        "observed": {"curve": seen, "kind": torch.ones(5, dtype=torch.bool)},
    }

    def loss_of(_, prediction, bundle):
        errors = torch.where(bundle["observed"]["curve"], prediction["curve"] - bundle["target"]["curve"], 0.0)
        return errors.square().sum(1)

    for cost in (1.0, 1e9):  # the closest by a product of matrices, and all by the loss
        look_up = StoredPoints(memory, target, loss_of, torch.zeros(1, dtype=F64), 1.0, cost, Terms(masked=True))
        told = look_up.completed()
        torch.testing.assert_close(told["curve"], whole, atol=0.01, rtol=0.0)
        assert torch.equal(told["curve"][seen], whole[seen])
        assert torch.equal(told["kind"], target["target"]["kind"])
    assert StoredPoints(memory, whole, loss_of, torch.zeros(1, dtype=F64), 1.0, 1.0).completed() is None


def test_a_start_that_is_told_what_the_memory_knows_is_better_than_one_that_is_not():
    inverter = given_by.fitted("mlp", torch.float32, "anchored", "default")
    y = given_by.case("mlp").targets(64, 11)
    seen = torch.arange(y.shape[1]).expand_as(y) % 2 == 0

    def at_start(**options) -> float:
        return float(inverter.invert(y, 1, observed=seen, refine=False, **options).history.loss[0].median())

    assert at_start() < 0.7 * at_start(restarts=False)
