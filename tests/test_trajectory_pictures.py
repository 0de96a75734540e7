"""Pictures of trajectories: what is drawn, when, and that the fit does not notice."""

from __future__ import annotations

import pytest
import torch
from strategies import case, new_inverter

pytest.importorskip("matplotlib")

from landscape_opt.fitting.pictures import Plane, TrajectoryPictures, trajectories


def fitted(callbacks=(), rounds=5, **settings):
    y = case("mlp").targets(96, 3)
    inverter = new_inverter(case("mlp").forward_model, case("mlp").x_init)
    return inverter.fit(y[8:], num_rounds=rounds, callbacks=callbacks, progress=False, **settings), y[:8]


def test_a_picture_every_so_many_rounds_and_at_the_end(tmp_path):
    from matplotlib.image import imread

    plain, y = fitted()
    state = torch.random.get_rng_state()
    drawn, _ = fitted([TrajectoryPictures(tmp_path / "new", y, every=2, num_evaluations=4)])
    files = sorted((tmp_path / "new").iterdir())
    assert [file.name for file in files] == ["round-000001.png", "round-000003.png", "round-000004.png"]
    images = [imread(file) for file in files]
    assert all(image.shape == images[0].shape and image[..., :3].std() > 0.05 for image in images)
    assert (images[0] != images[1]).any()
    assert torch.equal(state, torch.random.get_rng_state())
    for one, other in zip(plain.landscape.parameters(), drawn.landscape.parameters(), strict=True):
        assert torch.equal(one, other)  # the fit does not notice
    assert plain.num_evaluations == drawn.num_evaluations


def test_paths_are_the_points_of_the_inversion():
    inverter, y = fitted()
    found = trajectories(inverter, y, 4)
    result = inverter.invert(y, 4, restarts=False)
    assert torch.equal(found.loss, result.history.best)
    for row, path in enumerate(found.paths):
        assert len(path) == int(result.num_evaluations[row]) + 1  # the last point is read, and not charged
        assert (path == result.x[row]).all(1).any()


def test_the_plane_holds_what_varies_most():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    spread = torch.tensor([5.0, 2.0, 0.1, 0.1, 0.1, 0.1])
    points = (torch.randn(200, 6, generator=generator) * spread) @ basis.T + 3.0
    plane = Plane.of(points)
    assert torch.allclose(plane.directions.T @ plane.directions, torch.eye(2), atol=1e-5)
    assert (plane.directions.T @ basis[:, :2]).abs().diagonal().min() > 0.99
    kept = plane.shown(points).square().sum() / (points - points.mean(0)).square().sum()
    assert kept > 0.99
    assert Plane.of(points[:, :1]).shown(points[:, :1])[:, 1].abs().max() == 0  # x is a single number


def test_a_resumed_fit_draws_in_the_same_plane(tmp_path):
    first, again = (TrajectoryPictures(tmp_path / "pictures", case("mlp").targets(4, 3), every=2) for _ in range(2))
    fitted([first], rounds=2, checkpoint=tmp_path / "run")
    fitted([again], rounds=4, checkpoint=tmp_path / "run")
    assert torch.equal(first.plane.directions, again.plane.directions)
    assert sorted(file.name for file in (tmp_path / "pictures").iterdir()) == ["round-000001.png", "round-000003.png"]


def test_what_cannot_be_drawn_is_refused(tmp_path, monkeypatch):
    y = case("mlp").targets(4, 3)
    with pytest.raises(ValueError, match="every must be at least 1"):
        TrajectoryPictures(tmp_path, y, every=0)
    with pytest.raises(ValueError, match="no rows"):
        TrajectoryPictures(tmp_path, y[:0])
    inverter, _ = fitted(rounds=1)
    with pytest.raises(ValueError, match="features per row"):
        inverter.fit(y, num_rounds=1, callbacks=[TrajectoryPictures(tmp_path, torch.zeros(4, 7))], progress=False)
    monkeypatch.setattr("landscape_opt.fitting.pictures.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "landscape-opt\[plot\]"'):
        TrajectoryPictures(tmp_path, y)
