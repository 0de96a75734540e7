"""Landscapes in a folder, and on the Hub as it answers to calls that its real functions would take."""

from __future__ import annotations

import builtins
import inspect
import pathlib
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from strategies import case, squares

from landscape_opt import CheckpointError, LandscapeInverter, LearnedLandscape
from landscape_opt.card import LandscapeCard, card_path
from landscape_opt.checkpoint import packed
from landscape_opt.hub import from_pretrained, push
from landscape_opt.mappings import AnchoredMapping
from landscape_opt.replay import Streaming
from landscape_opt.saving import save, saved


@cache
def fitted() -> LandscapeInverter:
    problem = case("mlp")
    inverter = LandscapeInverter(
        LearnedLandscape(problem.forward_model, problem.x_init, AnchoredMapping(width=16)),
        squares,
        replay=Streaming(num_rows=16, horizon=2, updates_per_round=2),
    )
    return inverter.fit(problem.targets(32, 0), num_rounds=1, progress=False)


def fetched(repo_id, **given) -> LandscapeInverter:
    return from_pretrained(LandscapeInverter, repo_id, case("mlp").forward_model, squares, **given)


# ---------------------------------------------------------------------------------------------------------------- folders


def test_a_folder_takes_two_files_and_a_page(tmp_path):
    folder = tmp_path / "new" / "folder"
    assert push(fitted(), folder) == str(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.landscape", "model.landscape.json"]
    page = (folder / "README.md").read_text()
    assert page.startswith("---\nlibrary_name: landscape_opt\n")
    assert "# Landscape of Sequential" in page
    for place in (folder, str(folder)):
        assert packed(saved(fetched(place))) == packed(saved(fitted()))


def test_a_page_of_ones_own_is_left(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    push(fitted(), tmp_path, name="arm.landscape", page=False)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert fetched(tmp_path, name="arm.landscape").landscape.is_fitted
    push(fitted(), tmp_path)
    assert (tmp_path / "README.md").read_text() != "mine"


def test_a_folder_relative_to_this_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    push(fitted(), "./here")
    assert fetched("here").landscape.is_fitted  # it exists, so it is a folder


def grown(folder):
    with (folder / "model.landscape").open("ab") as file:
        file.write(b" ")


def other_card(folder):
    save(LandscapeInverter(LearnedLandscape(torch.sin, torch.zeros(2)), squares), folder / "other")
    card_path(folder / "model.landscape").write_bytes(card_path(folder / "other").read_bytes())


SPOILT = [
    ("no weights", lambda folder: (folder / "model.landscape").unlink(), "holds no 'model.landscape'"),
    ("no card", lambda folder: card_path(folder / "model.landscape").unlink(), "without its card"),
    ("another card", other_card, "sha256 differ"),
    ("weights changed", grown, "sha256 differ"),
    ("no JSON", lambda folder: card_path(folder / "model.landscape").write_text("{"), "no landscape card"),
]


@pytest.mark.parametrize(("spoil", "message"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_what_is_not_as_it_was_pushed_is_refused(spoil, message, tmp_path):
    push(fitted(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        fetched(tmp_path)


def test_a_card_that_was_made_to_match_a_pickle(tmp_path):
    torch.save({"a": 1}, tmp_path / "model.landscape")
    card = LandscapeCard.of(fitted(), "model.landscape", (tmp_path / "model.landscape").read_bytes())
    card_path(tmp_path / "model.landscape").write_text(card.to_json())
    with pytest.raises(CheckpointError, match="not a landscape file"):
        fetched(tmp_path)


@pytest.mark.parametrize("name", ["", "*", "model.*", "../model", "a/b", "/etc/passwd", "[a-z]", ".hidden", "a\nb"])
def test_a_name_is_that_of_one_file(name, tmp_path):
    for call in (lambda: push(fitted(), tmp_path, name=name), lambda: fetched(tmp_path, name=name)):
        with pytest.raises(ValueError, match="plain file name"):
            call()


# ---------------------------------------------------------------------------------------------------------------- the Hub


class Hub:
    """Repositories in a folder. Calls are refused unless the real functions would take them."""

    def __init__(self, real, root: pathlib.Path) -> None:
        self.real, self.root, self.calls = real, root, []
        self.CommitOperationAdd = real.CommitOperationAdd

    def HfApi(self, **given):  # noqa: N802  # the name there
        inspect.signature(self.real.HfApi).bind(**given)
        return SimpleNamespace(create_repo=self.create_repo, create_commit=self.create_commit)

    def create_repo(self, *args, **given):
        told = inspect.signature(self.real.HfApi.create_repo).bind(None, *args, **given).arguments
        self.real.utils.validate_repo_id(told["repo_id"])
        self.calls.append(("create_repo", told["repo_id"], told.get("private")))

    def create_commit(self, *args, **given):
        told = inspect.signature(self.real.HfApi.create_commit).bind(None, *args, **given).arguments
        self.calls.append(("create_commit", told["repo_id"], told.get("revision")))
        folder = self.root / told["repo_id"] / (told.get("revision") or "main")
        folder.mkdir(parents=True, exist_ok=True)
        for operation in told["operations"]:
            (folder / operation.path_in_repo).write_bytes(operation.path_or_fileobj)
        return SimpleNamespace(oid="abc123")

    def snapshot_download(self, *args, **given):
        told = inspect.signature(self.real.snapshot_download).bind(*args, **given).arguments
        self.calls.append(("snapshot_download", told["repo_id"], told.get("revision")))
        source = self.root / told["repo_id"] / (told.get("revision") or "main")
        cache_dir = pathlib.Path(told.get("cache_dir") or self.root / "cache")
        cache_dir.mkdir(exist_ok=True)
        names = [path.name for path in source.iterdir()]
        for name in self.real.utils.filter_repo_objects(names, allow_patterns=told["allow_patterns"]):
            (cache_dir / name).write_bytes((source / name).read_bytes())
        return str(cache_dir)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    real = pytest.importorskip("huggingface_hub")
    fake = Hub(real, tmp_path)
    fake.real = SimpleNamespace(HfApi=real.HfApi, snapshot_download=real.snapshot_download, utils=real.utils)
    for name in ("HfApi", "snapshot_download"):
        monkeypatch.setattr(real, name, getattr(fake, name))
    return fake


def test_there_and_back(hub, tmp_path):
    assert push(fitted(), "someone/arm", revision="tested", private=True) == "abc123"
    assert hub.calls == [("create_repo", "someone/arm", True), ("create_commit", "someone/arm", "tested")]
    folder = tmp_path / "someone" / "arm" / "tested"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.landscape", "model.landscape.json"]
    (folder / "code.py").write_text("raise SystemExit")
    (folder / "model.landscape.pkl").write_text("raise SystemExit")
    again = fetched("someone/arm", revision="tested", cache_dir=tmp_path / "mine")
    assert packed(saved(again)) == packed(saved(fitted()))
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["model.landscape", "model.landscape.json"]


def test_what_the_hub_holds_is_checked(hub, tmp_path):
    push(fitted(), "someone/arm")
    weights = tmp_path / "someone" / "arm" / "main" / "model.landscape"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="sha256 differ"):
        fetched("someone/arm")
    weights.unlink()
    (tmp_path / "cache" / "model.landscape").unlink()
    with pytest.raises(CheckpointError, match=r"holds no 'model\.landscape'"):
        fetched("someone/arm")


def test_the_hub_says_what_it_needs(monkeypatch):
    real = builtins.__import__

    def without_hub(name, *args, **given):
        if name.partition(".")[0] == "huggingface_hub":
            raise ImportError(name)
        return real(name, *args, **given)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    for call in (lambda: push(fitted(), "someone/arm"), lambda: fetched("someone/arm")):
        with pytest.raises(ImportError, match=r'pip install "landscape-opt\[hub\]"'):
            call()


def test_the_real_code_of_the_hub_finds_what_it_has_fetched_before(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # no test waits for a network
    commit, place = "0" * 40, tmp_path / "models--someone--arm"
    push(fitted(), place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    again = fetched("someone/arm", cache_dir=tmp_path)
    assert packed(saved(again)) == packed(saved(fitted()))
    assert packed(saved(fetched("someone/arm", cache_dir=tmp_path, revision=commit))) == packed(saved(fitted()))
    with pytest.raises(pytest.importorskip("huggingface_hub.errors").LocalEntryNotFoundError):
        fetched("someone/leg", cache_dir=tmp_path)
