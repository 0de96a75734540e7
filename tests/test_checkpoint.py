"""What is damaged, forged or foreign is refused before anything changes, and a save that fails changes nothing."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import pathlib
import pickle
import subprocess
import sys
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as to_bytes
from strategies import case, new_inverter, squares
from torch import nn

from landscape_opt import CheckpointError, LandscapeInverter, LearnedLandscape, checkpoint
from landscape_opt.atomic import NotWrittenError
from landscape_opt.checkpoint import NewerFormatError, packed
from landscape_opt.mappings import AnchoredMapping, Mapping
from landscape_opt.persistence import described, made
from landscape_opt.replay import Streaming
from landscape_opt.restore import restore
from landscape_opt.saving import load, save, saved
from landscape_opt.schema import Part

KINDS = {"anchored": "default", "conditioned": "distance", "residual": "published"}
each_kind = pytest.mark.parametrize("mapping", KINDS)


@cache
def fitted(mapping: str = "anchored") -> LandscapeInverter:
    problem = case("mlp")
    inverter = new_inverter(problem.forward_model, problem.x_init, mapping=mapping, method=KINDS[mapping])
    return inverter.fit(problem.targets(64, 1), num_rounds=2, progress=False)


def fresh(mapping: str = "anchored") -> LandscapeInverter:
    problem = case("mlp")
    return new_inverter(problem.forward_model, problem.x_init, mapping=mapping, method=KINDS[mapping])


def loaded(path: pathlib.Path, kind: str = "anchored", **own) -> LandscapeInverter:
    like = fitted(kind)
    own = {"z_optimizer": like.z_optimizer, "theta_optimizer": like.theta_optimizer, **own}
    return load(LandscapeInverter, path, case("mlp").forward_model, squares, **own)


@cache
def whole_file() -> bytes:
    return packed(saved(fitted()))


# ---------------------------------------------------------------------------------------------------------- what is kept


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {
        "numbers": [1, 2.5, float("inf"), True, None, "ö"],
        "of": {"a/b": torch.arange(3), "a": {"b": torch.zeros(0, 4, dtype=torch.float64)}, 3: torch.tensor(1.0)},
        "tuple": (torch.ones(2, dtype=torch.bfloat16), ()),
        "view": torch.arange(12.0).reshape(3, 4).T,
    }
    checkpoint.save(tmp_path / "file", state)
    found = checkpoint.load(tmp_path / "file")
    assert found["numbers"] == state["numbers"]
    assert type(found["tuple"]) is tuple
    assert found["tuple"][1] == ()
    for one, other in (
        (found["of"]["a/b"], state["of"]["a/b"]),  # its name in the file is that of the next, but for the care taken
        (found["of"]["a"]["b"], state["of"]["a"]["b"]),
        (found["of"][3], state["of"][3]),
        (found["tuple"][0], state["tuple"][0]),
        (found["view"], state["view"]),
    ):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_equal_states_give_equal_bytes():
    assert len({packed(saved(fitted())) for _ in range(4)}) == 1  # a header of several entries would come in random order


def test_a_long_history_does_not_lengthen_the_header():
    def header_bytes(num_rounds):
        return int.from_bytes(packed({"history": [{"seconds": 1.0}] * num_rounds})[:8], "little")

    assert header_bytes(2000) < header_bytes(1) + 32  # safetensors refuses headers beyond 100 MB


@each_kind
def test_a_loaded_inverter_goes_on_as_the_one_that_was_saved(mapping, tmp_path):
    inverter = copy.deepcopy(fitted(mapping))
    save(inverter, tmp_path / "file")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    again = loaded(tmp_path / "file", mapping)
    assert torch.equal(torch.get_rng_state(), before)  # weights are drawn when θ is made, and not from the global state
    assert packed(saved(again)) == packed(saved(inverter))
    targets = case("mlp").targets(64, 1)
    for one in (inverter, again):
        one.fit(targets, num_rounds=1, progress=False)
    for mine, theirs in zip(inverter.landscape.parameters(), again.landscape.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def write_format_1(path: pathlib.Path, state: dict) -> None:
    """As the releases before format 2 wrote it."""
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(checkpoint._outline(state, "", tensors, 0))
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        raw = tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes()
        digest.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode() + raw)
    header = {"format": "landscape_opt/1", "state": text, "sha256": digest.hexdigest()}
    path.write_bytes(to_bytes(tensors or {"nothing": torch.zeros(1)}, metadata=header))


@each_kind
def test_files_of_format_1_are_read(mapping, tmp_path):
    state = copy.deepcopy(saved(fitted(mapping)))
    state["settings"]["replay"]["settings"].pop("max_bytes", None)  # came with format 2
    write_format_1(tmp_path / "old", state)
    again = loaded(tmp_path / "old", mapping)
    assert packed(again.state_dict()) == packed(fitted(mapping).state_dict())
    write_format_1(tmp_path / "empty", {"a": 1})
    assert checkpoint.load(tmp_path / "empty") == {"a": 1}


def test_a_damaged_file_of_format_1_is_refused(tmp_path):
    write_format_1(tmp_path / "old", {"weight": torch.arange(4.0)})
    content = bytearray((tmp_path / "old").read_bytes())
    content[-1] ^= 1
    (tmp_path / "old").write_bytes(content)
    with pytest.raises(CheckpointError, match="changed after it was written"):
        checkpoint.load(tmp_path / "old")


# --------------------------------------------------------------------------------------------------------- damaged files


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (self.path,))


@pytest.mark.parametrize("form", ["pickle", "torch.save", "old torch.save"])
def test_a_pickle_in_place_of_the_file_is_not_opened(form, tmp_path):
    bomb, path = Bomb(tmp_path / "it ran"), tmp_path / "file"
    if form == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    else:
        torch.save({"state": bomb}, path, _use_new_zipfile_serialization=form == "torch.save")
    with pytest.raises(CheckpointError, match="not a landscape file"):
        loaded(path)
    assert not (tmp_path / "it ran").exists()
    pickle.loads(pickle.dumps(bomb))  # it would have
    assert (tmp_path / "it ran").exists()


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 0.5, 0.99, -1])
def test_a_file_that_is_cut_short(kept, tmp_path):
    content = whole_file()
    length = int(kept * len(content)) if isinstance(kept, float) else kept
    (tmp_path / "file").write_bytes(content[:length])
    with pytest.raises(CheckpointError, match="cut short"):
        loaded(tmp_path / "file")


@pytest.fixture(scope="module")
def place_of_mutations(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("mutations") / "file"


@settings(max_examples=200)
@given(data=st.data())
def test_random_bytes_changed_are_noticed(data, place_of_mutations):
    content = whole_file()
    header = 8 + int.from_bytes(content[:8], "little")
    near = data.draw(st.sampled_from([16, 200, header, len(content)]))
    place = data.draw(st.integers(0, near - 1))
    how = data.draw(st.sampled_from(["overwrite", "flip", "insert", "delete"]))
    new = data.draw(st.binary(min_size=1, max_size=8))
    changed = {
        "overwrite": content[:place] + new + content[place + len(new) :],
        "flip": content[:place] + bytes([content[place] ^ (1 << (new[0] % 8))]) + content[place + 1 :],
        "insert": content[:place] + new + content[place:],
        "delete": content[:place] + content[place + len(new) :],
    }[how]
    place_of_mutations.write_bytes(changed)
    try:
        state = checkpoint.load(place_of_mutations)
    except CheckpointError:
        return
    assert packed(state) == content, f"{how} at {place} was not noticed"  # blanks of the header may change


def test_every_part_of_a_file_is_under_the_hash(tmp_path):
    content, path = whole_file(), tmp_path / "file"
    text = content.index(b'{"__dict__"')  # the settings and numbers of the state
    places = [
        content.index(b"landscape_opt/2") + 14,
        content.index(b"sha256:") + 9,
        text + 40,
        text + 4000,
        len(content) - 9,
    ]
    for place in places:
        changed = bytearray(content)
        changed[place] = ord("1") if changed[place] != ord("1") else ord("0")
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            loaded(path)


def test_what_was_loaded_is_no_view_of_the_file(tmp_path):
    path = tmp_path / "file"
    checkpoint.save(path, {"weight": torch.ones(100_000)})
    weight = checkpoint.load(path)["weight"]
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))  # in place, as `cp` does
    assert bool((weight == 1).all())


# ---------------------------------------------------------------------------------------------------------- forged files


def forge(path: pathlib.Path, text: str, tensors: dict | None = None, written: str = "landscape_opt/2") -> pathlib.Path:
    """A file whose hash is right."""
    tensors = {**(tensors or {}), "state.json": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}
    header = {"format": f"{written} sha256:{checkpoint._digest(written, tensors)}"}
    path.write_bytes(to_bytes(tensors, metadata=header))
    return path


ONE = {"/w": torch.ones(2)}
FORGED = [
    ("no JSON", "{", {}, "JSON"),
    ("nothing", " ", {}, "JSON"),
    ("deeply nested JSON", "[" * 100_000, {}, "JSON"),
    ("deep", '{"__list__": [' * 80 + "]}" * 80, {}, "deeper than 64"),
    ("a number of many digits", '{"__dict__": [["a", ' + "9" * 5000 + "]]}", {}, "JSON"),
    ("a number", "3", {}, "no state"),
    ("a bare list", "[1, 2]", {}, "no state is made of"),
    ("a bare dict", '{"a": 1}', {}, "no state is made of"),
    ("a class", '{"__dict__": [["a", {"__class__": "os.system"}]]}', {}, "no state is made of"),
    ("two kinds", '{"__dict__": [], "__list__": []}', {}, "no state is made of"),
    ("a key that is a list", '{"__dict__": [[[1], 2]]}', {}, "no state is made of"),
    ("a key that comes twice", '{"__dict__": [["a", 1], ["a", 2]]}', {}, "no state is made of"),
    ("a dict of no pairs", '{"__dict__": [["a"]]}', {}, "no state is made of"),
    ("a dict that is a text", '{"__dict__": "ab"}', {}, "no state is made of"),
    ("a Tensor that is missing", '{"__dict__": [["a", {"__tensor__": "/w"}]]}', {}, "does not hold"),
    ("a Tensor without a name", '{"__dict__": [["a", {"__tensor__": 3}]]}', {}, "no state is made of"),
    ("a Tensor named twice", '{"__list__": [{"__tensor__": "/w"}, {"__tensor__": "/w"}]}', ONE, "twice"),
    ("a Tensor too many", '{"__dict__": [["a", 1]]}', ONE, "does not name"),
]


@pytest.mark.parametrize(("text", "tensors", "message"), [row[1:] for row in FORGED], ids=[row[0] for row in FORGED])
def test_a_state_that_is_nonsense_though_its_hash_is_right(text, tensors, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(forge(tmp_path / "file", text, tensors))


@pytest.mark.parametrize("written", ["landscape_opt/3", "landscape_opt/" + "9" * 5000])
def test_a_file_of_a_later_format_says_so(written, tmp_path):
    with pytest.raises(NewerFormatError, match="later release"):
        checkpoint.load(forge(tmp_path / "file", '{"__dict__": []}', written=written))


@pytest.mark.parametrize("written", ["landscape_opt/0", "landscape_opt/-1", "landscape_opt/²", "landscape_opt", "other/1"])
def test_a_file_of_another_library(written, tmp_path):
    with pytest.raises(CheckpointError, match="not one that this library wrote"):
        checkpoint.load(forge(tmp_path / "file", '{"__dict__": []}', written=written))


def test_what_cannot_be_saved_is_refused_at_saving():
    endless: list = []
    endless.append(endless)
    for state, error in (({"a": object()}, TypeError), ({(1, 2): 3}, TypeError), ({"a": endless}, ValueError)):
        with pytest.raises(error, match="cannot save"):
            packed(state)


# -------------------------------------------------------------------------------------------------------- forged settings


def changed(state: dict, path: tuple, value: object) -> dict:
    """A copy of a state in which one place holds something else."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(state, dict):
        return {**state, key: changed(state.get(key), rest, value)}
    return type(state)(changed(one, rest, value) if i == key else one for i, one in enumerate(state))


