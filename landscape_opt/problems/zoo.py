"""Classic problems with known minima, every row its own start: what a solver must be able to do without a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from landscape_opt.problems.linear import half_squared_distance

Residuals: TypeAlias = Callable[[Tensor], Tensor]

_MGH = "Moré, Garbow, Hillstrom, ACM TOMS 7 (1981) 17-41, no. "


@dataclass(frozen=True, eq=False, kw_only=True)
class Classic:
    """A least-squares problem ``½‖r(x)‖²`` with known minima, and a batch of starts.

    Attributes:
        name: A short name, used in tables.
        residuals: ``r``, maps ``x`` of shape ``(B, d)`` to ``(B, m)``.
        starts: Shape ``(B, d)``; the first row is the standard start, the others are drawn around it.
        minima: Known minima, local ones too, shape ``(K, d)``. The lowest comes first.
        minimal_losses: ``½‖r‖²`` there, one for every minimum; all are finite.
        source: Where the problem is from.

    Example:
        >>> problem = classic("rosenbrock", num_starts=3)
        >>> problem.loss(problem.starts).shape, problem.loss(problem.minima)
        (torch.Size([3]), tensor([0.], dtype=torch.float64))
    """

    name: str
    residuals: Residuals = field(repr=False)
    starts: Tensor = field(repr=False)
    minima: Tensor = field(repr=False)
    minimal_losses: tuple[float, ...]
    source: str = field(repr=False)

    @property
    def targets(self) -> Tensor:
        """Zeros, which is what the residuals should be, shape ``(B, m)``."""
        return torch.zeros_like(self.residuals(self.starts))

    def loss_fn(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``½‖r - target‖²`` of every row; ``(B, m)`` twice to ``(B,)``."""
        return half_squared_distance(prediction, target)

    def loss(self, x: Tensor) -> Tensor:
        """``½‖r(x)‖²`` of every row; ``(B, d)`` to ``(B,)``."""
        residuals = self.residuals(x)
        return half_squared_distance(residuals, torch.zeros_like(residuals))

    def solved(self, loss: Tensor, tolerance: float = 1e-8) -> Tensor:
        """Whether a loss is that of a known minimum.

        Args:
            loss: Shape ``(..., B)``, of these starts.
            tolerance: Allowed above the minimum, times the loss at the start or 1, whichever is larger.

        Returns:
            Shape ``(..., B)``, of booleans.

        Example:
            >>> problem = classic("rosenbrock", num_starts=2)
            >>> problem.solved(torch.tensor([1e-9, 1e-3], dtype=torch.float64))
            tensor([ True, False])
        """
        allowed = tolerance * self.loss(self.starts).clamp_min(1.0)
        known = torch.tensor(self.minimal_losses, dtype=loss.dtype, device=loss.device)
        near = (loss[..., None] - known).abs() <= allowed[..., None]  # a loss between two minima is under way
        return near.any(-1)


@dataclass(frozen=True)
class _Entry:
    residuals: Residuals
    start: Sequence[float]
    minima: Sequence[Sequence[float]]
    losses: Sequence[float]
    source: str
    spread: float = 0.3  # of the starts, in units of the standard start's largest element, or of 1


def classic(name: str, num_starts: int = 16, seed: int = 0, dtype: torch.dtype = torch.float64) -> Classic:
    """Make one of the classic problems.

    Args:
        name: One of :func:`classic_names`.
        num_starts: Rows: the standard start, then starts drawn around it.
        seed: Seed of the starts; every problem draws for itself. The global random state is not touched.
        dtype: Of the starts and minima.

    Raises:
        ValueError: If there is no such problem, or ``num_starts`` is less than 1.

    Example:
        >>> classic("box 3-D").starts.shape
        torch.Size([16, 3])
    """
    if name not in _ENTRIES:
        raise ValueError(f"there is no classic problem {name!r}; choose from {', '.join(_ENTRIES)}")
    if num_starts < 1:
        raise ValueError(f"num_starts must be at least 1, got {num_starts}")
    entry = _ENTRIES[name]
    generator = torch.Generator().manual_seed(seed * 1_000_003 + sum(name.encode()))
    start = torch.tensor(entry.start, dtype=torch.float64)
    noise = torch.randn(num_starts, len(start), generator=generator, dtype=torch.float64)
    noise[0] = 0.0
    return Classic(
        name=name,
        residuals=entry.residuals,
        starts=(start + entry.spread * start.abs().max().clamp_min(1.0) * noise).to(dtype),
        minima=torch.tensor(entry.minima, dtype=dtype),
        minimal_losses=tuple(entry.losses),
        source=entry.source,
    )


