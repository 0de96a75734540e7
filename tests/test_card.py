"""The card of a landscape: what stands on it, and what loading makes of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from strategies import case, new_inverter, squares

from landscape_opt import CheckpointError, LandscapeInverter, LearnedLandscape, Memory
from landscape_opt.card import LandscapeCard, card_path, shapes
from landscape_opt.card_text import as_markdown
from landscape_opt.mappings import AnchoredMapping
from landscape_opt.replay import Streaming
from landscape_opt.results import ValidationRecord
from landscape_opt.saving import MismatchError, load, save

X = {"angles": torch.zeros(2, 3), "root": torch.zeros(2, dtype=torch.float64)}


def forward(x):
    return {"joints": x["angles"].flatten(1).cumsum(1), "at": x["root"]}


def loss(prediction, target):
    points, place = target
    return squares(prediction["joints"], points) + squares(prediction["at"], place)


def of_dicts() -> LandscapeInverter:
    landscape = LearnedLandscape(forward, X, AnchoredMapping(width=16))
    return LandscapeInverter(landscape, loss, replay=Streaming(num_rows=8, horizon=2, updates_per_round=2), batch_size=8)


@cache
def fitted() -> LandscapeInverter:
    targets = (torch.randn(32, 6, generator=torch.Generator().manual_seed(0)), torch.ones(32, 2, dtype=torch.float64))
    inverter = of_dicts().fit(targets, num_rounds=2, progress=False)
    checked = ValidationRecord((0, 5), (1.0, 0.125), (2.0, float("nan")), -1.0, (1.0, 0.5), -0.5, True, 1234.0)
    worse = replace(checked, median=(1.0, 0.75), area=float("inf"), break_even=None)
    inverter.history = [replace(one, validation=v) for one, v in zip(inverter.history, (checked, worse), strict=True)]
    return inverter


@pytest.fixture
def path(tmp_path):
    save(fitted(), tmp_path / "model.landscape")
    return tmp_path / "model.landscape"


def loaded(path, forward_model=forward, **own):
    return load(LandscapeInverter, path, forward_model, loss, **own)


def rewritten(path, **changes) -> None:
    """The card with other things on it."""
    card = LandscapeCard.read(path)
    card_path(path).write_text(replace(card, **changes).to_json())


def no_constant(name):
    raise AssertionError(f"{name} is not JSON")


def test_what_stands_on_it(path):
    assert card_path(path).name == "model.landscape.json"
    told = json.loads(card_path(path).read_text(), parse_constant=no_constant)
    assert told["format"] == "landscape_opt.card/1"
    assert told["x"] == {"angles": "float32 (2, 3)", "root": "float64 (2)"}
    assert told["y"] == ["float32 (6)", "float64 (2)"]
    assert told["num_target_features"] == 8
    assert told["forward_model"]["kind"] == "forward"
    assert told["settings"]["mapping"] == {"kind": "anchored", "settings": {"width": 16, "rank": None}}
    assert told["settings"]["replay"]["settings"]["horizon"] == 2
    assert told["settings"]["memory"] == {"capacity": 4096, "max_bytes": 2**26}
    assert told["settings"]["theta_optimizer"]["kind"] == "AdamW"
    assert told["weights"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["weights"]["num_bytes"] == path.stat().st_size
    mapping, history = fitted().landscape.mapping, fitted().history
    assert told["calibration"]["step"] == float(mapping.step)
    assert told["calibration"]["loss"] == float(mapping.loss)
    assert told["fit"]["rounds"] == 2
    assert told["fit"]["evaluations"] == fitted().num_evaluations >= sum(one.num_evaluations for one in history)
    assert told["fit"]["updates"] == 4
    assert told["fit"]["seconds"] == pytest.approx(sum(one.seconds for one in history), abs=1e-3)
    assert told["validation"][0]["median"] == [1.0, 0.125]
    assert told["validation"][0]["mean"] == [2.0, None]  # NaN is not JSON
    assert told["validation"][1]["area"] is None
    assert told["versions"]["torch"] == torch.__version__
    assert str(loaded(path).history) == str(fitted().history)  # with its NaN, and as records


def test_it_comes_back_as_it_was(path):
    card = LandscapeCard.read(path)
    assert card == LandscapeCard.read(card_path(path)) == LandscapeCard.of_json(card.to_json())
    assert card.is_of(path)


def test_names_with_brackets_come_back_as_they_were():
    landscape = LearnedLandscape(lambda x: x["a [ 1, 2 ]"], {"a [ 1, 2 ]": torch.zeros(2)})
    card = LandscapeCard.of(LandscapeInverter(landscape, squares), "file", b"")
    assert LandscapeCard.of_json(card.to_json()).x == {"a [ 1, 2 ]": "float32 (2)"}


def test_before_any_fit():
    card = LandscapeCard.of(of_dicts(), "file", b"")
    assert (card.y, card.num_target_features, card.calibration, card.fit.objective) == (None, None, None, None)
    assert "not fitted" in as_markdown(card)


@pytest.mark.parametrize("method", ["published", "distance"])
def test_a_buffer_tells_the_shape_of_targets_too(method):
    problem = case("conv")
    inverter = new_inverter(problem.forward_model, problem.x_init, mapping="residual", method=method)
    inverter.fit(problem.targets(32, 0), num_rounds=1, progress=False)
    assert LandscapeCard.of(inverter, "file", b"").y == "float32 (1, 8, 8)"


def test_the_date_of_a_build_that_can_be_made_again(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert LandscapeCard.of(of_dicts(), "file", b"").date == "1970-01-02T00:00:00+00:00"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert LandscapeCard.of(of_dicts(), "file", b"").date > "2024"


def test_in_words(path):
    text = as_markdown(LandscapeCard.read(path))
    for words in (
        "# Landscape of forward",
        "x: angles: float32 (2, 3), root: float64 (2)",
        "one target: float32 (6), float64 (2)",
        "after round 0: median loss 1, 0.125 (mean 2, not known) at 0, 5 evaluations; plain descent 1, 0.5; ",
        "fitting has paid after 1234 inversions",
        "after round 1: median loss 1, 0.75",
        "width 16",
        LandscapeCard.read(path).weights.sha256,
    ):
        assert words in text


# --------------------------------------------------------------------------------------------------------------- loading


def test_a_file_without_a_card_is_loaded(path):
    card_path(path).unlink()
    assert loaded(path).landscape.is_fitted
    with pytest.raises(FileNotFoundError, match="save"):
        LandscapeCard.read(path)


def test_with_its_card_nothing_is_said(path):
    assert loaded(path).landscape.is_fitted  # warnings are errors


def test_the_card_of_another_file(path):
    save(of_dicts(), path.with_name("other"))
    card_path(path).write_bytes(card_path(path.with_name("other")).read_bytes())
    with pytest.warns(UserWarning, match=r"the card is ignored.*sha256 differ"):
        assert loaded(path).landscape.is_fitted


NO_CARD = ["", "{", "[" * 100_000, "3", "{}", '{"format": "landscape_opt.card/2"}', "\udcff"]


@pytest.mark.parametrize("text", NO_CARD, ids=lambda text: ascii(text[:20]))
def test_a_card_that_cannot_be_read(text, path):
    card_path(path).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match="no landscape card"):
        LandscapeCard.read(path)
    with pytest.warns(UserWarning, match="the card is ignored"):
        assert loaded(path).landscape.is_fitted


@pytest.mark.parametrize(
    "name",
    ["format", "date", "weights", "forward_model", "x", "num_target_features", "settings", "fit", "validation", "versions"],
)
def test_a_card_that_misses_something_or_has_something_odd(name, path):
    told = json.loads(card_path(path).read_text())
    for changed in ({key: value for key, value in told.items() if key != name}, {**told, name: 3.5}, {**told, "odd": 1}):
        if name == "x" and changed.get("x") == 3.5:
            continue  # it is compared as it is
        card_path(path).write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match="no landscape card"):
            LandscapeCard.read(path)


def test_another_x_is_refused(path):
    rewritten(path, x={"angles": "float32 (2, 4)", "root": "float64 (2)"})
    with pytest.raises(MismatchError, match=r"x: .*2, 4.* on the card, .*2, 3.* in the file") as caught:
        loaded(path)
    assert len(caught.value.differences) == 1


class Own(Streaming):
    """A replay of the user's own."""