MAPPING, REPLAY = ("settings", "mapping"), ("settings", "replay")
MUCH = 10**13
SETTINGS = [
    ((), 3),
    (("settings",), []),
    (("settings", "x_init"), "zeros"),
    (("settings", "x_init"), torch.arange(4)),
    (("settings", "x_init"), torch.full((4,), torch.nan)),
    (("settings", "x_init"), torch.zeros(5)),
    (("settings", "x_init"), {}),
    (("settings", "batch_size"), 0),
    (("settings", "batch_size"), "many"),
    (("settings", "seed"), -1),
    (("settings", "has_given"), None),
    (("settings", "surplus"), 1),
    ((*MAPPING, "kind"), "antigravity"),
    ((*MAPPING, "kind"), "streaming"),  # a part of ours, but no mapping
    ((*MAPPING, "kind"), ["anchored"]),
    (MAPPING, {}),
    ((*MAPPING, "settings"), {"width": "wide"}),
    ((*MAPPING, "settings"), {"forward": "os.system"}),
    ((*MAPPING, "settings", "width"), 10**9),
    ((*MAPPING, "settings", "width"), MUCH),
    ((*MAPPING, "settings", "width"), 2**62),
    ((*MAPPING, "settings", "width"), -3),
    (MAPPING, {"kind": "residual", "settings": {"widths": (1,) * 100_000, "fixed_scale": None, "linear": True}}),
    (MAPPING, {"kind": "residual", "settings": {"widths": (10**6, 10**6), "fixed_scale": None, "linear": True}}),
    ((*REPLAY, "settings", "horizon"), -1),
    ((*REPLAY, "settings", "horizon"), MUCH),
    ((*REPLAY, "settings", "horizon"), 3),
    ((*REPLAY, "settings", "num_rows"), MUCH),
    ((*REPLAY, "settings", "blind"), 2.0),
    ((*REPLAY, "settings", "second_chances"), 1),
    (("settings", "memory", "capacity"), -1),
    (("settings", "memory", "file"), "/etc/passwd"),
    (("settings", "theta_objective", "settings", "share"), "x"),
    (("state", "mapping", "spec", "num_target_features"), MUCH),
    (("state", "mapping", "spec", "num_prediction_features"), MUCH),
    (("state", "mapping", "spec", "surplus"), 1),
    (("state", "memory", "room"), MUCH),
    (("state", "memory", "storage"), None),
    (("state", "memory", "storage"), torch.zeros(3)),
    (("state", "replay"), None),
    (("state", "replay"), {}),
    (("state", "replay", "num_rounds"), "2"),
    (("state", "optimizer"), {}),
    (("state", "optimizer", "param_groups"), []),
    (("state", "optimizer", "param_groups", 0, "lr"), "fast"),
    (("state", "optimizer", "param_groups", 0, "amsgrad"), True),  # without the Tensors that it needs
    (("state", "optimizer", "param_groups", 0, "params"), [0]),
    (("state", "optimizer", "state"), {"x": {}}),
    (("state", "optimizer", "state", "0", "surplus"), torch.zeros(1)),
    (("state", "mapping"), None),  # with an optimizer and a stream
    (("state", "history"), {}),
    (("state", "history"), [{}]),
    (("state", "history", 0, "surplus"), 1),
    (("state", "history", 0, "seconds"), "long"),
    (("state", "history", 0, "validation"), {"budgets": (1,)}),
    (("state", "counters", "num_batches"), -1),
    (("state", "counters", "num_batches"), 1.5),
    (("state", "counters"), {}),
    (("state", "generator"), torch.zeros(3, dtype=torch.uint8)),
    (("state", "generator"), torch.zeros(5056, dtype=torch.uint8)),
]


