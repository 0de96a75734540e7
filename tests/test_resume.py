"""A fit that is interrupted at any instant goes on, and ends as one that never was; another fit is refused."""

from __future__ import annotations

import errno
import re
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MAPPINGS, Fuse, case, new_inverter, squares
from torch.utils.data import DataLoader

from landscape_opt import LandscapeInverter, LearnedLandscape, checkpoint
from landscape_opt.benchmark.engine_kills import run_kills
from landscape_opt.fitting import Callback, Checkpoints, Cosine, EarlyStopping, ResumeError, Validation
from landscape_opt.fitting.run_folder import BEST, LAST
from landscape_opt.replay import Streaming

PROBLEM = case("mlp")
TARGETS = PROBLEM.targets(96, 3)


def begun(method="default"):
    return new_inverter(PROBLEM.forward_model, PROBLEM.x_init, method=method)


def ended(inverter):
    """Everything that a fit ends with, but for the seconds."""
    state = inverter.state_dict()
    for record in state["history"]:
        del record["seconds"]
    return state


def assert_same(mine, theirs, where="state"):
    assert type(mine) is type(theirs), where
    if isinstance(mine, torch.Tensor):
        assert torch.equal(mine, theirs) or (mine.isnan() & theirs.isnan() | (mine == theirs)).all(), where
    elif isinstance(mine, dict):
        assert list(mine) == list(theirs), where
        for key in mine:
            assert_same(mine[key], theirs[key], f"{where}/{key}")
    elif isinstance(mine, list | tuple):
        assert len(mine) == len(theirs), where
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            assert_same(one, other, f"{where}/{number}")
    else:
        assert mine == theirs or (mine != mine and theirs != theirs), where


class Crash(Callback):
    """Ends the process after a round, as far as a fit can tell."""

    def __init__(self, rounds):
        self.rounds = rounds

    def on_round_end(self, *, fit, **context):
        if fit.num_rounds_done == self.rounds:
            raise InterruptedError


def fitted(folder, crash_after=None, method="default", every_rounds=2, **changes):
    checks = Validation(PROBLEM.targets(16, 8), budgets=(1, 4), every=2)
    checkpoint_ = Checkpoints(folder, every_seconds=1e9, every_rounds=every_rounds)
    inverter = begun(method)
    told = [EarlyStopping(patience=50), Crash(crash_after)]
    arguments = {"num_rounds": 7, "schedule": Cosine(), **changes}
    inverter.fit(TARGETS, validation=checks, checkpoint=checkpoint_, callbacks=told, progress=False, **arguments)
    return inverter


@pytest.mark.filterwarnings("ignore:this fit has not paid")  # after seven small rounds
@settings(max_examples=4, deadline=None)
@given(crashes=st.lists(st.integers(1, 6), min_size=1, max_size=3), method=st.sampled_from(["default", "published"]),
       every_rounds=st.integers(1, 3))  # fmt: skip
def test_a_resumed_fit_ends_as_one_that_was_never_interrupted(tmp_path_factory, crashes, method, every_rounds):
    alone = fitted(tmp_path_factory.mktemp("alone"), method=method)
    folder = tmp_path_factory.mktemp("crashed")
    for rounds in sorted(crashes):
        with pytest.raises(InterruptedError):
            fitted(folder, crash_after=rounds, method=method, every_rounds=every_rounds)
    assert_same(ended(fitted(folder, method=method, every_rounds=every_rounds)), ended(alone))


@pytest.mark.slow
def test_processes_that_are_killed_at_random_instants():
    report = run_kills(num_kills=2, first_seed=5, num_rounds=8)
    assert [kill.is_same for kill in report.kills] == [True, True]
    assert all(0 <= kill.rounds <= 8 for kill in report.kills)
    assert "2 of 2 ended bit for bit" in report.text


def test_a_fit_that_has_ended_is_not_run_again(tmp_path):
    rounds = []

    class Counted(Callback):
        def on_round_end(self, *, fit, **context):
            rounds.append(fit.num_rounds_done)

    first = begun().fit(TARGETS, num_rounds=3, checkpoint=tmp_path, callbacks=[Counted()], progress=False)
    assert rounds == [1, 2, 3]
    second = begun().fit(TARGETS, num_rounds=3, checkpoint=str(tmp_path), callbacks=[Counted()], progress=False)
    assert rounds == [1, 2, 3]
    assert_same(second.state_dict(), first.state_dict())


def test_the_files_of_a_fit_can_be_loaded_by_themselves(tmp_path):
    inverter = fitted(tmp_path)
    for name in (LAST, BEST):
        loaded = LandscapeInverter.load(tmp_path / name, PROBLEM.forward_model, squares)
        assert_same(dict(loaded.landscape.state_dict()), dict(inverter.landscape.state_dict()))


def test_a_data_loader_is_resumed_in_its_own_order(tmp_path):
    loader = partial(DataLoader, TARGETS, batch_size=32, shuffle=True)
    alone = begun().fit(loader(), num_rounds=5, checkpoint=tmp_path / "alone", progress=False)
    with pytest.raises(InterruptedError):
        begun().fit(loader(), num_rounds=5, checkpoint=Checkpoints(tmp_path / "run", every_rounds=1),
                    callbacks=[Crash(None), Crash(4)], progress=False)  # fmt: skip
    resumed = begun().fit(loader(), num_rounds=5, checkpoint=Checkpoints(tmp_path / "run", every_rounds=1),
                          callbacks=[Crash(None), Crash(None)], progress=False)  # fmt: skip
    assert_same(ended(resumed), ended(alone))


