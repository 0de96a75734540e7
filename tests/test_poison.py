"""One row of 256 on which F fails: no bit of the 255 others changes, whatever moves them in a fitted landscape."""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch
from strategies import MAPPINGS

from landscape_opt import LandscapeInverter, LearnedLandscape, LeastSquares, Status
from landscape_opt.solvers import LevenbergMarquardt

DIM, SIZE, POISONED = 7, 256, 100  # a dimension that fills no register
EACH_DTYPE = [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)]  # float32 has the narrower kernels
METHODS = {
    "the default": {},
    "landscape steps": {"refine": False, "restarts": False},
    "hand-over to LM": {"solver": LevenbergMarquardt(), "restarts": False},
    "three hypotheses": {"num_hypotheses": 3},
    "few at a time": {"max_batch_size": 100},
}


@cache
def problem(dtype):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(DIM, DIM, generator=generator).to(dtype)
    targets = (torch.rand(SIZE, DIM, generator=generator) * 1.6 - 0.8).to(dtype)

    def forward(x, poison):  # row by row the same arithmetic, however many rows there are
        prediction = (x[:, :, None] * matrix).sum(1).sin() + 0.1 * x
        is_near = (prediction - targets[POISONED]).square().sum(1) < 0.1
        wrong = (poison == 1) | ((poison == 2) & is_near)
        return torch.where(wrong[:, None], torch.full_like(prediction, torch.nan), prediction)

    return forward, targets


@cache
def fitted(dtype, mapping, with_adam):
    forward, targets = problem(dtype)
    landscape = LearnedLandscape(
        forward, torch.zeros(DIM, dtype=dtype), MAPPINGS[mapping](), given=lambda target: target["poison"]
    )
    loss_fn = LeastSquares(lambda prediction, target: prediction - target["y"])
    z_optimizer = partial(torch.optim.Adam, lr=0.05) if with_adam else None
    inverter = LandscapeInverter(landscape, loss_fn, z_optimizer=z_optimizer)
    return inverter.fit({"y": targets, "poison": torch.zeros(SIZE, dtype=torch.long)}, num_rounds=4, progress=False)


def assert_others_unchanged(inverter, targets, poison, settings):
    marks = torch.zeros(SIZE, dtype=torch.long)
    well = inverter.invert({"y": targets, "poison": marks}, 30, **settings)
    marks = marks.clone()
    marks[POISONED] = poison
    ill = inverter.invert({"y": targets, "poison": marks}, 30, **settings)
    others = torch.arange(SIZE) != POISONED
    for name in ("x", "loss", "status", "num_evaluations"):
        changed = getattr(well, name)[others] != getattr(ill, name)[others]
        assert not changed.any(), f"{name}: {int(changed.flatten(1).any(1).sum() if changed.ndim > 1 else changed.sum())}"
    assert ill.x.isfinite().all()
    if poison == 1:
        assert int(ill.status[POISONED]) in (Status.NONFINITE_START, Status.LEFT_BEHIND)
    else:
        assert ill.loss[POISONED] >= 0.05


@pytest.mark.parametrize("poison", [1, 2], ids=["from the start", "near the solution"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_a_poisoned_row_changes_no_bit_of_the_others(dtype, mapping, method, poison):
    targets = problem(dtype)[1]
    assert_others_unchanged(fitted(dtype, mapping, False), targets, poison, METHODS[method])


@pytest.mark.parametrize("poison", [1, 2], ids=["from the start", "near the solution"])
@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_nor_does_it_where_torch_optim_moves_z(dtype, mapping, poison):
    targets = problem(dtype)[1]
    assert_others_unchanged(fitted(dtype, mapping, True), targets, poison, {})
