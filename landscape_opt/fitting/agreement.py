"""What has to be the same on all ranks before they begin: settings, targets, and where the fit stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..batches import Batch
from ..fingerprints import of_callable, of_targets
from ..inversion import Request
from ..persistence import described
from .ranks import Facts

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter


def of_fit(inverter: LandscapeInverter, targets: Any) -> Facts:
    """Facts of a whole fit: F and the loss, settings, and targets."""
    return lambda: {"doing": "a fit", **begun_with(inverter, targets), **_standing(inverter)}


def begun_with(inverter: LandscapeInverter, targets: Any) -> dict[str, str]:
    """What a fit is of, by name: hashes of code and data, and settings."""
    landscape = inverter.landscape
    return {
        "targets": of_targets(targets),
        "forward_model": of_callable(landscape.forward_model),
        "loss_fn": of_callable(inverter.loss_fn),
        "x_init": of_callable(landscape.layout.parts),
        "mapping": str(described(landscape.mapping)),
        "replay": str(described(inverter.replay)),
        "theta_objective": str(described(inverter.theta_objective)),
        "seed": str(inverter.seed),
        "batch_size": str(inverter.batch_size),
    }


def of_round(inverter: LandscapeInverter, targets: Batch) -> Facts:
    """Facts of a round: where the fit stands, and its batch of targets."""
    return lambda: {"doing": "a round of fitting", "targets": of_targets(targets), **_standing(inverter)}


def of_inversion(inverter: LandscapeInverter, target: Batch, request: Request) -> Facts:
    """Facts of an inversion: what is asked for, of which landscape."""
    return lambda: {
        "doing": "an inversion",
        "targets": of_targets(target),
        "max_evaluations": str(request.max_evaluations),
        "num_hypotheses": str(request.num_hypotheses),
        "observed": of_callable(request.observed),
        **_standing(inverter),
    }


def _standing(inverter: LandscapeInverter) -> dict[str, str]:
    return {
        "seed": str(inverter.seed),
        "batch_size": str(inverter.batch_size),
        "round": str(len(inverter.history)),
        "θ": of_callable(inverter.landscape.mapping),
        "generator": of_callable(inverter.generator.get_state()),
    }


def differences(facts: Sequence[Mapping[str, str]]) -> str:
    """All that is not the same on all ranks; what has a name on some of them only follows from what is named on all."""
    lines = []
    for name in facts[0]:
        where: dict[str, list[int]] = {}
        for rank, told in enumerate(facts):
            where.setdefault(told.get(name, ""), []).append(rank)
        if "" not in where and len(where) > 1:
            lines.append(f"  {name}: " + ", ".join(f"{value} on {_named(ranks)}" for value, ranks in where.items()))
    return (
        "the ranks are not about to do the same:\n" + "\n".join(lines) + "\nGive all ranks the same settings and all of the "
        "targets (they are shared out here: no DistributedSampler), or ranks=Alone() for work of their own"
    )


def _named(ranks: Sequence[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
