"""The adapter for SMPL and SMPL-X, on synthetic model files of the same format: no licensed data is at hand."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.applications.pose import BodyModel, KeypointModel, SkinnedBody, SMPLBody, keypoint_loss
from landscape_opt.problems.camera import rotation_matrix
from landscape_opt.problems.skeleton import PARENTS

HANDS = {24: (20, 21)}  # parents of SMPL's joints 22 and 23
FILES = {"SMPL": (24, 6890, 10), "SMPL-X": (55, 10475, 20)}


def write_model(path, name):
    """An .npz file with the arrays of a SMPL or SMPL-X model: our own joints and skin, shapes of height and girth."""
    num_joints, num_vertices, num_shapes = FILES[name]
    ours = SkinnedBody()
    at_rest = torch.cat([torch.zeros(1, 3), ours.paths[1:] @ ours.bones])
    upwards = torch.tensor([1.0, -1.0, -1.0])
    parents = [*PARENTS, *HANDS.get(num_joints, (20, 21))]
    parents += [20] * (num_joints - len(parents))
    joints = torch.cat([at_rest, at_rest[torch.tensor(parents[22:])] + 0.05]) * upwards
    count = len(ours.along)
    vertices = torch.zeros(num_vertices, 3)
    vertices[:count] = (ours.along @ at_rest + ours.offsets) * upwards
    vertices[count : count + num_joints] = joints  # so that the regressor of joints can be exact
    regressor = torch.zeros(num_joints, num_vertices)
    regressor[torch.arange(num_joints), count + torch.arange(num_joints)] = 1.0
    shapes = torch.zeros(num_vertices, 3, num_shapes)
    shapes[:, :, 0], shapes[:, :, 1] = 0.05 * vertices, 0.02 * vertices * torch.tensor([1.0, 0.0, 1.0])
    weights = torch.zeros(num_vertices, num_joints)
    weights[:, 0] = 1.0
    carriers = sorted({parent for parent in PARENTS if parent >= 0})
    weights[:count, 0] = 0.0
    weights[:count, carriers] = ours.weights
    arrays = {
        "v_template": vertices,
        "shapedirs": shapes,
        "posedirs": torch.zeros(num_vertices, 3, 9 * (num_joints - 1)),
        "J_regressor": regressor,
        "weights": weights,
        "f": ours.faces.int(),
        "kintree_table": torch.tensor([parents, list(range(num_joints))]),
    }
    if name == "SMPL-X":
        arrays["lmk_faces_idx"] = torch.zeros(51, dtype=torch.int32)
        arrays["lmk_bary_coords"] = torch.full((51, 3), 1.0 / 3.0)
        for side in "lr":
            arrays[f"hands_components{side}"] = torch.eye(45)
            arrays[f"hands_mean{side}"] = torch.zeros(45)
    np.savez_compressed(path, **{key: part.numpy() for key, part in arrays.items()})
    return path


class StandIn(nn.Module):
    """Called as a model of smplx is, on the arrays of the file: linear blend skinning, no corrective shapes."""

    NUM_BODY_JOINTS = 23

    def __init__(self, path, data_struct=None, **_):
        super().__init__()
        stored = data_struct if data_struct is not None else SimpleNamespace(**np.load(path))
        for name in ("v_template", "shapedirs", "J_regressor", "weights"):
            self.register_buffer(name, torch.as_tensor(getattr(stored, name)))
        self.tree = [int(parent) for parent in stored.kintree_table[0]]
        self.num_betas = 10
        self.extra = nn.Parameter(torch.zeros(1, 3 * (len(self.tree) - 1 - self.NUM_BODY_JOINTS)))

    def forward(self, betas, body_pose, global_orient, transl, return_verts, extra=None):
        assert extra is not None
        assert len(extra) == len(betas), "parameters of the model's own come in the size of the batch"
        vertices = self.v_template + torch.einsum("bs,vks->bvk", betas, self.shapedirs[:, :, :10])
        rest = self.J_regressor @ vertices
        pose = torch.cat([global_orient, body_pose, extra], dim=1).unflatten(1, (-1, 3))
        own = rotation_matrix(pose.flatten(0, 1)).unflatten(0, pose.shape[:2])
        turns, places = [own[:, 0]], [rest[:, 0]]
        for joint, parent in enumerate(self.tree[1:], start=1):
            turns.append(turns[parent] @ own[:, joint])
            places.append(places[parent] + (turns[parent] @ (rest[:, joint] - rest[:, parent])[..., None])[..., 0])
        turned, placed = torch.stack(turns, 1), torch.stack(places, 1)
        shift = placed - (turned @ rest[..., None])[..., 0]
        blended = torch.einsum("vj,bjkl->bvkl", self.weights, turned)
        skin = (blended @ vertices[..., None])[..., 0] + self.weights @ shift
        moved = placed + transl[:, None]
        return SimpleNamespace(vertices=skin + transl[:, None] if return_verts else None, joints=moved)


class StandInX(StandIn):
    NUM_BODY_JOINTS = 21


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: write_model(folder / f"{name.replace('-', '')}_NEUTRAL.npz", name) for name in FILES}


@pytest.fixture(params=["stand-in", "smplx"])
def package(request, monkeypatch):
    """smplx itself where it is installed, and a stand-in that is called alike."""
    if request.param == "smplx":
        return pytest.importorskip("smplx")
    package = ModuleType("smplx")
    package.SMPL, package.SMPLX = StandIn, StandInX
    monkeypatch.setitem(sys.modules, "smplx", package)
    return package


@pytest.mark.parametrize("name", list(FILES))
def test_a_model_file_poses_as_our_own_body_does(name, files, package, capsys):
    theirs, ours = SMPLBody.from_file(files[name], num_shapes=2), SkinnedBody()
    assert isinstance(theirs, BodyModel)
    generator = torch.Generator().manual_seed(0)
    pose = ours.lower + (ours.upper - ours.lower) * torch.rand(3, 16, 3, generator=generator)
    turn = rotation_matrix(torch.randn(3, 3, generator=generator))
    place = torch.tensor([0.2, 0.1, 4.0]).expand(3, 3)
    # Their frame looks the other way: rotation vectors have two components of the other sign.
    num_turning = theirs.lower.shape[0]
    same = torch.zeros(3, num_turning, 3)
    carriers = sorted({parent for parent in PARENTS if parent > 0})
    same[:, [joint - 1 for joint in carriers]] = pose * torch.tensor([1.0, -1.0, -1.0])
    wanted = ours(pose, torch.zeros(3, 6), turn, place)
    found = theirs(same, torch.zeros(3, 2), turn @ theirs.to_camera, place)
    torch.testing.assert_close(found.joints, wanted.joints, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.vertices[:, :777], wanted.vertices, rtol=0, atol=1e-4)
    torch.testing.assert_close(theirs.joints(same, torch.zeros(3, 2), turn @ theirs.to_camera, place), found.joints)
    capsys.readouterr()  # smplx prints how many coefficients a model has


def test_keypoints_are_fitted_with_a_model_file(files, package, capsys):
    body = SMPLBody.from_file(files["SMPL"], num_shapes=2)
    model = KeypointModel(body)
    x = {name: part[None].clone() for name, part in model.x_init.items()}
    generator = torch.Generator().manual_seed(1)
    x["pose"] += 0.15 * torch.randn(x["pose"].shape, generator=generator)
    with torch.no_grad():
        target = model.targets(model(x)["keypoints"])
    inverter = LandscapeInverter(LearnedLandscape(model, model.x_init), keypoint_loss())
    result = inverter.invert(target, 40, allow_unfitted=True)
    assert result.loss[0] < 0.01 * result.history.loss[0, 0]
    capsys.readouterr()


def test_without_the_package_the_error_says_what_to_install(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(ImportError, match="pip install smplx"):
        SMPLBody.from_file(files["SMPL"])


def test_what_is_no_body_model_is_refused(tmp_path, monkeypatch):
    package = ModuleType("smplx")
    monkeypatch.setitem(sys.modules, "smplx", package)
    other = tmp_path / "other.npz"
    np.savez(other, v_template=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="lacks shapedirs"):
        SMPLBody.from_file(other)
    with pytest.raises(ValueError, match="runs code"):
        SMPLBody.from_file(tmp_path / "model.pkl")
    with pytest.raises(TypeError, match="NUM_BODY_JOINTS"):
        SMPLBody(nn.Linear(1, 1))


def test_shapes_and_limits_have_to_fit(files):
    model = StandIn(files["SMPL"])
    with pytest.raises(ValueError, match="between 1 and the model's 10"):
        SMPLBody(model, num_shapes=11)
    with pytest.raises(ValueError, match="limits"):
        SMPLBody(model, limits=(torch.zeros(2, 3), torch.zeros(2, 3)))
