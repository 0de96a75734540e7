"""A planar arm of ten links that is to reach a point and keep out of round obstacles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..least_squares import LeastSquares
from ..terms import ExtraTerm
from .problem import Metric, Problem, TargetSet

NUM_LINKS = 10
LINK = 0.1
"""Length of one link, in m."""
OBSTACLES = ((0.24, 0.34, 0.20), (0.24, -0.34, 0.20), (-0.42, 0.0, 0.25))
"""Centre and radius of the circles that a fit knows, in m; the base of the arm is at the origin."""
MOVED_OBSTACLES = ((0.41, 0.07, 0.20), (-0.18, 0.38, 0.20), (-0.18, -0.38, 0.20))
"""The circles of the unfamiliar targets, in m: they stand where the gaps between the others were."""

_POINTS_PER_LINK = 4
_RADIANS = (1.5,) + (NUM_LINKS - 1) * (0.5,)  # per unit of x: the first joint turns the whole arm
_LARGEST_HEADING = 2.9  # of the first link of a true arm, in rad
_TRAIN, _VALIDATION, _TEST = 4096, 512, 512


def points_along(angles: Tensor) -> Tensor:
    """Forward kinematics: 40 points along the links, four to a link, in m; ``(B, 10)`` to ``(B, 40, 2)``.

    The joint of link i is at ``p_i = p_(i-1) + 0.1 m · (cos a_i, sin a_i)``, with ``a_i = q_1 + … + q_i``. The last
    point of a link is its end, the last point of all is the tip.

    Args:
        angles: q, of every link to the one before it, of the first to the x-axis, in rad.

    Example:
        >>> points_along(torch.zeros(1, 10))[0, [0, -1]]
        tensor([[0.0250, 0.0000],
                [1.0000, 0.0000]])
    """
    headings = angles.cumsum(1)
    directions = torch.stack([headings.cos(), headings.sin()], dim=2)
    steps = torch.arange(1, NUM_LINKS * _POINTS_PER_LINK + 1, dtype=angles.dtype, device=angles.device) / _POINTS_PER_LINK
    links = torch.arange(NUM_LINKS, dtype=angles.dtype, device=angles.device)
    shares = (steps[:, None] - links).clamp(0.0, 1.0)  # of each link that lies before a point
    points: Tensor = LINK * (shares @ directions)
    return points


def intrusion(points: Tensor, obstacles: Tensor) -> Tensor:
    """How deep points are inside circles, summed over the points, in m; ``(B, N, 2)`` and ``(K, 3)`` to ``(B, K)``.

    The depth of a point at distance d from the centre of a circle of radius r is ``max(0, (r² - d²) / 2r)``: near the
    edge it is ``r - d``, and unlike that it is smooth at the centre. Its square has no kink at the edge either.

    Args:
        points: in m.
        obstacles: centre and radius of every circle, in m.

    Example:
        >>> intrusion(torch.tensor([[[0.0, 0.0], [0.0, 0.9]]]), torch.tensor([[0.0, 0.0, 1.0]]))
        tensor([[0.5950]])
    """
    centres, radii = obstacles[:, :2], obstacles[:, 2]
    # Multiplied out, r² - d² needs no array of differences: half the time of F.
    inside = 2.0 * points @ centres.T - points.square().sum(2, keepdim=True) + (radii.square() - centres.square().sum(1))
    return (inside / (2.0 * radii)).relu().sum(1)


class Arm(nn.Module):
    """Tip and intrusions: ``F(x) = (tip in m, one intrusion in m for every obstacle)``, ``(B, 5)``.

    ``x`` are the joint angles, in units of 1.5 rad for the first joint and 0.5 rad for the others. There are no joint
    limits, and links may cross each other.

    Args:
        obstacles: centre and radius of every circle, in m.

    Example:
        >>> Arm()(torch.zeros(1, 10))
        tensor([[1., 0., 0., 0., 0.]])
    """

    obstacles: Tensor
    radians: Tensor

    def __init__(self, obstacles: tuple[tuple[float, float, float], ...] = OBSTACLES) -> None:
        super().__init__()
        self.register_buffer("obstacles", torch.tensor(obstacles))
        self.register_buffer("radians", torch.tensor(_RADIANS))

    def points(self, x: Tensor) -> Tensor:
        """Points along the links, in m; ``(B, 10)`` to ``(B, 40, 2)``, see :func:`points_along`."""
        return points_along(self.radians * x)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape ``(B, 10)`` to tip and intrusions, ``(B, 2 + K)``."""
        points = self.points(x)
        return torch.cat([points[:, -1], intrusion(points, self.obstacles)], dim=1)


