"""A stream of trajectories of staggered ages: one evaluation of F feeds θ's update and the next step at once."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..mappings.context import Context
from ..mappings.mapping import LOWEST
from ..objective import Evaluation
from .affordable import affordable_rows
from .points import Guide, Points, Replay, State
from .second_chances import FOUND, second_chances
from .stream import Stream, never_caught

MAX_GROWTH = 4.0
NO_LOSS = float("nan")


class Streaming(Replay):
    """N trajectories, each at its own age. A row leaves after ``horizon`` evaluations, or when it is solved.

    A part of the rounds trains the start alone. Some new rows start elsewhere, at a point where another row stands or
    at x_init, and most of those are not told their target, so that θ also learns to work from what it sees. A row that
    would leave unsolved goes on from a solution in the memory, once, if that is much better, and is not told its target. So
    do some of the rows that are caught, whether it is better or not; where they arrive much lower, the memory keeps the way.

    Args:
        num_rows: N, trajectories on the way; the batch of every evaluation. None follows the cost of F:
            256, and on a CPU as few as 64 where it is expensive, so that the same seconds bring more updates.
        horizon: T, evaluations after which a row leaves.
        updates_per_round: evaluations, and updates of θ, in one round.
        start_share: share of the rounds that train the start alone.
        elsewhere: share of new rows that start elsewhere.
        blind: share of those whose target features are hidden.
        second_chances: whether rows that would leave unsolved may go on from the memory.

    Raises:
        ValueError: if a number is below 1, or a share not in [0, 1).

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> replay = Streaming(num_rows=16, horizon=4, updates_per_round=8)
        >>> inverter = LandscapeInverter(LearnedLandscape(torch.sinh, torch.zeros(2)), squares, replay=replay, batch_size=16)
        >>> len(inverter.fit(y, num_rounds=2, progress=False).history[-1].trajectory_loss)
        5
    """

    def __init__(
        self,
        num_rows: int | None = None,
        horizon: int = 8,
        updates_per_round: int = 16,
        start_share: float = 0.5,
        elsewhere: float = 0.15,
        blind: float = 0.7,
        second_chances: bool = True,
    ) -> None:
        for name, count in (("num_rows", num_rows), ("horizon", horizon), ("updates_per_round", updates_per_round)):
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        for name, share in (("start_share", start_share), ("elsewhere", elsewhere), ("blind", blind)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {share}")
        self.num_rows, self.horizon, self.updates_per_round = num_rows, horizon, updates_per_round
        self.start_share, self.elsewhere, self.blind = start_share, elsewhere, blind
        self.second_chances = second_chances
        self.stream: Stream | None = None
        self.pool: Batch | None = None
        self.position = 0
        self.num_rounds = 0
        self.starts_only = False
        self.loss_sum = torch.zeros(horizon + 1, dtype=torch.float64)
        self.loss_count = torch.zeros(horizon + 1, dtype=torch.float64)

    def collect(self, target: Batch, guide: Guide) -> tuple[float, ...]:
        """Hold a batch of targets ready for rows that leave; the collecting itself happens in the updates."""
        self.pool, self.position = target, 0
        number, share = self.num_rounds, self.start_share
        self.starts_only = int((number + 1) * share) > int(number * share)
        self.num_rounds += 1
        if self.stream is None:
            self.stream = self._first_rows(guide)
        self.to(guide.mapping.x_init.device)
        seen = (self.loss_sum / self.loss_count).nan_to_num(torch.nan)
        self.loss_sum.zero_()
        self.loss_count.zero_()
        return tuple(float(loss) for loss in seen)

    def sample(self, guide: Guide) -> Points:
        """Every row of the stream at its next point; or fresh rows alone, in a round for the start."""
        assert self.stream is not None
        if self.starts_only:
            return self._starts(guide, len(self.stream.age))
        self._replace_leavers(guide)
        stream = self.stream
        features = guide.features(stream.target)
        fresh = stream.age == 0
        return Points(
            target=stream.target,
            context=Context(features, stream.known, stream.evaluation if guide.mapping.reanchors else None),
            z=stream.z if guide.mapping.reanchors else self._moved(guide, features),
            loss_before=torch.where(fresh, NO_LOSS, stream.evaluation.loss),
            fixed_x=stream.fixed_x,
            is_fixed=stream.is_fixed & fresh,
        )

    def observe(self, points: Points, evaluation: Evaluation | None, guide: Guide) -> None:
        """The stream moves to the points just evaluated; the memory takes those that will leave."""
        assert self.stream is not None
        if evaluation is None:
            raise ValueError("Streaming needs an objective that evaluates F; use replay=Alternating(...) instead")
        if self.starts_only:
            self._count(torch.zeros_like(evaluation.loss, dtype=torch.long), evaluation)
            return
        stream, fresh = self.stream, self.stream.age == 0
        self._count(torch.where(points.is_fixed, self.horizon, stream.age) if points.is_fixed is not None else stream.age,
                    evaluation)  # fmt: skip
        sane = evaluation.finite & (fresh | (evaluation.loss <= MAX_GROWTH * stream.evaluation.loss))
        moved = evaluation.without_prediction().where(sane, stream.evaluation)
        age = torch.where(sane | ~fresh, stream.age + 1, self.horizon)  # a fresh row that is not finite has no way on
        self.stream = replace(stream, evaluation=moved, age=age, z=torch.where(sane[:, None], points.z, stream.z))
        leaving = self._over(guide) & sane
        if evaluation.prediction is not None and bool(leaving.any()):
            guide.memory.add(evaluation.x[leaving], batches.rows(evaluation.prediction, leaving))
        guide.mapping.attain(evaluation.loss[leaving])
        out = leaving & (evaluation.loss < FOUND * stream.caught_loss)
        if bool(out.any()):
            ways = (evaluation.x[out] - stream.caught_x[out]) / guide.mapping.move
            guide.memory.escapes.add(stream.caught_seen[out], ways)

    def _over(self, guide: Guide) -> Tensor:
        """Rows that are old or solved, (N,)."""
        assert self.stream is not None
        solved = self.stream.evaluation.loss < LOWEST * guide.mapping.loss
        return (self.stream.age >= self.stream.leave_at) | ((self.stream.age > 0) & solved)

    def _count(self, age: Tensor, evaluation: Evaluation) -> None:
        usable = evaluation.loss.isfinite()
        ages, losses = age[usable].cpu().clamp_max(self.horizon), evaluation.loss[usable].double().cpu()
        self.loss_sum.index_add_(0, ages, losses)
        self.loss_count.index_add_(0, ages, torch.ones_like(losses))

    def _moved(self, guide: Guide, features: Tensor | None) -> Tensor:
        """z after the method's gradient step, for mappings that keep one chart; fresh rows stay at 0."""
        assert self.stream is not None
        stream, mapping = self.stream, guide.mapping
        grad_z = mapping.pull_back(stream.z, Context(features, stream.known), stream.evaluation.grad_x)
        step = torch.where((stream.age > 0)[:, None], mapping.z_step * grad_z, 0.0)
        return (stream.z - step).detach()

    def _starts(self, guide: Guide, count: int) -> Points:
        target = self._next_targets(count)
        z = guide.mapping.x_init.new_zeros(count, guide.mapping.dim_z)
        return Points(target, Context(guide.features(target)), z, torch.full_like(z[:, 0], NO_LOSS))

    def _next_targets(self, count: int) -> Batch:
        assert self.pool is not None
        held = batches.size(self.pool)
        index = (self.position + torch.arange(count)) % held
        self.position = (self.position + count) % held
        fresh: Batch = batches.rows(self.pool, index)
        return fresh

    def _first_rows(self, guide: Guide) -> Stream:
        mapping, count = guide.mapping, self.num_rows or affordable_rows(guide.mapping)
        target, x = self._next_targets(count), mapping.x_init.expand(count, -1).clone()
        num_seen = mapping.spec.num_prediction_features if mapping.spec is not None else 0
        nothing = Evaluation(x, torch.ones_like(x[:, 0]), torch.zeros_like(x), x.new_zeros(count, num_seen))
        return Stream(
            target=target,
            evaluation=nothing,
            z=x.new_zeros(count, mapping.dim_z),
            age=torch.zeros(count, dtype=torch.long, device=x.device),
            leave_at=1 + torch.randint(self.horizon, (count,), generator=guide.generator).to(x.device),
            known=torch.ones_like(x[:, 0]),
            fixed_x=x,
            is_fixed=torch.zeros(count, dtype=torch.bool, device=x.device),
            **never_caught(x),
        )

    def _replace_leavers(self, guide: Guide) -> None:
        """New targets for the rows that leave; some start where another row stands, most of them blind."""
        over = self._over(guide)
        if self.second_chances and bool(over.any()):
            over = over & ~self._gone_on(guide, over)
        leaving = over.nonzero()[:, 0]
        if len(leaving) == 0:
            return
        assert self.stream is not None
        stream = self.stream
        count = len(stream.age)
        draws = torch.rand(3, count, generator=guide.generator)
        other = torch.randint(count, (count,), generator=guide.generator)
        draws, other = draws.to(leaving.device), other.to(leaving.device)
        elsewhere = (draws[0] < self.elsewhere) & guide.mapping.reanchors
        hidden = elsewhere & (draws[1] < self.blind)
        place = torch.where((draws[2] < 2 / 3)[:, None], stream.evaluation.x[other], guide.mapping.x_init)
        target = batches.put_rows(stream.target, leaving, self._next_targets(len(leaving)))
        self.stream = replace(stream, target=target).begun(over, self.horizon, place, elsewhere, told=~hidden)

    def _gone_on(self, guide: Guide, over: Tensor) -> Tensor:
        """Begin anew, with the same targets, the rows that are over and have a better start in the memory, (N,)."""
        assert self.stream is not None
        stream = self.stream
        draws = torch.rand(len(over), generator=guide.generator).to(over.device)
        chances = second_chances(guide, stream, over & ~stream.is_fixed, draws)
        if chances is None:
            return torch.zeros_like(over)
        rows = torch.zeros_like(over).index_fill(0, chances.rows, True)
        place = stream.fixed_x.index_put((chances.rows,), chances.x)
        begun = stream.begun(rows, self.horizon, place, rows, told=~rows)
        self.stream = begun.caught_at(chances.caught, chances.seen)
        return rows

    def to(self, device: torch.device) -> None:
        """Move the rows on the way with the landscape, and their targets to where those of this round lie."""
        if self.stream is None:
            return
        self.stream = self.stream.to(device, like=self.pool)

    def restart(self) -> None:
        """Begin with new rows in the next round."""
        self.stream = None

    def state_dict(self) -> State:
        """The stream, and the place in the round."""
        return {
            "stream": None if self.stream is None else self.stream.state(),
            "num_rounds": self.num_rounds,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
        }

    def load_state_dict(self, state: State) -> None:
        """Take back a stream."""
        parts = state["stream"]
        self.stream = None if parts is None else Stream.of(parts)
        self.num_rounds = int(state["num_rounds"])
        self.loss_sum, self.loss_count = state["loss_sum"].clone(), state["loss_count"].clone()
