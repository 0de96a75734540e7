"""Every recipe of docs/own_loop.md runs, is short, and asserts its own claim."""

from __future__ import annotations

import importlib
import pathlib
import sys

import pytest
import torch

RECIPES = pathlib.Path(__file__).parent.parent / "examples" / "recipes"


@pytest.fixture
def recipe(monkeypatch):
    """Runs ``main`` of a recipe, which imports the one problem that all of them share."""
    monkeypatch.syspath_prepend(str(RECIPES))
    before = set(sys.modules)

    def run(name, *args):
        state = torch.random.get_rng_state()
        found = importlib.import_module(name).main(*args)
        torch.random.set_rng_state(state)  # a trainer may seed what it likes; the next test must not see it
        return found

    yield run
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(RECIPES) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_own_loop(recipe, capsys):
    assert recipe("own_loop") > 5
    assert "of that of plain descent" in capsys.readouterr().out


# Lightning 2.6 calls a name of torch's pytree that torch 2.13 has deprecated, and advises on workers and devices.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_lightning_module(recipe, tmp_path):
    pytest.importorskip("lightning")
    assert recipe("lightning_module", tmp_path) > 5


def test_accelerate_loop(recipe, tmp_path):
    pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard")
    assert recipe("accelerate_loop", tmp_path) > 5
    assert any(tmp_path.rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.py")), ids=lambda path: path.name)
def test_recipes_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 70
