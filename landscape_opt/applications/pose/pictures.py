"""Pictures of bodies: skins over keypoints, seen from the front and from the side, and curves of errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...problems.camera import rotation_matrix
from ...problems.skeleton import PARENTS
from ...results import InversionResult
from .keypoints import KeypointModel
from .metrics import mpjpe
from .photographs import Photographs

_SKIN, _TRUTH, _POINT = (0.86, 0.55, 0.38), "#475569", "#c2410c"
_LIGHT = (-0.4, -0.6, -0.7)


def figure(rows: int, columns: int, size: float = 2.2) -> tuple[Any, Any]:
    """A figure of equal panels without axes; no backend or style of the process is touched.

    Args:
        rows: of panels.
        columns: of panels.
        size: of a panel in inches.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "landscape-opt[plot]"') from error
    drawn = Figure(figsize=(size * columns, 1.15 * size * rows), layout="constrained")
    panels = drawn.subplots(rows, columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    return drawn, panels


def save(drawn: Any, path: Path, dots: int = 80) -> Path:
    """Write the file; the same picture gives the same bytes.

    Args:
        drawn: the figure.
        path: whose suffix says how; its folder is made.
        dots: per inch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=dots, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})
    return path


def draw_skin(panel: Any, vertices: Tensor, faces: Tensor, degrees: float = 0.0, opacity: float = 1.0) -> None:
    """A shaded skin, far triangles first, in a view without perspective.

    Args:
        panel: to draw on.
        vertices: (V, 3) in m.
        faces: (F, 3).
        degrees: by which the camera goes round the body.
        opacity: of the triangles.
    """
    from matplotlib.collections import PolyCollection

    corners = _seen(vertices, vertices, degrees)[faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    light = torch.nn.functional.normalize(torch.tensor(_LIGHT), dim=0)
    bright = 0.45 + 0.55 * (torch.nn.functional.normalize(normals, dim=1) @ light).abs()
    order = corners[:, :, 2].mean(1).argsort(descending=True)
    colours = [(*[float(b) * part for part in _SKIN], opacity) for b in bright[order]]
    panel.add_collection(PolyCollection(list(corners[order, :, :2].numpy()), facecolors=colours, edgecolors="none"))
    _frame(panel, corners[:, :, :2].flatten(0, 1))


def draw_bones(
    panel: Any, joints: Tensor, about: Tensor, degrees: float = 0.0, colour: str = _TRUTH, width: float = 1.5
) -> None:
    """Bones of joints (22, 3), in the same view as a skin of the body ``about``."""
    seen = _seen(joints, about, degrees)
    for joint, parent in enumerate(PARENTS[1:], start=1):
        panel.plot(*seen[[parent, joint], :2].T.numpy(), color=colour, linewidth=width, solid_capstyle="round")
    _frame(panel, seen[:, :2])


def draw_points(panel: Any, joints: Tensor, about: Tensor, seen: Tensor, degrees: float = 0.0) -> None:
    """The joints (22, 3) whose keypoints were seen, (22,) of True and False."""
    points = _seen(joints, about, degrees)[seen]
    panel.plot(*points[:, :2].T.numpy(), "o", color=_POINT, markersize=3)


def draw_hypotheses(path: Path, model: KeypointModel, result: InversionResult, seen: Photographs, number: int = 3) -> Path:
    """Each line a photograph: the best skin over the keypoints, all hypotheses from the front and from the side.

    The photographs are the first of the batch. Grey is the truth; the numbers are errors in mm of the hypothesis with the
    lowest loss and of the best one.

    Args:
        path: of the file.
        model: whose x the answers are.
        result: with hypotheses.
        seen: the photographs that were inverted.
        number: of lines.
    """
    if result.hypotheses is None:
        raise ValueError("the result has one answer; ask for num_hypotheses")
    drawn, panels = figure(number, 4)
    for row in range(number):
        x = {name: part[row] for name, part in result.hypotheses.x.items()}
        posed, truth = model.posed(x), seen.joints[row]
        errors = mpjpe(posed.joints, truth[None].expand_as(posed.joints))
        best, shown = int(errors.argmin()), seen.confidence[row] > 0
        for panel, which, degrees in zip(panels[row, :2], (0, best), (0.0, 0.0), strict=True):
            draw_skin(panel, posed.vertices[which], model.body.faces, degrees)
            draw_points(panel, truth - truth[:1] + posed.joints[which, :1], posed.vertices[which], shown)
            panel.set_title(f"{'lowest loss' if panel is panels[row, 0] else 'best'}: {errors[which]:.0f} mm", fontsize=8)
        for panel, degrees in zip(panels[row, 2:], (0.0, 90.0), strict=True):
            for joints in posed.joints:
                draw_bones(panel, joints - joints[:1], truth - truth[:1], degrees, colour=_POINT, width=0.7)
            draw_bones(panel, truth - truth[:1], truth - truth[:1], degrees, width=2.0)
            panel.set_title("from the front" if degrees == 0 else "from the side", fontsize=8)
    return save(drawn, path)


def curves(path: Path, title: str, lines: dict[str, Sequence[tuple[float, float]]]) -> Path:
    """Errors in mm by evaluations.

    Args:
        path: of the file.
        title: of the picture.
        lines: points of every method.
    """
    drawn, panels = figure(1, 1, size=4.2)
    panel = panels[0, 0]
    panel.set_axis_on()
    for name, points in lines.items():
        panel.plot(*zip(*points, strict=True), "o-" if len(points) > 1 else "s", markersize=4, label=name)
    panel.set(xscale="symlog", xlabel="evaluations of F", ylabel="MPJPE in mm", title=title)
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=7)
    return save(drawn, path)


def _seen(points: Tensor, about: Tensor, degrees: float) -> Tensor:
    """Points in the frame of a camera that looks at the middle of ``about`` from that angle."""
    middle = about.mean(0)
    turn = rotation_matrix(torch.tensor([[0.0, math.radians(degrees), 0.0]]))[0]
    return (points - middle) @ turn.T


def _frame(panel: Any, points: Tensor) -> None:
    """Equal scales, and room for all that has been drawn."""
    panel.update_datalim(points.numpy())
    panel.set_aspect("equal")
    panel.autoscale_view()
    if not panel.yaxis_inverted():
        panel.invert_yaxis()
