"""A learned optimizer, trained by unrolling: a recurrent network proposes every step from what F showed at the last."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .. import batches
from ..batches import Batch
from ..calibration import calibrate
from ..guest import frozen, private_randomness
from ..mappings.context import Context
from ..mappings.layers import LearnedStart, TargetCode, mlp, zeroed
from ..mappings.mapping import MappingSpec, PlainMapping
from ..mappings.seen import Seen
from ..objective import Evaluation, Objective
from ..problems.problem import Problem
from ..results import Status
from ..solvers import Run, Solver, Start

RATE = 2e-3
WARM_UP = 50
MAX_RELATIVE = 10.0


class StepNetwork(nn.Module):
    r"""A GRU that moves x, after Andrychowicz et al. (2016) and recurrent inference machines (Putzky & Welling 2017).

    With h the state, and what the last evaluation showed: the directions of ∂L/∂x and of ∂L/∂prediction, x itself, log L,
    log ‖η ∂L/∂x‖, and a code of the target,

        h ← GRU(seen, h);   x ← x − η ∂L/∂x + r · min(√(L/L₀), 3) · u(h) + η ‖∂L/∂x‖/√d · v(h)

    It begins at x_init + 3r · start(y), and at birth u = v = start = 0. The units η, r, L₀ and all inputs are those of the
    anchored landscape, so that the two differ in how they are fitted and used, not in what they are told.

    Args:
        spec: sizes.
        width: of h.
    """

    def __init__(self, spec: MappingSpec, width: int = 128) -> None:
        super().__init__()
        self.units = PlainMapping()
        self.units.build(spec)
        self.code = TargetCode(spec.num_target_features, width)
        self.begin = LearnedStart(self.code, spec.num_target_features, width, spec.dim)
        inputs = self.code.size + 2 * spec.dim + spec.num_prediction_features + 2
        self.read = nn.Sequential(mlp(inputs, [width], width), nn.SiLU())
        self.cell = nn.GRUCell(width, width)
        self.along_x = zeroed(nn.Linear(width, spec.dim))
        self.along_gradient = zeroed(nn.Linear(width, spec.dim))

    def start(self, context: Context, size: int) -> Tensor:
        """Where descents begin, (B, d)."""
        displacement: Tensor = self.begin(self.units.standardised(context, size))
        return self.units.x_init + 3.0 * self.units.move * displacement

    def rest(self, size: int) -> Tensor:
        """h before anything was seen, (B, width)."""
        return self.units.x_init.new_zeros(size, self.cell.hidden_size)

    def forward(self, x: Tensor, evaluation: Evaluation, state: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """The next x and the next h. No gradient flows through what F showed.

        Args:
            x: where F was evaluated, (B, d), with its graph.
            evaluation: what it showed.
            state: h, (B, width).
            context: features of the target.
        """
        units = self.units
        seen = Seen.of(replace(evaluation, x=x), units)
        state = self.cell(self.read(seen.beside(self.code(units.standardised(context, len(x))))), state)
        step = units.move * seen.reach * self.along_x(state) + seen.stride * self.along_gradient(state)
        return x - units.step * evaluation.grad_x + step, state


class LearnedOptimizer(Solver):
    """The solver that a :class:`StepNetwork` is. It has no safeguard: the loop keeps the best point of every row.

    Args:
        network: trained.
    """

    def __init__(self, network: StepNetwork) -> None:
        self.network = network

    def start(self, start: Start) -> LearnedOptimizerRun:
        """Begin with an empty state."""
        return LearnedOptimizerRun(self.network, start)


class LearnedOptimizerRun(Run):
    """The state of the network on a batch."""

    def __init__(self, network: StepNetwork, start: Start) -> None:
        self.network, self.told = network, start.context
        self.state = network.rest(len(start.x))
        self.evaluation: Evaluation | None = None

    def observe(self, evaluation: Evaluation) -> None:
        """What the next step is made from."""
        self.evaluation = evaluation.without_prediction()

    def propose(self) -> Tensor:
        """One step of the network."""
        assert self.evaluation is not None
        with torch.no_grad():
            x, self.state = self.network(self.evaluation.x, self.evaluation, self.state, self.told)
        moved: Tensor = x
        return moved

    def verdict(self) -> Tensor | None:
        """NONFINITE where F was: the state of that row is spoilt."""
        if self.evaluation is None or bool(self.evaluation.finite.all()):
            return None
        return torch.where(self.evaluation.finite, Status.MAX_EVALUATIONS, Status.NONFINITE)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows."""
        self.state, self.told = self.state[index], self.told.rows(index)
        self.evaluation = None if self.evaluation is None else self.evaluation.rows(index)


