"""Bad input fails at the door, in the user's words: what was given, what was expected, what to do."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from strategies import squares
from torch import nn

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.replay import Alternating, Streaming
from landscape_opt.solvers import LBFGS, HandOver, TorchOptim
from landscape_opt.theta_objective import DistanceToEnd, LossRatio

MATRIX = torch.tensor([[1.0, 0.0, 0.5], [0.2, 1.0, 0.0]])
TARGETS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def forward(x):
    return x @ MATRIX


def inverter(forward_model=forward, loss_fn=squares, x_init=None, **settings):
    x_init = torch.zeros(2) if x_init is None else x_init
    return LandscapeInverter(LearnedLandscape(forward_model, x_init), loss_fn, **settings)


def fit(targets, **kwargs):
    return lambda: inverter().fit(targets, progress=False, **({"num_rounds": 1} | kwargs))


def fit_with(**settings):
    return lambda: inverter(**settings).fit(TARGETS, num_rounds=1, progress=False)


def fitted():
    return inverter().fit(TARGETS, num_rounds=1, progress=False)


def nan_in(*rows):
    targets = TARGETS.clone()
    targets[list(rows), 1] = torch.nan
    return targets


LANDSCAPE = [
    ("F is not callable", lambda: LearnedLandscape(3, torch.zeros(2)), TypeError, "callable, got int"),
    ("integer x_init", lambda: LearnedLandscape(forward, torch.zeros(2, dtype=torch.long)), TypeError, "floating-point"),
    ("x_init is a list", lambda: LearnedLandscape(forward, [0.0]), TypeError, "Tensor, got list"),
    ("empty dict", lambda: LearnedLandscape(forward, {}), ValueError, "empty dict"),
    ("empty x_init", lambda: LearnedLandscape(forward, torch.zeros(0)), ValueError, "empty"),
    ("NaN in x_init", lambda: LearnedLandscape(forward, torch.tensor([torch.nan])), ValueError, "NaN or infinity"),
    ("foreign mapping", lambda: LearnedLandscape(forward, torch.zeros(2), nn.Linear(2, 2)), TypeError, "got Linear"),
    ("given is no function", lambda: LearnedLandscape(forward, torch.zeros(2), given="y"), TypeError, "got str"),
]

CONSTRUCTOR = [
    ("bare F", lambda: LandscapeInverter(forward, squares), TypeError, "LearnedLandscape, got function"),
    ("loss is no function", lambda: inverter(loss_fn="mse"), TypeError, "loss_fn must be a function.*got str"),
    ("foreign replay", lambda: inverter(replay=[]), TypeError, "Replay, got list"),
    ("foreign objective", lambda: inverter(theta_objective="loss"), TypeError, "ThetaObjective, got str"),
    ("streaming distance", lambda: inverter(theta_objective=DistanceToEnd()), ValueError, "Alternating"),
    ("batch_size 0", lambda: inverter(batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
    ("negative seed", lambda: inverter(seed=-1), ValueError, "seed must not be negative, got -1"),
    ("z_optimizer LBFGS", lambda: inverter(z_optimizer=torch.optim.LBFGS), ValueError, "solvers.LBFGS"),
    ("unknown keyword", lambda: inverter(learning_rate=1.0), TypeError, "learning_rate"),
]

FIT = [
    ("no limit", fit(TARGETS, num_rounds=None), ValueError, "max_seconds=60"),
    ("negative rounds", fit(TARGETS, num_rounds=-1), ValueError, "got -1"),
    ("zero seconds", fit(TARGETS, max_seconds=0.0), ValueError, "positive, got 0"),
    ("NaN seconds", fit(TARGETS, max_seconds=float("nan")), ValueError, "positive, got nan"),
    ("no rows", fit(TARGETS[:0]), ValueError, "empty"),
    ("empty list", fit([]), ValueError, "no targets"),
    ("batch without rows", fit([TARGETS[:0]]), ValueError, "no rows"),
    ("a number", fit(3), TypeError, "got int"),
    ("a generator", fit(batch for batch in [TARGETS]), ValueError, "generator.*only once"),
    ("NaN rows named", fit(nan_in(3, 17)), ValueError, "NaN or infinity in 2 of 40 rows"),
    ("infinite targets", fit(TARGETS / 0.0), ValueError, "NaN or infinity in 40 of 40 rows"),
    ("uneven parts", fit((TARGETS, TARGETS[:5])), ValueError, r"different numbers of rows: \[5, 40\]"),
    ("scalar loss", fit_with(loss_fn=nn.functional.mse_loss), ValueError, r"one loss per sample.*got shape \(\).*mean\(1\)"),
    ("wide loss", fit_with(loss_fn=lambda p, y: (p - y) ** 2), ValueError, r"one loss per sample.*got shape \(\d+, 3\)"),
    ("loss of floats", fit_with(loss_fn=lambda p, y: 1.0), TypeError, "must return a Tensor.*got float"),
    ("F detaches", fit_with(forward_model=lambda x: forward(x).detach()), ValueError, "does not depend on x.*detach"),
    ("F ignores x", fit_with(forward_model=lambda x: MATRIX.sum(0).expand(len(x), 3).clone()), ValueError,
     "does not depend on x"),
    ("F ignores x, with weights", fit_with(forward_model=lambda x: forward(0.0 * x)), ValueError, "zero at x_init"),
    ("F drops the batch", fit_with(forward_model=lambda x: forward(x).sum(0, keepdim=True)), ValueError,
     "returned 1 rows for"),
    ("negative losses", fit_with(loss_fn=lambda p, y: squares(p, y) - 100.0), ValueError, "not.*negative"),
    ("zero gradient", fit_with(forward_model=lambda x: forward(x.square())), ValueError, "zero at x_init"),
    ("F is NaN", fit_with(forward_model=lambda x: forward(x) * torch.nan), ValueError, "not finite for any target"),
]  # fmt: skip

INVERT = [
    ("before fit", lambda: inverter().invert(TARGETS), RuntimeError, "allow_unfitted=True"),
    ("negative budget", lambda: fitted().invert(TARGETS, -1), ValueError, "max_evaluations.*got -1"),
    ("negative atol", lambda: fitted().invert(TARGETS, atol=-1.0), ValueError, "atol=-1"),
    ("negative rtol", lambda: fitted().invert(TARGETS, rtol=-1.0), ValueError, "rtol=-1"),
    ("no seconds", lambda: fitted().invert(TARGETS, max_seconds=0.0), ValueError, "max_seconds must be positive"),
    ("NaN row named", lambda: fitted().invert(nan_in(3, 17)), ValueError, "2 of 40 rows: 3, 17"),
    ("other size", lambda: fitted().invert(TARGETS[:, :2]), ValueError, "2 features per row.*built for 3"),
    ("one target without batch", lambda: fitted().invert(TARGETS[0]), ValueError, "features per row|one row per"),
    ("no rows", lambda: fitted().invert(TARGETS[:0]), ValueError, "there are no targets"),
    ("no rows, unfitted", lambda: inverter().invert(TARGETS[:0], allow_unfitted=True), ValueError, "there are no targets"),
    ("numpy", lambda: fitted().invert(TARGETS.numpy()), TypeError, "got ndarray.*as_tensor"),
    ("unknown keyword", lambda: fitted().invert(TARGETS, steps=3), TypeError, "steps"),
]

PARTS = [
    ("L-BFGS memory", lambda: LBFGS(memory=0), ValueError, "memory must be at least 1, got 0"),
    ("L-BFGS step", lambda: LBFGS(first_step=-1.0), ValueError, "first_step must be positive, got -1"),
    ("hand-over", lambda: HandOver(inverter().landscape.plain(), num_steps=-1), ValueError, "num_steps.*got -1"),
    ("torch LBFGS", lambda: TorchOptim(inverter().landscape.plain(), torch.optim.LBFGS), ValueError, "solvers.LBFGS"),
    ("Adafactor", lambda: TorchOptim(inverter().landscape.plain(), partial(torch.optim.Adafactor, lr=0.1)), ValueError,
     "couples the rows"),
    ("Muon", lambda: TorchOptim(inverter().landscape.plain(), partial(torch.optim.Muon, lr=0.1)), ValueError,
     "couples the rows"),
    ("no optimizer", lambda: TorchOptim(inverter().landscape.plain(), lambda params: params), ValueError, "got list"),
    ("buffer", lambda: Alternating(capacity=0), ValueError, "capacity must be at least 1, got 0"),
    ("trajectory", lambda: Alternating(num_steps=0), ValueError, "num_steps must be at least 1, got 0"),
    ("stream", lambda: Streaming(num_rows=0), ValueError, "num_rows must be at least 1, got 0"),
    ("share", lambda: Streaming(blind=1.5), ValueError, r"blind must lie in \[0, 1\), got 1.5"),
    ("ratio", lambda: LossRatio(share=2.0), ValueError, r"share must lie in \[0, 1\], got 2"),
]  # fmt: skip


def table(rows):
    return pytest.mark.parametrize(("call", "error", "message"), [pytest.param(*row[1:], id=row[0]) for row in rows])


def check(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()


@table(LANDSCAPE)
def test_learned_landscape(call, error, message):
    check(call, error, message)


@table(CONSTRUCTOR)
def test_constructor(call, error, message):
    check(call, error, message)


@table(FIT)
def test_fit(call, error, message):
    check(call, error, message)


@table(INVERT)
def test_invert(call, error, message):
    check(call, error, message)


@table(PARTS)
def test_parts(call, error, message):
    check(call, error, message)


def test_a_failed_fit_leaves_an_inverter_that_can_still_be_fitted():
    tried = inverter()
    with pytest.raises(ValueError, match="NaN"):
        tried.fit(nan_in(1), num_rounds=1, progress=False)
    assert tried.fit(TARGETS, num_rounds=1, progress=False).landscape.is_fitted


@pytest.mark.parametrize(
    "content", [b"", b"not ours", b"\x10\x00\x00\x00\x00\x00\x00\x00" + b"{}" * 8], ids=["empty", "text", "header"]
)
def test_loading_a_file_that_is_not_ours(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="foreign"):
        LandscapeInverter.load(path, forward, squares)


def test_loading_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        LandscapeInverter.load(tmp_path / "nowhere", forward, squares)


def test_loading_a_corrupted_file(tmp_path):
    path = tmp_path / "landscape"
    fitted().save(path)
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    largest = max(files, key=lambda part: part.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-5] ^= 0xFF
    largest.write_bytes(content)
    with pytest.raises(ValueError, match=r"(?i)corrupt|damaged|hash|changed|checksum"):
        LandscapeInverter.load(path, forward, squares)
