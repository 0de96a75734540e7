"""Fits that go on with new targets and keep what they know: old targets stand among the new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import batches
from ..batches import Batch
from ..fingerprints import of_targets
from ..guest import frozen, private_randomness
from ..targets import TargetFeed, refuse_empty, refuse_nonfinite
from .callbacks import Callback

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter

SOLVED = 1e-6
"""Share of L₀ that the loss between a prediction and itself may be."""


class Rehearsal(Callback):
    """Puts old targets into every batch of a fit, so that θ does not forget them: ``fit(new, rehearse=Rehearsal(old))``.

    A fit on targets of one kind moves θ away from what it knew of another. A share of old targets in every batch prevents
    that: experience replay (Rolnick et al., *Experience Replay for Continual Learning*, NeurIPS 2019).

    Where the old targets are gone, the memory has stand-ins: a prediction F(x) that was met in fitting is a target that
    x solves exactly. They are read once, when the fit begins, and only where a prediction is like a target.

    Args:
        old_targets: a Tensor, or a tuple or dict of Tensors, like the new ones; None takes the predictions in the memory.
        share: of the rows of a batch that are old.

    Raises:
        ValueError: for a share that does not lie between 0 and 1, or old targets that are empty or not finite.

    Example:
        >>> import torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(2)), squares)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter = inverter.fit(y, num_rounds=3, progress=False)
        >>> inverter = inverter.fit(y + 5.0, num_rounds=3, rehearse=Rehearsal(y, share=0.5), progress=False)
        >>> len(inverter.history)
        6
    """

    def __init__(self, old_targets: Batch | None = None, share: float = 0.25) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        self.given = None if old_targets is None else refuse_nonfinite(refuse_empty(old_targets))
        self.share = share
        self.old: Batch | None = self.given

    def num_old(self, num_rows: int) -> int:
        """How many of so many rows are old: at least one is, and at least one is not."""
        return max(1, min(num_rows - 1, round(self.share * num_rows)))

    def begin(self, inverter: LandscapeInverter, new_targets: Any) -> None:
        """Settle what the old targets are; before a resumption, which brings back those of the fit that was begun.

        Args:
            inverter: as it is before the fit.
            new_targets: what ``fit`` was given.

        Raises:
            ValueError: if there are none to be had from the memory, or they are unlike the new ones.
        """
        first = TargetFeed(new_targets, 2, inverter.seed).next()
        if self.given is None:
            self.old = _from_memory(inverter, first)
        elif (found := _shapes(self.given)) != (wanted := _shapes(first)):
            raise ValueError(f"the old targets have rows of {found}, the new ones of {wanted}; they must be alike")

    def feed(
        self, targets: Any, batch_size: int, seed: int, position: int = 0, device: torch.device | None = None
    ) -> RehearsedFeed:
        """The feed of a fit on ``targets``, with old ones among them; arguments as those of a ``TargetFeed``."""
        if self.old is None:
            raise ValueError("there are no old targets yet: begin(inverter, targets) looks them up")
        if batch_size < 2:
            raise ValueError(f"a batch with old and new targets needs at least 2 rows, got batch_size={batch_size}")
        return RehearsedFeed(self, self.old, targets, batch_size - self.num_old(batch_size), seed, position, device)

    @property
    def settings(self) -> str:
        """The share, and a hash of the old targets that were given."""
        return f"Rehearsal of {self.share} {_hash(self.given)}"

    def state_dict(self) -> dict[str, Any]:
        """The old targets where they were found in the memory; of those that were given, a hash."""
        found = None if self.given is not None or self.old is None else batches.leaves(self.old)
        return {"found": found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back; :meth:`begin` has shown the structure of a target."""
        if self.old is not None and state["found"] is not None:
            saved = iter(state["found"])
            self.old = batches.map_leaves(lambda _: next(saved), self.old)


class RehearsedFeed(TargetFeed):
    """Batches of new targets with old ones among them, in an order computed from (seed, position).

    Args:
        rehearsal: says how many.
        old: the old targets.
        targets: the new ones, with all further arguments as those of a :class:`~landscape_opt.targets.TargetFeed`.
        num_new: new rows of a batch, where the targets are not batched already.
        seed: of the order.
        position: batches already taken.
        device: where the landscape lies.
    """

    def __init__(
        self,
        rehearsal: Rehearsal,
        old: Batch,
        targets: Any,
        num_new: int,
        seed: int,
        position: int = 0,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(targets, num_new, seed, position, device)
        self.old, self.share = old, rehearsal.share

    def next(self) -> Batch:
        """The next batch, shuffled: a replay may take its first rows alone."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + 7919 * self.position + 1) % 2**63)
        new = super().next()
        num_new, held = batches.size(new), batches.size(self.old)
        num_old = max(1, round(num_new * self.share / (1.0 - self.share)))
        picked = torch.randint(held, (num_old,), generator=generator)
        order = torch.randperm(num_new + num_old, generator=generator)
        stock = iter(batches.leaves(batches.rows(self.old, picked)))
        mixed: Batch = batches.map_leaves(lambda leaf: _mixed(leaf, next(stock), order), new)
        return mixed


def _mixed(new: Tensor, old: Tensor, order: Tensor) -> Tensor:
    return torch.cat([new, old.to(new)])[order.to(new.device)]


def _from_memory(inverter: LandscapeInverter, target: Batch) -> Batch:
    """The predictions that the memory holds, in the format of a target."""
    advice = "; pass old targets instead: Rehearsal(old_targets)"
    memory = inverter.memory
    if inverter.landscape.given is not None:
        raise ValueError("F is given more than x, so that a stored prediction is no target by itself" + advice)
    if len(memory) == 0:
        raise ValueError("the memory holds no predictions to rehearse: this landscape has not been fitted" + advice)
    kinds = [leaf.is_floating_point() for leaf in batches.leaves(target)]
    stored: Batch = memory.predictions(torch.arange(len(memory), device=memory.x.device))
    if not memory.is_like(target) or kinds != [leaf.is_floating_point() for leaf in batches.leaves(stored)]:
        raise ValueError(
            f"predictions have rows of {_shapes(stored)}, targets of {_shapes(target)}, so that one cannot stand for the "
            "other" + advice
        )
    held = iter([leaf.detach().clone() for leaf in batches.leaves(stored)])
    old: Batch = batches.map_leaves(lambda leaf: next(held).to(leaf.dtype), target)
    with torch.no_grad(), frozen(inverter.loss_fn) as loss_fn, private_randomness(inverter.seed, memory.x.device):
        loss = float(loss_fn(stored, old).abs().mean())
    if not loss <= SOLVED * float(inverter.landscape.mapping.loss):
        raise ValueError(
            f"the loss between a prediction and itself is {loss:.3g} on average, so that a prediction is not a target that "
            "is solved" + advice
        )
    return old


def _shapes(batch: Batch) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape[1:]) for leaf in batches.leaves(batch)]


def _hash(targets: Batch | None) -> str:
    return "none" if targets is None else of_targets(targets)