def test_all_that_is_missing_is_named_at_once(tmp_path):
    problem = case("mlp")
    landscape = LearnedLandscape(lambda x, y: x, torch.zeros(3), given=lambda y: y)
    inverter = LandscapeInverter(
        landscape, squares, replay=Own(), z_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    )
    save(inverter, tmp_path / "file")
    with pytest.raises(MismatchError) as caught:
        load(LandscapeInverter, tmp_path / "file", problem.forward_model, squares)
    assert [line.split(":")[0] for line in caught.value.differences] == ["replay", "given", "z_optimizer"]
    assert all("pass it to load(" in line for line in caught.value.differences)


def test_another_forward_model_is_told(path):
    with pytest.warns(UserWarning, match="another forward model") as caught:
        loaded(path, lambda x: forward(x))
    assert len(caught) == 1


def test_another_release_of_torch_is_told(path):
    rewritten(path, versions={"torch": "1.13.1+cu117", "python": "3.8", "landscape_opt": "0.1.0"})
    with pytest.warns(UserWarning, match=r"saved with torch 1\.13"):
        loaded(path)
    rewritten(path, versions={"torch": torch.__version__.split("+")[0] + "+another.build"})
    loaded(path)  # not a word


def test_a_compiled_forward_model_is_the_same_model(tmp_path):
    problem = case("mlp")
    save(new_inverter(problem.forward_model, problem.x_init), tmp_path / "file")
    again = load(LandscapeInverter, tmp_path / "file", torch.compile(problem.forward_model, backend="eager"), squares)
    assert not again.landscape.is_fitted


def test_the_memory_and_its_bounds_come_back(tmp_path):
    inverter = of_dicts()
    inverter.memory = Memory(capacity=7)
    inverter.remember({name: part.expand(3, *part.shape) for name, part in X.items()})
    save(inverter, tmp_path / "file")
    again = loaded(tmp_path / "file")
    assert (again.memory.capacity, len(again.memory)) == (7, 3)
    assert shapes(again.memory.predictions(torch.arange(3))) == {"joints": "float32 (3, 6)", "at": "float64 (3, 2)"}