def zoo(num_starts: int = 16, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Classic, ...]:
    """Make all classic problems; see :func:`classic`.

    Args:
        num_starts: of each, the rows of a batch.
        seed: of the starts.
        dtype: of everything.

    Example:
        >>> len(zoo(num_starts=2)) >= 12
        True
    """
    return tuple(classic(name, num_starts, seed, dtype) for name in _ENTRIES)


def classic_names() -> tuple[str, ...]:
    """Return the names of the classic problems, in the order of :func:`zoo`.

    Example:
        >>> classic_names()[:3]
        ('rosenbrock', 'rosenbrock 10-D', 'beale')
    """
    return tuple(_ENTRIES)


def _columns(*columns: Tensor) -> Tensor:
    return torch.stack(columns, dim=1)


def _rosenbrock(x: Tensor) -> Tensor:
    """The extended function: pairs ``10 (x₂ - x₁²)``, ``1 - x₁``."""
    odd, even = x[:, ::2], x[:, 1::2]
    return torch.cat([10.0 * (even - odd.square()), 1.0 - odd], dim=1)


def _freudenstein_roth(x: Tensor) -> Tensor:
    a, b = x.unbind(1)
    return _columns(a - 13.0 + ((5.0 - b) * b - 2.0) * b, a - 29.0 + ((b + 1.0) * b - 14.0) * b)


def _brown_badly_scaled(x: Tensor) -> Tensor:
    a, b = x.unbind(1)
    return _columns(a - 1e6, b - 2e-6, a * b - 2.0)


def _beale(x: Tensor) -> Tensor:
    a, b = x.unbind(1)
    return _columns(*(y - a * (1.0 - b**power) for power, y in enumerate((1.5, 2.25, 2.625), start=1)))


def _helical_valley(x: Tensor) -> Tensor:
    a, b, c = x.unbind(1)
    turn = torch.atan2(b, a) / (2.0 * math.pi)
    turn = turn + ((a < 0) & (b < 0)).to(x.dtype)  # from -1/4 to 3/4, as in the paper
    return _columns(10.0 * (c - 10.0 * turn), 10.0 * (torch.hypot(a, b) - 1.0), c)