@pytest.mark.parametrize(("path", "value"), SETTINGS, ids=[f"{'.'.join(map(str, p))} {str(v)[:30]}" for p, v in SETTINGS])
def test_what_is_wrong_in_a_file_is_refused_without_making_room_for_it(path, value, tmp_path):
    checkpoint.save(tmp_path / "file", {"all": changed(saved(fitted()), path, value)})
    state = checkpoint.load(tmp_path / "file")["all"]
    if not isinstance(state, dict):
        state = {"state": state}
    checkpoint.save(tmp_path / "file", state)
    with pytest.raises(CheckpointError) as caught:
        loaded(tmp_path / "file")
    assert "alloc" not in str(caught.value)  # as torch says where the memory is not enough
    assert "antigravity" not in sys.modules


def test_the_parts_given_are_as_they_were_after_a_file_was_refused(tmp_path):
    mapping, replay = AnchoredMapping(width=32), made(described(fitted().replay), None, "replay")
    state = changed(saved(fitted()), ("state", "counters", "num_updates"), "x")  # what is looked at last
    checkpoint.save(tmp_path / "file", state)
    with pytest.raises(CheckpointError, match="num_updates"):
        loaded(tmp_path / "file", mapping=mapping, replay=replay)
    assert not mapping.is_built
    assert replay.stream is None
    assert replay.num_rounds == 0


