"""When a row leaves the learned space, read off its own history."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from strategies import DTYPES, KINDS, case, fitted

from landscape_opt.solvers import HandOver, TorchOptim
from landscape_opt.solvers.handover import MIN_GAIN
from landscape_opt.solvers.solver import Start

NUM_STEPS = 3


def expected_in_x(losses: list[float], min_gain: float = MIN_GAIN) -> list[bool]:
    """Where each evaluation was made: in X once a step has not halved the best loss, or after three."""
    best, is_over, where = losses[0], False, [False]
    for k, loss in enumerate(losses[1:], start=1):
        where.append(is_over)
        is_over = is_over or k >= NUM_STEPS or not loss <= min_gain * best
        best = min(best, loss)
    return where


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mapping", ["anchored", "conditioned", "residual"])
def test_a_row_hands_over_when_a_step_no_longer_halves_its_loss(kind, dtype, mapping):
    inverter = fitted(kind, dtype, mapping, "default")
    result = inverter.invert(case(kind, dtype).targets(24, 5), 12, restarts=False)
    for row in range(24):
        spent = int(result.num_evaluations[row])
        seen = result.history.loss[: spent + 1, row].tolist()
        assert result.history.in_x[: spent + 1, row].tolist() == expected_in_x(seen)


def test_rows_hand_over_at_different_times():
    inverter = fitted("conv", torch.float32, "conditioned", "default")
    result = inverter.invert(case("conv").targets(64, 5), 8, restarts=False)
    first_in_x = result.history.in_x.long().argmax(0)
    assert len(set(first_in_x.tolist())) > 1


def test_z_is_that_of_the_best_point_in_the_learned_space():
    inverter, target = fitted("mlp", torch.float64, "conditioned", "default"), case("mlp", torch.float64).targets(16, 5)
    in_z = inverter.invert(target, 0).z
    result = inverter.invert(target, 12, restarts=False)
    best_in_z = torch.where(result.history.in_x, torch.inf, result.history.loss).amin(0)
    landscape = inverter.landscape
    with torch.no_grad():
        told = Start(landscape.layout.start(16), landscape.features(target)).context
        x = landscape.mapping(result.z, told)
    assert (result.z != in_z).any()
    torch.testing.assert_close(case("mlp", torch.float64).loss_at(x, target), best_in_z)


def test_steps_of_an_optimizer_are_all_made():
    """Adam's first steps may raise the loss, and lower it later."""
    inverter = fitted("mlp", torch.float32, "residual", "default")
    first = TorchOptim(inverter.landscape.mapping, partial(torch.optim.SGD, lr=0.0))
    run = HandOver(inverter.landscape.mapping, first).start(Start(torch.zeros(3, 4)))
    assert run.settings.min_gain == torch.inf
    with pytest.raises(ValueError, match="min_gain must be positive, got 0"):
        HandOver(inverter.landscape.mapping, min_gain=0.0)
