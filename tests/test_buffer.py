"""The replay buffer and the feed of targets: bounded, in place, on a device of its own; order and positions as ever."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from landscape_opt import LandscapeInverter, LearnedLandscape, batches, targets
from landscape_opt.mappings import AnchoredMapping, ResidualMapping
from landscape_opt.replay import Alternating, Streaming
from landscape_opt.ring import Ring, row_bytes
from landscape_opt.targets import TargetFeed
from landscape_opt.theta_objective import DistanceToEnd, LossAtPoint

META = torch.device("meta")


def squares(prediction, target):
    return (prediction - target).square().sum(1)


def forward_model(x):
    return torch.sin(x @ torch.tensor([[1.0, 0.3], [0.2, 0.8]]))


def some_targets(count=96):
    return forward_model(torch.randn(count, 2, generator=torch.Generator().manual_seed(0)))


def alternating(mapping=None, objective=None, **settings):
    replay = Alternating(num_steps=3, updates_per_round=2, batch_size=16, **{"capacity": 100, **settings})
    landscape = LearnedLandscape(forward_model, torch.zeros(2), ResidualMapping((8,)) if mapping is None else mapping)
    return LandscapeInverter(landscape, squares, replay=replay, theta_objective=objective or LossAtPoint(), batch_size=16)


def weights(inverter):
    return torch.cat([value.flatten() for value in inverter.landscape.mapping.state_dict().values()])


def contents(ring):
    return ring.rows(torch.arange(len(ring)))


@settings(max_examples=40)
@given(capacity=st.integers(1, 9), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6), cut=st.integers(0, 5))
def test_a_ring_holds_the_newest_rows_in_order_also_when_it_was_saved(capacity, sizes, cut):
    rows = torch.arange(sum(sizes), dtype=torch.float32)[:, None] * torch.ones(1, 3)
    ring = Ring(capacity, 10**6)
    for number, part in enumerate(rows.split(sizes)):
        ring.add({"a": part, "b": (part[:, :1].long(),)})
        if number == cut:
            saved, ring = ring.state_dict(), Ring(capacity, 10**6)
            ring.load_state_dict(saved)
    held = contents(ring)
    assert torch.equal(held["a"], rows[-capacity:])
    assert torch.equal(held["b"][0], rows[-capacity:, :1].long())


def test_a_buffer_from_before_there_was_a_ring_is_taken():
    ring = Ring(3, 10**6)
    ring.load_state_dict({"buffer": {"z": torch.arange(5.0)[:, None]}})
    assert contents(ring)["z"].flatten().tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("room", [1, 7, 40])
def test_a_buffer_never_holds_more_bytes_than_it_may(room):
    one_row = 4 * (2 + 2 + 1 + 2)  # target, z, loss_before, end
    inverter = alternating(max_bytes=one_row * room + one_row - 1)
    for _ in range(3):
        inverter.step(some_targets(16))
    ring = inverter.replay.buffer
    assert len(ring) == room
    held = sum(leaf.untyped_storage().nbytes() for leaf in batches.leaves(ring.storage))
    assert held == one_row * room == room * row_bytes(ring.storage)


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one row of the replay buffer takes 28 bytes, and max_bytes is 27: not a single"):
        alternating(max_bytes=27).step(some_targets(16))
    with pytest.raises(ValueError, match="max_bytes must be at least 1, got 0"):
        Alternating(max_bytes=0)


@pytest.mark.parametrize("mapping", [ResidualMapping, AnchoredMapping])
def test_a_fit_is_resumed_with_a_full_ring(mapping):
    whole, first, second = (alternating(mapping()) for _ in range(3))
    whole.fit(some_targets(), num_rounds=5, progress=False)
    first.fit(some_targets(), num_rounds=3, progress=False)
    second.load_state_dict(first.state_dict())
    second.fit(some_targets(), num_rounds=2, progress=False)
    assert len(whole.replay.buffer) == 100
    assert torch.equal(weights(second), weights(whole))
    for mine, theirs in zip(*(batches.leaves(contents(one.replay.buffer)) for one in (second, whole)), strict=True):
        assert torch.equal(mine.nan_to_num(-1.0), theirs.nan_to_num(-1.0))


def test_the_storage_of_a_full_ring_is_written_in_place():
    inverter = alternating()
    inverter.fit(some_targets(), num_rounds=2, progress=False)
    before = [leaf.data_ptr() for leaf in batches.leaves(inverter.replay.buffer.storage)]
    inverter.fit(some_targets(), num_rounds=2, progress=False)
    assert [leaf.data_ptr() for leaf in batches.leaves(inverter.replay.buffer.storage)] == before


@pytest.mark.parametrize(
    ("objective", "mapping", "expected"),
    [
        (LossAtPoint, ResidualMapping, 16 * 4 + 2 * 16),  # T + 1 = 4 points are evaluated, then those of each update
        (LossAtPoint, AnchoredMapping, 16 * 4 + 2 * 16),  # and not the evaluations that the charts are chosen by
        (DistanceToEnd, ResidualMapping, 16 * 4),
    ],
)
def test_what_the_collecting_evaluated_is_not_evaluated_again(objective, mapping, expected):
    inverter = alternating(mapping(), objective())
    inverter.step(some_targets(16))  # calibrates, too
    assert inverter.step(some_targets(16)).num_evaluations == expected


def test_a_buffer_may_lie_elsewhere_and_the_fit_is_the_same():
    here, there = alternating(), alternating(device="cpu")
    for inverter in (here, there):
        inverter.fit(some_targets(), num_rounds=3, progress=False)
    assert torch.equal(weights(here), weights(there))
    ring = Ring(4, 1000, device=META)
    ring.add(torch.zeros(2, 3))
    assert ring.storage.device == META
    assert ring.homes == [torch.device("cpu")]  # where rows are handed out


def test_what_is_kept_moves_with_the_landscape():
    alternate = alternating().fit(some_targets(), num_rounds=1, progress=False).replay
    alternate.to(META)
    assert {leaf.device for leaf in batches.leaves(alternate.buffer.storage)} == {META}
    stay = alternating(device="cpu").fit(some_targets(), num_rounds=1, progress=False).replay
    stay.to(META)
    assert {leaf.device.type for leaf in batches.leaves(stay.buffer.storage)} == {"cpu"}
    streaming = LandscapeInverter(LearnedLandscape(forward_model, torch.zeros(2)), squares, replay=Streaming(num_rows=16))
    replay = streaming.fit(some_targets(), num_rounds=1, progress=False).replay
    replay.pool = replay.pool.to(META)
    replay.to(META)
    stream = replay.stream
    assert {stream.target.device, stream.z.device, stream.evaluation.x.device, stream.evaluation.loss.device} == {META}


class Shown(torch.utils.data.Dataset):
    """Rows that are counted as they are read."""

    def __init__(self, count):
        self.read, self.rows = [], torch.arange(float(count))[:, None]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.read.append(index)
        return self.rows[index]


def taken(feed, count):
    return [feed.next().flatten().tolist() for _ in range(count)]


def ahead(monkeypatch):
    """A feed that draws ahead as for a CUDA device, but whose copies stay here."""
    monkeypatch.setattr(targets, "sent", lambda leaf, device: leaf.clone())
    return torch.device("cuda")


@pytest.mark.parametrize("form", ["tensor", "dataset", "loader", "shuffled", "list"])
def test_batches_drawn_ahead_are_the_same_in_the_same_order(form, monkeypatch):
    make = {
        "tensor": lambda: Shown(10).rows,
        "dataset": lambda: Shown(10),
        "loader": lambda: DataLoader(Shown(10), batch_size=3),
        "shuffled": lambda: DataLoader(Shown(10), batch_size=3, shuffle=True),
        "list": lambda: list(Shown(10).rows.split(3)),
    }[form]
    plain = taken(TargetFeed(make(), 3, seed=5), 11)
    device = ahead(monkeypatch)
    feed = TargetFeed(make(), 3, 5, 0, device)
    assert taken(feed, 6) == plain[:6]
    assert feed.position == 6
    assert taken(TargetFeed(make(), 3, 5, feed.position, device), 5) == plain[6:]


def test_a_shuffled_loader_is_resumed_where_it_was_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    make = lambda: DataLoader(Shown(10), batch_size=3, shuffle=True)  # noqa: E731
    whole = taken(TargetFeed(make(), 3, seed=5), 12)
    assert whole[:4] != whole[4:8]
    for position in (2, 4, 7):
        assert taken(TargetFeed(make(), 3, 5, position), 3) == whole[position : position + 3]
    assert torch.equal(torch.get_rng_state(), before)


def test_on_a_cpu_nothing_is_drawn_ahead_and_elsewhere_one_batch(monkeypatch):
    rows = Shown(12)
    TargetFeed(rows, 3, 0, 0, torch.device("cpu")).next()
    assert len(rows.read) == 3
    rows = Shown(12)
    TargetFeed(rows, 3, 0, 0, ahead(monkeypatch)).next()
    assert len(rows.read) == 6


def test_what_is_wrong_with_a_batch_is_said_when_its_turn_comes(monkeypatch):
    rows = [torch.zeros(3, 1), torch.tensor([[0.0], [torch.nan], [0.0]]), torch.ones(3, 1)]
    feed = TargetFeed(rows, 3, 0, 0, ahead(monkeypatch))
    assert feed.next().sum() == 0
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 3 rows: 1"):
        feed.next()
    assert feed.next().sum() == 3