# ---------------------------------------------------------------------------------------------------------- all or nothing


def places(state: object, path: tuple = ()) -> list[tuple[tuple, object]]:
    """Every Tensor and number of a state, and where it is."""
    if isinstance(state, dict):
        return [found for key, value in state.items() for found in places(value, (*path, key))]
    if isinstance(state, list | tuple):
        return [found for key, value in enumerate(state) for found in places(value, (*path, key))]
    return [(path, state)]


def without(state: dict, path: tuple) -> dict:
    """A copy of a state that misses one place of a dict."""
    if len(path) == 1:
        return {key: value for key, value in state.items() if key != path[0]}
    return changed(state, path[:1], without(state[path[0]], path[1:]))


def bent(value: object) -> list:
    """What no place that holds the value can take."""
    if not isinstance(value, torch.Tensor):
        return [object(), torch.zeros(3)]
    odd = torch.bool if value.dtype != torch.bool else torch.long
    return [value.to(odd), torch.cat([value.reshape(-1), value.reshape(-1)[:1]]) if value.ndim == 1 else value[None], None]


YOUNGER = (
    "skipped_updates", "validation", "first", "attained", "call_cost", "escapes", "caught_seen", "caught_x", "caught_loss"
)  # fmt: skip  # than the first files; they may be missing


