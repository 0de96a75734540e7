"""Fits that go on with new targets: what is kept of the old ones, and that a fit with a rehearsal resumes exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from strategies import squares

from landscape_opt import LandscapeInverter, LearnedLandscape, Memory
from landscape_opt.fitting import Callback, Checkpoints, Rehearsal

WEIGHTS = torch.Generator().manual_seed(0)
IN, OUT = torch.randn(4, 64, generator=WEIGHTS), torch.randn(64, 16, generator=WEIGHTS) / 8
NUM_ROUNDS = 30
HELD_OUT = 128


def forward_model(x):
    return torch.tanh(x @ IN) @ OUT


def kind(sign, seed=0, number=640):
    """Targets whose x lie around (1.2, …) or (-1.2, …), where most of the 64 units are saturated."""
    generator = torch.Generator().manual_seed(seed + 10 * (sign > 0))
    return forward_model(0.5 * torch.randn(number, 4, generator=generator) + 1.2 * sign)


def begun(batch_size=32, **settings):
    return LandscapeInverter(LearnedLandscape(forward_model, torch.zeros(4)), squares, batch_size=batch_size, **settings)


def gone_on(inverter, targets, rounds=NUM_ROUNDS, **settings):
    """A copy of an inverter, fitted further."""
    twin = begun(inverter.batch_size)
    twin.landscape.mapping.build(inverter.landscape.mapping.spec)
    twin.load_state_dict(copy.deepcopy(inverter.state_dict()))
    return twin.fit(targets, num_rounds=rounds, progress=False, **settings)


def at_five(inverter, targets):
    """The median loss at 5 evaluations."""
    return float(inverter.invert(targets, 5).loss.median())


@pytest.mark.slow
def test_what_was_learned_first_is_not_forgotten():
    first, second = kind(1), kind(-1)
    inverter = begun().fit(first[HELD_OUT:], num_rounds=NUM_ROUNDS, progress=False)
    before = at_five(inverter, second[:HELD_OUT])
    without = gone_on(inverter, second[HELD_OUT:])
    forgotten, learned = at_five(without, first[:HELD_OUT]), at_five(without, second[:HELD_OUT])
    for rehearsal in (Rehearsal(first[HELD_OUT:]), Rehearsal()):
        fitted = gone_on(inverter, second[HELD_OUT:], rehearse=rehearsal)
        assert at_five(fitted, first[:HELD_OUT]) < 0.3 * forgotten
        assert at_five(fitted, second[:HELD_OUT]) < 8.0 * learned < 0.1 * before


class Dies(Callback):
    """Ends a fit as if its process had died: nothing after this round is written."""

    def __init__(self, after):
        self.after = after

    def on_round_end(self, *, fit, **context):
        if fit.num_rounds_done == self.after:
            raise InterruptedError


@pytest.mark.parametrize("old", ["given", "memory"])
def test_a_fit_with_a_rehearsal_resumes_exactly(tmp_path, old):
    first, second = kind(1, number=96), kind(-1, number=96)

    def fitted_first():
        return begun(16).fit(first, num_rounds=2, progress=False)

    def fitted(inverter, folder, dies=0, share=0.5):
        rehearsal = Rehearsal(first if old == "given" else None, share)
        writes = Checkpoints(folder, every_rounds=1)
        settings = {"rehearse": rehearsal, "checkpoint": writes, "callbacks": [Dies(dies)]}
        return inverter.fit(second, num_rounds=5, progress=False, **settings)

    whole = fitted(fitted_first(), tmp_path / "whole")
    with pytest.raises(InterruptedError):
        fitted(fitted_first(), tmp_path / "run", dies=3)
    with pytest.raises(ValueError, match=r"Rehearsal of 0\.5 .* there.*Rehearsal of 0\.25 .* here"):
        fitted(fitted_first(), tmp_path / "run", share=0.25)
    again = fitted_first()
    again.memory.add(torch.ones(8, 4), forward_model(torch.ones(8, 4)))  # a fit goes on with the memory that it began with
    resumed = fitted(again, tmp_path / "run")
    assert len(resumed.history) == 7
    for one, other in zip(whole.landscape.parameters(), resumed.landscape.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("form", ["tensor", "dict", "list"])
def test_every_batch_has_its_share_of_old_targets(form):
    new, old = torch.zeros(50, 3), torch.ones(7, 3)
    if form == "dict":
        new, old = {"y": new, "row": torch.zeros(50)}, {"y": old, "row": torch.ones(7)}
    rehearsal = Rehearsal(old, share=0.25)
    targets = list(new.split(12)) if form == "list" else new

    def taken(position, count):
        feed = rehearsal.feed(targets, 16, 3, position)
        batches = [feed.next() for _ in range(count)]
        assert feed.position == position + count
        return [batch["y"][:, 0] if form == "dict" else batch[:, 0] for batch in batches]

    every = taken(0, 6)
    assert [len(batch) for batch in every[:4]] == [16] * 4
    assert [int(batch.sum()) for batch in every[:4]] == [4] * 4
    if form == "dict":
        batch = rehearsal.feed(targets, 16, 3, 0).next()
        assert torch.equal(batch["y"][:, 0], batch["row"])  # parts of a row stay together
    assert len({tuple(batch.tolist()) for batch in every}) > 1  # shuffled, and not always alike
    assert all(torch.equal(one, other) for one, other in zip(every[2:], taken(2, 4), strict=True))


def test_what_cannot_be_rehearsed_is_refused():
    y = kind(1, number=64)
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        Rehearsal(y, share=1.0)
    with pytest.raises(ValueError, match="no rows"):
        Rehearsal(y[:0])
    with pytest.raises(ValueError, match="must be alike"):
        begun().fit(y, num_rounds=1, rehearse=Rehearsal(y[:, :5]), progress=False)
    for inverter in (begun(), begun(memory=Memory(capacity=0))):
        with pytest.raises(ValueError, match=r"has not been fitted; pass old targets instead"):
            inverter.fit(y, num_rounds=1, rehearse=Rehearsal(), progress=False)
        assert not inverter.history


def test_predictions_are_rehearsed_only_where_they_are_targets():
    gain = torch.ones(64, 1)
    given = LandscapeInverter(
        LearnedLandscape(lambda x, gain: gain * x, torch.zeros(1), given=lambda y: y), squares, batch_size=16
    ).fit(gain, num_rounds=1, progress=False)
    labels = torch.arange(64) % 3
    entropy = lambda p, t: torch.nn.functional.cross_entropy(p, t, reduction="none")  # noqa: E731
    classes = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(3)), entropy, batch_size=16)
    shares = torch.nn.functional.one_hot(labels, 3).float()
    soft = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(3)), entropy, batch_size=16)
    for inverter, targets, why in (
        (given, gain, "F is given more than x"),
        (classes.fit(labels, num_rounds=1, progress=False), labels, "one cannot stand for the other"),
        (soft.fit(shares, num_rounds=1, progress=False), shares, "between a prediction and itself"),
    ):
        with pytest.raises(ValueError, match=f"{why}.*pass old targets instead"):
            inverter.fit(targets, num_rounds=1, rehearse=Rehearsal(), progress=False)