OTHERS = {
    "targets": ({}, {"targets": PROBLEM.targets(96, 4)}),
    "targets: rows": ({}, {"targets": TARGETS[:64]}),
    "batch_size": ({"batch_size": 16}, {}),
    "seed": ({"seed": 1}, {}),
    "forward_model": ({}, {"forward_model": case("linear").forward_model, "x_init": PROBLEM.x_init}),
    "loss_fn": ({}, {"loss_fn": lambda prediction, target: 2.0 * squares(prediction, target)}),
    "schedule": ({}, {"schedule": Cosine(floor=0.1)}),
    "theta_optimizer": ({"theta_optimizer": partial(torch.optim.Adam, lr=1e-4)}, {}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_fit_is_refused_by_name(tmp_path, what):
    begun().fit(TARGETS, num_rounds=2, checkpoint=tmp_path, progress=False)
    before = (tmp_path / LAST).read_bytes()
    changes, asked = OTHERS[what]
    landscape = LearnedLandscape(asked.get("forward_model", PROBLEM.forward_model), PROBLEM.x_init, MAPPINGS["anchored"]())
    same = {"batch_size": 32, "replay": Streaming(num_rows=32, horizon=4)}
    inverter = LandscapeInverter(landscape, asked.get("loss_fn", squares), **{**same, **changes})
    with pytest.raises(ResumeError, match=re.escape(what.partition(":")[0]) + ": .* there, .* here") as refused:
        inverter.fit(asked.get("targets", TARGETS), num_rounds=2, checkpoint=tmp_path, progress=False,
                     schedule=asked.get("schedule"))  # fmt: skip
    assert str(refused.value).count(" there, ") == 1  # nothing else differs
    assert not inverter.landscape.is_fitted
    assert not inverter.history
    assert (tmp_path / LAST).read_bytes() == before


def test_an_inverter_that_was_fitted_otherwise_is_not_overwritten(tmp_path):
    begun().fit(TARGETS, num_rounds=2, checkpoint=tmp_path, progress=False)
    other = begun().fit(TARGETS, num_rounds=1, progress=False)
    before = ended(other)
    with pytest.raises(ResumeError, match="fitted otherwise"):
        other.fit(TARGETS, num_rounds=2, checkpoint=tmp_path, progress=False)
    assert_same(ended(other), before)


def test_a_fitted_inverter_may_begin_a_folder_and_resume_it(tmp_path):
    def second_fit():
        return begun().fit(TARGETS, num_rounds=2, progress=False)

    alone = second_fit().fit(TARGETS, num_rounds=4, progress=False)
    with pytest.raises(InterruptedError):
        second_fit().fit(TARGETS, num_rounds=4, checkpoint=Checkpoints(tmp_path, every_rounds=1), callbacks=[Crash(2)],
                         progress=False)  # fmt: skip
    resumed = second_fit().fit(TARGETS, num_rounds=4, checkpoint=tmp_path, callbacks=[Crash(None)], progress=False)
    assert_same(ended(resumed), ended(alone))


def test_a_file_that_save_wrote_is_not_a_run(tmp_path):
    begun().fit(TARGETS, num_rounds=1, progress=False).save(tmp_path / LAST)
    with pytest.raises(ResumeError, match="written by save"):
        begun().fit(TARGETS, num_rounds=1, checkpoint=tmp_path, progress=False)


def failing(error):
    def write(path, state):
        raise error

    return write


def test_a_full_disk_leaves_the_checkpoint_before_and_the_fit_goes_on(tmp_path, monkeypatch):
    written = checkpoint.save

    class Full(Callback):
        def on_round_end(self, *, fit, **context):
            full = fit.num_rounds_done in (2, 3)
            no_space = failing(OSError(errno.ENOSPC, "No space left on device"))
            monkeypatch.setattr(checkpoint, "save", no_space if full else written)
            if fit.num_rounds_done == 3:
                held.append(checkpoint.load(tmp_path / LAST)["fit"]["state"]["num_rounds_done"])

    held = []
    with pytest.warns(RuntimeWarning, match="not written, the one before is still there"):
        begun().fit(TARGETS, num_rounds=5, checkpoint=Checkpoints(tmp_path, every_rounds=1), callbacks=[Full()],
                    progress=False)  # fmt: skip
    assert held == [1]
    assert checkpoint.load(tmp_path / LAST)["fit"]["state"]["num_rounds_done"] == 5


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_round(tmp_path, monkeypatch):
    fuse = Fuse(PROBLEM.forward_model)
    fuse.countdown[0] = 0  # F is never called
    monkeypatch.setattr(checkpoint, "save", failing(PermissionError("read-only")))
    with pytest.raises(PermissionError):
        new_inverter(fuse, PROBLEM.x_init).fit(TARGETS, num_rounds=5, checkpoint=tmp_path, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        begun().fit(TARGETS, num_rounds=5, checkpoint=tmp_path / "file" / "run", progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_seconds": -1.0}, "every_seconds must not be negative"),
        ({"every_rounds": 0}, "every_rounds must be at least 1"),
    ],
)
def test_errors_of_checkpoints(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path, **arguments)


def test_a_bar_and_a_log_may_come_and_go(tmp_path, capsys):
    seen = []
    begun().fit(TARGETS, num_rounds=2, checkpoint=tmp_path, log=lambda figures, step: seen.append(step))
    inverter = begun().fit(TARGETS, num_rounds=3, checkpoint=tmp_path, progress=False)
    assert seen == [0, 1]
    assert_same(ended(inverter), ended(begun().fit(TARGETS, num_rounds=3, progress=False)))