@each_kind
def test_a_state_with_any_place_bent_or_missing_leaves_an_inverter_bit_for_bit_as_it_was(mapping):
    inverter, other = copy.deepcopy(fitted(mapping)), fresh(mapping)
    whole = copy.deepcopy(fitted(mapping).state_dict())
    inverter.fit(case("mlp").targets(64, 2), num_rounds=1, progress=False)
    before, before_other = packed(saved(inverter)), packed(saved(other))
    parameters = list(inverter.landscape.parameters())
    refused = 0
    for path, value in places(whole):
        many = path[:2] == ("history", 1) or (path[:2] == ("optimizer", "state") and path[2] not in "03")
        if many or "param_groups" in path:
            continue  # some are enough; the options of an optimizer are in test_what_is_wrong_in_a_file
        states = [changed(whole, path, one) for one in bent(value)]
        if isinstance(path[-1], str) and path[-1] not in YOUNGER:
            states.append(without(whole, path))
        for number, state in enumerate(states):
            for one in (inverter, other) if number == 0 else (inverter,):
                with pytest.raises(CheckpointError):
                    restore(one, state)
                refused += 1
    assert refused > 100
    assert packed(saved(inverter)) == before
    assert packed(saved(other)) == before_other
    assert all(one is another for one, another in zip(parameters, inverter.landscape.parameters(), strict=True))
    restore(inverter, whole)  # and what is well is taken
    restore(other, whole)
    assert packed(inverter.state_dict()) == packed(other.state_dict()) == packed(whole)


def test_a_state_of_another_landscape_is_refused():
    small = LandscapeInverter(LearnedLandscape(case("linear").forward_model, case("linear").x_init), squares)
    before = packed(saved(small))
    with pytest.raises(CheckpointError, match=r"x_init must be a floating-point Tensor of shape \(6,\)"):
        restore(small, fitted().state_dict())
    assert packed(saved(small)) == before
    with pytest.raises(CheckpointError, match="that of a fitted landscape"):
        restore(copy.deepcopy(fitted()), fresh().state_dict())


class Picky(Streaming):
    """A replay of the user's own, which finds fault only when it has half changed itself."""

    def load_state_dict(self, state):
        self.num_rounds = -1
        if self.stream is not None:
            self.stream.age.fill_(99)
        raise LookupError("something is wrong with that")


def test_a_replay_of_ones_own_that_fails_in_the_middle_leaves_all_as_it_was():
    inverter = copy.deepcopy(fitted())
    picky = Picky(num_rows=32)
    vars(picky).update(vars(inverter.replay))
    inverter.replay = picky
    before = packed(saved(inverter))
    with pytest.raises(CheckpointError, match="something is wrong with that"):
        restore(inverter, fitted().state_dict())
    assert packed(saved(inverter)) == before


class Scaled(Mapping):
    """A mapping of the user's own, with a memory that is no Tensor, and weights that cannot be made without their values."""

    def __init__(self) -> None:
        super().__init__()
        self.told = {"seen": 0}

    def make_layers(self, spec):
        self.scale = nn.Parameter(torch.full((spec.dim,), float(spec.x_init.sum().item() * 0 + 1)))

    def forward(self, z, context):
        return self.x_init + self.scale * z

    def get_extra_state(self):
        return dict(self.told)

    def set_extra_state(self, state):
        self.told = {"seen": state["seen"] + 0}