def _bard(x: Tensor) -> Tensor:
    y = x.new_tensor([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
    u = torch.arange(1.0, 16.0, dtype=x.dtype, device=x.device)
    v = 16.0 - u
    a, b, c = (part[:, None] for part in x.unbind(1))
    return y - (a + u / (v * b + torch.minimum(u, v) * c))


def _box(x: Tensor) -> Tensor:
    t = 0.1 * torch.arange(1.0, 11.0, dtype=x.dtype, device=x.device)
    a, b, c = (part[:, None] for part in x.unbind(1))
    return (-t * a).exp() - (-t * b).exp() - c * ((-t).exp() - (-10.0 * t).exp())


def _powell_singular(x: Tensor) -> Tensor:
    a, b, c, d = x.unbind(1)
    return _columns(a + 10.0 * b, 5**0.5 * (c - d), (b - 2.0 * c).square(), 10**0.5 * (a - d).square())


def _wood(x: Tensor) -> Tensor:
    a, b, c, d = x.unbind(1)
    valleys = (10.0 * (b - a.square()), 1.0 - a, 90**0.5 * (d - c.square()), 1.0 - c)
    return _columns(*valleys, 10**0.5 * (b + d - 2.0), (b - d) / 10**0.5)


def _kowalik_osborne(x: Tensor) -> Tensor:
    y = x.new_tensor([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
    u = x.new_tensor([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
    a, b, c, d = (part[:, None] for part in x.unbind(1))
    return y - a * (u.square() + u * b) / (u.square() + u * c + d)


def _brown_dennis(x: Tensor) -> Tensor:
    t = 0.2 * torch.arange(1.0, 21.0, dtype=x.dtype, device=x.device)
    a, b, c, d = (part[:, None] for part in x.unbind(1))
    return (a + t * b - t.exp()).square() + (c + d * t.sin() - t.cos()).square()


def _himmelblau(x: Tensor) -> Tensor:
    a, b = x.unbind(1)
    return _columns(a.square() + b - 11.0, a + b.square() - 7.0)


def _quadratic(condition: float) -> Residuals:
    """Axes of curvature from ``1/condition`` to 1, evenly in the logarithm, then turned by a reflection."""

    def residuals(x: Tensor) -> Tensor:
        scale = torch.logspace(-1.0, 0.0, x.shape[1], base=condition, dtype=x.dtype, device=x.device).sqrt()
        turned = x - 2.0 * x.mean(dim=1, keepdim=True)  # across the plane orthogonal to (1, …, 1)
        return scale * turned

    return residuals


def _ravine(x: Tensor) -> Tensor:
    """A narrow valley along a sine, almost level on its floor."""
    a, b = x.unbind(1)
    return _columns(30.0 * (b - a.sin()), 0.3 * a)


def _plateau(x: Tensor) -> Tensor:
    """Every residual tends to 1 away from 0, so that the gradient vanishes as 1 over the distance cubed."""
    return x / (1.0 + x.square()).sqrt()


_ROSENBROCK = "Rosenbrock, Computer Journal 3 (1960) 175-184; "
_SELF = "made here"
_ENTRIES: dict[str, _Entry] = {
    "rosenbrock": _Entry(_rosenbrock, (-1.2, 1.0), ((1.0, 1.0),), (0.0,), f"{_ROSENBROCK}{_MGH}1"),
    "rosenbrock 10-D": _Entry(_rosenbrock, (-1.2, 1.0) * 5, ((1.0,) * 10,), (0.0,), f"{_ROSENBROCK}{_MGH}21"),
    "beale": _Entry(_beale, (1.0, 1.0), ((3.0, 0.5),), (0.0,), f"{_MGH}5"),
    "powell singular": _Entry(_powell_singular, (3.0, -1.0, 0.0, 1.0), ((0.0,) * 4,), (0.0,), f"{_MGH}13"),
    "himmelblau": _Entry(
        _himmelblau,
        (0.0, 0.0),
        (
            (3.0, 2.0),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.2831859912861696),
            (3.5844283403304917, -1.8481265269644036),
        ),
        (0.0,) * 4,
        "Himmelblau, Applied Nonlinear Programming (1972)",
        spread=2.0,
    ),
    "freudenstein-roth": _Entry(
        _freudenstein_roth,
        (0.5, -2.0),
        ((5.0, 4.0), (11.412778986902094, -0.8968052532744765)),
        (0.0, 24.492126839620013),
        f"{_MGH}2",
    ),
    "brown badly scaled": _Entry(_brown_badly_scaled, (1.0, 1.0), ((1e6, 2e-6),), (0.0,), f"{_MGH}4"),
    "helical valley": _Entry(_helical_valley, (-1.0, 0.0, 0.0), ((1.0, 0.0, 0.0),), (0.0,), f"{_MGH}7"),
    "bard": _Entry(
        _bard,
        (1.0, 1.0, 1.0),
        ((0.08241055974978902, 1.1330360920297233, 2.3436951786425357),),
        (4.107438653289484e-3,),
        f"{_MGH}8",
    ),
    "box 3-D": _Entry(
        _box,
        (0.0, 10.0, 20.0),
        ((1.0, 10.0, 1.0), (10.0, 1.0, -1.0), (1.0, 1.0, 0.0)),
        (0.0,) * 3,
        f"{_MGH}12",
        0.1,
    ),
    "wood": _Entry(_wood, (-3.0, -1.0, -3.0, -1.0), ((1.0,) * 4,), (0.0,), f"{_MGH}14"),
    "kowalik-osborne": _Entry(
        _kowalik_osborne,
        (0.25, 0.39, 0.415, 0.39),
        ((0.1928069345790379, 0.19128232873436632, 0.12305650692632052, 0.13606233068379453),),
        (1.5375280192461894e-4,),
        f"{_MGH}15",
        0.1,
    ),
    "brown-dennis": _Entry(
        _brown_dennis,
        (25.0, 5.0, -5.0, -1.0),
        ((-11.594439904762163, 13.203630051207202, -0.40343948817685965, 0.23677877445573636),),
        (42911.100813178,),
        f"{_MGH}16",
    ),
    "quadratic 1e1": _Entry(_quadratic(1e1), (3.0,) * 10, ((0.0,) * 10,), (0.0,), _SELF),
    "quadratic 1e6": _Entry(_quadratic(1e6), (3.0,) * 10, ((0.0,) * 10,), (0.0,), _SELF),
    "ravine": _Entry(_ravine, (4.0, 1.0), ((0.0, 0.0),), (0.0,), _SELF),
    "plateau": _Entry(_plateau, (6.0, -6.0, 6.0), ((0.0,) * 3,), (0.0,), "Geman, McClure, Bull. ISI 52 (1987) 5-21"),
}
