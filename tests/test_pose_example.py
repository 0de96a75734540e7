"""The example of the human-pose application in its quick mode, as a user starts it; and what it compares with."""

from __future__ import annotations

import pathlib
import re
import runpy
import sys

import pytest
import torch

from landscape_opt.applications.pose import KeypointModel, Photographs, SkinnedBody, mpjpe, sample_people
from landscape_opt.applications.pose.comparison import best_of, figures, fit_in_rounds
from landscape_opt.applications.pose.rivals import Fitter, Staged, by_landscape, lm, plain

EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "human_pose.py"


@pytest.mark.slow
def test_the_quick_example_prints_its_tables_and_writes_its_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--quick", "--out", str(tmp_path)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    for title in ("complete", "30 % hidden", "50 % hidden", "70 % hidden", "8 px of noise", "cut off", "two views"):
        assert f"| {title}" in printed
    methods = (
        "landscape, 20",
        "network alone",
        "network and L-BFGS, 20",
        "staged, Adam, 60",
        "staged, LM, 60",
        "latent space",
    )
    for method in methods:
        assert f"| {method}" in printed or method in printed
    rows = re.findall(r"^\| landscape, 20 \|.*\| (\d+) \| [\d.]+ \|$", printed, re.MULTILINE)
    assert rows
    assert all(int(evaluations) <= 20 for evaluations in rows)
    for picture in ("pose_hypotheses.png", "pose_evaluations.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
        assert 5_000 < (tmp_path / picture).stat().st_size < 200_000


def test_the_example_is_short_enough_to_be_lifted():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 150


@pytest.fixture(scope="module")
def scene():
    generator, body = torch.Generator().manual_seed(0), SkinnedBody()
    model = KeypointModel(body)
    return model, Photographs.of(sample_people(body, 4, generator), body, model.cameras, generator)


@pytest.mark.parametrize("solver", [None, lm(1e-3)])
def test_staged_fitting_keeps_its_budget_and_counts_all_of_it(scene, solver):
    model, seen = scene
    staged = Staged(model, (10.0,), None if solver is None else solver(model), max_evaluations=150)
    found = staged(seen)
    assert (found.num_evaluations <= 150).all()
    assert found.loss.median() < 0.2 * plain(model).invert(seen.target(model), 0, allow_unfitted=True).loss.median()


def test_turned_starts_are_quarter_turns(scene):
    model, _ = scene
    starts = Staged(model)._turned(2)
    pelvis_to_hips = []
    for turn in range(4):
        joints = model.joints({name: part[:, turn] for name, part in starts.items()})
        pelvis_to_hips.append(joints[0, 1] - joints[0, 2])
    assert float(pelvis_to_hips[0] @ pelvis_to_hips[2]) < 0
    assert abs(float(pelvis_to_hips[0] @ pelvis_to_hips[1])) < 1e-3


def test_the_best_hypothesis_is_no_worse_than_the_chosen_one(scene):
    model, seen = scene
    fitter = by_landscape("several", plain(model), model, 12, num_hypotheses=3, allow_unfitted=True)
    found = fitter.fit(seen)
    best = best_of(model, found, seen.joints)
    assert (best <= mpjpe(model.joints(found.x), seen.joints) + 1e-3).all()
    with pytest.raises(ValueError, match="num_hypotheses"):
        best_of(model, plain(model).invert(seen.target(model), 1, allow_unfitted=True), seen.joints)


def test_figures_are_those_of_the_answer(scene):
    model, seen = scene
    fitter = Fitter("plain", by_landscape("", plain(model), model, 5, allow_unfitted=True).fit, model)
    found, row = fitter.fit(seen), figures(fitter, seen)
    assert row.mpjpe == pytest.approx(float(mpjpe(model.joints(found.x), seen.joints).mean()))
    assert row.loss == pytest.approx(float(found.loss.mean()))
    assert row.evaluations == 5


def test_a_landscape_is_fitted_in_rounds(scene):
    model, seen = scene
    inverter = fit_in_rounds(plain(model), seen.target(model), 2)
    assert len(inverter.history) == 2
    assert inverter.invert(seen.target(model), 3).loss.isfinite().all()


def test_the_code_of_the_page_runs(capsys):
    page = (EXAMPLE.parent.parent / "docs" / "applications" / "human_pose.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    namespace: dict = {}
    for block in blocks:
        short = block.replace("max_seconds=60", "num_rounds=2").replace("4096", "512")
        exec(compile(short, "human_pose.md", "exec"), namespace)
    assert namespace["skin"].shape == (8, 777, 3)
    assert namespace["result"].loss.isfinite().all()
    assert (namespace["after"].num_evaluations <= 5).all()
    assert "torch.Size([8, 10, 48])" in capsys.readouterr().out