def test_a_mapping_of_ones_own(tmp_path):
    problem = case("mlp")
    inverter = LandscapeInverter(LearnedLandscape(problem.forward_model, problem.x_init, Scaled()), squares)
    inverter.step(problem.targets(64, 1))
    inverter.landscape.mapping.told["seen"] = 7
    save(inverter, tmp_path / "file")
    with pytest.raises(CheckpointError, match="mapping: one of your own there"):
        loaded(tmp_path / "file", theta_optimizer=None)
    again = loaded(tmp_path / "file", mapping=Scaled(), theta_optimizer=None)
    assert again.landscape.mapping.told == {"seen": 7}
    assert packed(saved(again)) == packed(saved(inverter))
    before = packed(saved(again))
    bad = changed(inverter.state_dict(), ("mapping", "weights", "_extra_state"), {"seen": "often"})
    with pytest.raises(CheckpointError, match=r"state\.mapping cannot be taken: TypeError"):
        restore(again, bad)
    assert packed(saved(again)) == before


def test_reading_by_annotation():
    assert Part((1, 2.0), "x").read(tuple[float, ...]) == (1, 2.0)
    assert Part(None, "x").read(float | None) is None
    for value, hint in (
        (True, int),
        (True, float),
        ("1", int),
        ([1], tuple[int, ...]),
        (1.0, int),
        (None, str),
        ((1, "a"), tuple[int, ...]),
    ):
        with pytest.raises(CheckpointError, match="x cannot be read"):
            Part(value, "x").read(hint)


# ---------------------------------------------------------------------------------------------------------- a failing disk


def assert_as_before(folder: pathlib.Path, content: dict[str, bytes]) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content
    assert loaded(folder / "file").landscape.is_fitted


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    (tmp_path / "run").mkdir()
    save(fitted(), tmp_path / "run" / "file")
    return tmp_path / "run"


@pytest.mark.parametrize("failing", ["os.fsync", "tempfile.mkstemp", "pathlib.Path.chmod", "pathlib.Path.replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("after", [0, 1])  # in the first file, or in its card
def test_a_call_that_fails_while_saving_changes_nothing(failing, number, after, folder, monkeypatch):
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(content) == ["file", "file.json"]
    module, _, name = failing.rpartition(".")
    owner = {"os": os, "tempfile": __import__("tempfile"), "pathlib.Path": pathlib.Path}[module]
    if failing == "pathlib.Path.replace":
        after = 0  # of two renames in one folder the second does not fail if the first did not
    real, calls = getattr(owner, name), []

    def fails(*args, **kwargs):
        calls.append(name)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fails)
        with pytest.raises(NotWrittenError, match="What was there before is unchanged") as caught:
            save(fitted("conditioned"), folder / "file")
    assert calls
    assert caught.value.errno == number
    assert isinstance(caught.value, OSError)
    assert_as_before(folder, content)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(NotWrittenError, match="make it first"):
        save(fitted(), tmp_path / "nowhere" / "file")
    (tmp_path / "taken").touch()
    with pytest.raises(NotWrittenError, match="is a file"):
        save(fitted(), tmp_path / "taken" / "file")


LIMITED = """
import pathlib, resource, sys
sys.path.insert(0, sys.argv[1])
from test_checkpoint import NotWrittenError, fitted, save
inverter = fitted("conditioned")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    save(inverter, pathlib.Path(sys.argv[2]))
except NotWrittenError as error:
    print("refused:", error)
"""


def in_another_process(path: pathlib.Path, limit: int) -> str:
    command = [sys.executable, "-c", LIMITED, str(pathlib.Path(__file__).parent), str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_may_not_grow_so_far(folder):
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "larger than" in in_another_process(folder / "file", 4096)
    assert_as_before(folder, content)


def test_a_disk_that_is_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = len(whole_file()) + 100_000
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        save(fitted(), disk / "file")
        content = {path.name: path.read_bytes() for path in disk.iterdir()}
        with pytest.raises(NotWrittenError, match="the disk is full") as caught:
            save(fitted(), disk / "file")
        assert caught.value.errno == errno.ENOSPC
        assert_as_before(disk, content)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(NotWrittenError, match="read-only") as caught:
            save(fitted(), disk / "file")
        assert caught.value.errno == errno.EROFS
        assert_as_before(disk, content)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
