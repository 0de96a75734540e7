"""Formats of x and targets, records, and how rows end."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from strategies import Fuse, case, new_inverter, squares
from torch.utils.data import DataLoader

from landscape_opt import LandscapeInverter, LearnedLandscape, RoundRecord, Status


def test_x_and_targets_may_be_dicts():
    x_init = {"shift": torch.zeros(2), "gain": torch.ones(2, 2, dtype=torch.float64)}

    def forward(x):
        moved = x["gain"].flatten(1).sum(1, keepdim=True) + x["shift"]
        return {"far": moved, "near": (x["shift"],)}

    def loss_fn(prediction, target):
        return squares(prediction["far"], target["far"]) + squares(prediction["near"][0], target["near"][0])

    y = torch.randn(64, 1, generator=torch.Generator().manual_seed(0)).expand(64, 2)  # reachable: one gain serves both
    targets = {"far": y, "near": (0.5 * y,)}
    inverter = new_inverter(forward, x_init, loss_fn).fit(targets, num_rounds=3, progress=False)
    result = inverter.invert(targets, 10)
    assert result.x["gain"].shape == (64, 2, 2)
    assert result.x["gain"].dtype == torch.float64
    assert result.x["shift"].dtype == torch.float32
    assert (result.loss < 1e-3 * result.history.loss[0].clamp_min(1.0)).all()


def test_integer_targets_leave_the_evaluation_alone_to_speak():
    labels = torch.arange(60) % 3
    loss_fn = lambda prediction, target: torch.nn.functional.cross_entropy(prediction, target, reduction="none")  # noqa: E731
    inverter = new_inverter(torch.nn.Linear(4, 3), torch.zeros(4), loss_fn).fit(labels, num_rounds=3, progress=False)
    result = inverter.invert(labels[:6], 5)
    assert (result.loss < result.history.loss[0]).all()


def test_given_reaches_f_row_by_row():
    gain = 1.0 + torch.rand(64, 1, generator=torch.Generator().manual_seed(1))
    y = gain * torch.randn(64, 3, generator=torch.Generator().manual_seed(2))
    targets = {"gain": gain, "y": y}
    inverter = new_inverter(
        lambda x, gain: gain * x, torch.zeros(3), lambda p, t: squares(p, t["y"]), given=lambda t: t["gain"]
    ).fit(targets, num_rounds=3, progress=False)
    result = inverter.invert(targets, 12)
    assert torch.allclose(result.x, y / gain, atol=1e-2)


class Rows(torch.utils.data.Dataset):
    def __init__(self, y):
        self.y = y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return self.y[index]


@pytest.mark.parametrize("form", ["dataset", "subset", "loader", "list"])
def test_forms_of_targets(form):
    y = case("linear").targets(96, 3)
    targets = {
        "dataset": Rows(y),
        "subset": torch.utils.data.Subset(Rows(y), range(0, 96, 2)),
        "loader": DataLoader(y, batch_size=32),
        "list": list(y.split(32)),
    }[form]
    inverter = new_inverter(case("linear").forward_model, case("linear").x_init)
    assert inverter.fit(targets, num_rounds=5, progress=False).landscape.is_fitted


def test_the_record_of_a_round():
    inverter = new_inverter(case("mlp").forward_model, case("mlp").x_init)
    inverter.fit(case("mlp").targets(96, 3), num_rounds=4, progress=False)
    assert [record.round for record in inverter.history] == [0, 1, 2, 3]
    assert all(isinstance(record, RoundRecord) for record in inverter.history)
    assert all(record.seconds > 0 and record.objective > 0 and record.skipped_updates == 0 for record in inverter.history)
    assert [record.num_evaluations for record in inverter.history[1:]] == [16 * 32] * 3


def solve(forward, loss_fn, x_init, target, budget=5, **kwargs):
    inverter = LandscapeInverter(LearnedLandscape(forward, x_init), loss_fn)
    return inverter.invert(target, budget, allow_unfitted=True, **kwargs)


def test_how_rows_end():
    def forward(x):
        return x.square()

    y = torch.ones(2, 2)
    assert solve(forward, squares, torch.zeros(2), y).statuses() == [Status.NO_GRADIENT] * 2
    bad = solve(lambda x: x.log(), squares, -torch.ones(2), y)
    assert bad.statuses() == [Status.NONFINITE_START] * 2
    assert not bad.success.any()
    assert solve(forward, squares, torch.full((2,), 0.5), y, 100, atol=1e-6).success.all()
    kink = solve(lambda x: x, lambda p, t: (p - t).abs().sum(1) + 1, torch.tensor([0.3, 0.4]), torch.zeros(2, 2), 200)
    assert kink.statuses() == [Status.STALLED] * 2
    late = solve(forward, squares, torch.full((2,), 0.5), y, 100, max_seconds=1e-9)
    assert late.statuses() == [Status.TIMEOUT] * 2


def test_a_row_without_loss_has_converged():
    already = solve(lambda x: x, squares, torch.ones(2), torch.tensor([[1.0, 1.0], [3.0, 1.0]]), 3)
    assert already.status[0] == Status.CONVERGED
    assert already.loss[0] == 0
    assert already.num_evaluations[0] == 1


def test_an_interrupted_inversion_keeps_the_best_so_far():
    fuse = Fuse(case("mlp").forward_model)
    fuse.error = KeyboardInterrupt
    fuse.countdown[0] = 4
    result = solve(fuse, squares, case("mlp").x_init, case("mlp").targets(3, 5), 50)
    assert result.statuses() == [Status.INTERRUPTED] * 3
    assert result.num_evaluations.tolist() == [3] * 3
    assert torch.allclose(result.loss, case("mlp").loss_at(result.x, case("mlp").targets(3, 5)))


def test_an_interrupted_fit_keeps_what_it_has_learned():
    fuse = Fuse(case("mlp").forward_model)
    inverter = new_inverter(fuse, case("mlp").x_init).fit(case("mlp").targets(64, 3), num_rounds=2, progress=False)
    fuse.error, fuse.countdown[0] = KeyboardInterrupt, 5
    with pytest.raises(KeyboardInterrupt):
        inverter.fit(case("mlp").targets(64, 3), num_rounds=2, progress=False)
    fuse.countdown[0] = 10**9
    assert len(inverter.history) == 2
    assert inverter.invert(case("mlp").targets(3, 5), 3).loss.isfinite().all()


def test_refining_hands_over_from_a_torch_optimizer_as_well():
    problem = case("linear", torch.float64)
    inverter = new_inverter(problem.forward_model, problem.x_init, method="published")
    inverter.fit(problem.targets(64, 3), num_rounds=3, progress=False)
    target = problem.targets(5, 9)
    alone, refined = inverter.invert(target, 30), inverter.invert(target, 30, refine=True)
    assert torch.equal(alone.history.loss[:4], refined.history.loss[:4])
    assert refined.history.in_x[4:].all()
    assert (refined.loss < 1e-3 * alone.loss).all()


def test_a_negative_target_loss_is_the_tolerance():
    result = solve(lambda x: x, lambda p, t: squares(p, t) - 10.0, torch.ones(2), torch.zeros(3, 2), 1, target_loss=-9.99)
    assert (result.loss[result.success] <= -9.99).all()


def test_ten_thousand_numbers():
    y = torch.randn(16, 10_000, generator=torch.Generator().manual_seed(0))
    landscape = LearnedLandscape(lambda x: 2.0 * x, torch.zeros(10_000))
    inverter = LandscapeInverter(landscape, squares, batch_size=16).fit(y, num_rounds=1, progress=False)
    assert sum(weight.numel() for weight in landscape.parameters()) < 10_000**2 / 4
    assert (inverter.invert(y[:2], 5).loss < squares(torch.zeros(2, 10_000), y[:2])).all()


def test_the_first_plain_inversion_calls_the_forward_model_once_per_evaluation_and_to_read():
    calls = []

    def forward(x):
        calls.append(len(x))
        return x.square().cumsum(1)

    for settings in ({}, {"z_optimizer": partial(torch.optim.SGD, lr=0.01)}):
        calls.clear()
        inverter = LandscapeInverter(LearnedLandscape(forward, torch.tensor([0.3, 0.7, 0.2])), squares, **settings)
        result = inverter.invert(torch.ones(2, 3), 4, allow_unfitted=True)
        assert len(calls) <= int(result.num_evaluations.max()) + 1


def test_x_may_be_one_number():
    y = torch.linspace(0.5, 3.0, 40)
    inverter = LandscapeInverter(LearnedLandscape(lambda x: x.exp(), torch.tensor(0.1)), lambda p, t: (p - t).square())
    result = inverter.fit(y, num_rounds=2, progress=False).invert(y, 20, warm_start=torch.zeros(40))
    assert result.x.shape == (40,)
    assert torch.allclose(result.x, y.log(), atol=1e-3)