def keep_out_of(arm: Arm) -> ExtraTerm:
    """A constraint that no fit has seen: half the squared intrusions of another arm's obstacles, ``(B,)``.

    Example:
        >>> moved = keep_out_of(Arm(MOVED_OBSTACLES))
        >>> bool(moved(torch.zeros(1, 10), None) > 0)
        True
    """

    def term(x: Tensor, _prediction: Tensor) -> Tensor:
        return 0.5 * intrusion(arm.points(x), arm.obstacles).square().sum(1)

    return term


def arm(seed: int = 0) -> Problem:
    """Find joint angles that bring the tip of a ten-link arm to a goal, with no link inside an obstacle.

    ``F`` is an :class:`Arm` of 1 m length among three circles. The loss is half the squared distance of the tip plus
    half the squared intrusions, in m². Goals are the tips of random arms that touch no obstacle, so a loss of 0 can be
    reached: first joint uniform within ±2.9 rad, the others normal with a standard deviation of 0.5 rad. The start is a
    gentle arc along the x-axis, clear of the obstacles; a straight arm would be singular.

    Of a partly observed target, one coordinate of the tip is asked for: the arm is to reach a line. The unfamiliar
    targets have their obstacles elsewhere, as an extra term. NaN stands wherever a target asks for nothing.

    Args:
        seed: Seed of the targets. The global random state is not touched.

    Returns:
        The problem; ``x`` has shape ``(10,)``, targets have shape ``(5,)`` as in :class:`Arm`, the last three 0; 4096
        train, 512 validation and 512 test targets. The metric is the distance of the tip from the goal, or line, in mm.

    Example:
        >>> problem = arm()
        >>> x = problem.x_init.expand(512, 10)
        >>> problem.loss_fn(problem.forward_model(x), problem.test).shape
        torch.Size([512])
    """
    generator = torch.Generator().manual_seed(seed)
    known, moved = Arm(), Arm(MOVED_OBSTACLES)
    targets = known(_clear(known, _TRAIN + _VALIDATION + _TEST, generator))
    test = targets[-_TEST:].clone()
    line = torch.ones(_TEST, 2 + len(OBSTACLES), dtype=torch.bool)
    line[::2, 0], line[1::2, 1] = False, False
    goal_alone = torch.zeros_like(line)
    goal_alone[:, :2] = True
    return Problem(
        name="arm",
        forward_model=known,
        loss_fn=LeastSquares(torch.sub),
        x_init=torch.tensor([-0.4] + (NUM_LINKS - 1) * [0.3]),
        train=targets[:_TRAIN].clone(),
        validation=targets[_TRAIN:-_TEST].clone(),
        test=test,
        hard_because="L-BFGS leaves 8 % of the arms leaning against an obstacle with the goal behind it, and 33 % where one "
        "coordinate is free.",
        partly=TargetSet(
            targets=test.masked_fill(~line, torch.nan), observed=line, described_as="one coordinate of the tip is free"
        ),
        unfamiliar=TargetSet(
            targets=moved(_clear(moved, _TEST, generator)).masked_fill(~goal_alone, torch.nan),
            observed=goal_alone,
            extra_terms=(keep_out_of(moved),),
            described_as="the obstacles stand where the gaps were",
        ),
        metric=Metric(name="tip error", unit="mm", of=_tip_error),
    )


def _clear(among: Arm, number: int, generator: torch.Generator) -> Tensor:
    """Draw ``x`` of arms that touch no obstacle, ``(number, 10)``."""
    kept = torch.zeros(0, NUM_LINKS)
    while len(kept) < number:
        x = torch.randn(number, NUM_LINKS, generator=generator)
        heading = _LARGEST_HEADING * (2.0 * torch.rand(number, generator=generator) - 1.0)
        x[:, 0] = heading / among.radians[0]
        kept = torch.cat([kept, x[(among(x)[:, 2:] == 0.0).all(1)]])
    return kept[:number]


def _tip_error(_x: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    """Distance of the tip from what the target asks for."""
    off = torch.where(target.isnan(), 0.0, prediction - target)
    distance: Tensor = off[:, :2].norm(dim=1)
    return 1000.0 * distance