@dataclass
class Training:
    """Backpropagation through time: T evaluations of a batch, then one update of the network.

    The gradient of every loss on the way flows through all steps before it, but through no derivative of F beyond the first.
    The objective is the mean over steps and rows of √(L/L₀), as the landscape's is.

    Attributes:
        problem: F, loss and training targets.
        seed: of weights and of the order of targets.
        num_steps: T.
        batch_size: targets of an update.
        num_evaluations: of F so far.
        num_updates: of the network so far.
    """

    problem: Problem
    seed: int = 0
    num_steps: int = 5
    batch_size: int = 128
    num_evaluations: int = 0
    num_updates: int = 0

    def run(self, seconds: float, width: int = 128) -> StepNetwork:
        """Train for so long, with warm-up and a cosine over the seconds."""
        began, size = time.monotonic(), batches.size(self.problem.train)
        generator, landscape = torch.Generator().manual_seed(self.seed), self.problem.landscape()
        with frozen(self.problem.forward_model) as forward_model, frozen(self.problem.loss_fn) as loss_fn:
            objective = Objective(forward_model, loss_fn, landscape.layout, self.problem.given)
            network = self._born(objective, width)
            optimizer = torch.optim.AdamW([w for w in network.parameters() if w.requires_grad], lr=RATE)
            while (spent := (time.monotonic() - began) / seconds) < 1.0:
                target = batches.rows(self.problem.train, torch.randint(size, (self.batch_size,), generator=generator))
                optimizer.zero_grad()
                self._unrolled(network, objective, target, landscape.features(target)).backward()
                length = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                self.num_updates += 1
                for group in optimizer.param_groups:
                    group["lr"] = RATE * min(1.0, self.num_updates / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * spent))
                if bool(length.isfinite()):
                    optimizer.step()
            self.num_evaluations = objective.num_evaluations
        return network

    def _born(self, objective: Objective, width: int) -> StepNetwork:
        problem, landscape = self.problem, self.problem.landscape()
        few = batches.rows(problem.train, torch.arange(min(64, batches.size(problem.train))))
        features, layout = landscape.features(few), landscape.layout
        seen = objective.evaluate(layout.start(batches.size(few)), few).grad_prediction.shape[1]
        with private_randomness(self.seed, layout.device):
            spec = MappingSpec(layout.row, 0 if features is None else features.shape[1], seen)
            network = StepNetwork(spec, width).to(layout.row)
        network.units.calibrate(calibrate(objective, layout, few, features))
        return network

    def _unrolled(self, network: StepNetwork, objective: Objective, target: Batch, features: Tensor | None) -> Tensor:
        context, size = Context(features), batches.size(target)
        x, state = network.start(context, size), network.rest(size)
        total = x.new_zeros(())
        for _ in range(self.num_steps + 1):
            evaluation = objective.evaluate(x, target)
            total = total + _through(evaluation, x, network.units.loss)
            x, state = network(x, evaluation, state, context)
        return total / (self.num_steps + 1)


def _through(evaluation: Evaluation, x: Tensor, level: Tensor) -> Tensor:
    """Has the gradient of mean √(L/L₀) in x, without a second pass through F; rows far off, or not finite, are left out."""
    relative = (evaluation.loss / level).clamp_min(1e-14)
    slope = 0.5 / (relative.sqrt() * level)
    usable = evaluation.finite & (relative < MAX_RELATIVE**2)
    pulled = torch.where(usable[:, None], slope[:, None] * evaluation.grad_x, 0.0)
    return (pulled * torch.where(usable[:, None], x - x.detach(), 0.0)).sum() / len(x)
