"""A fit that survives the end of its process: everything that the next round depends on, in a folder."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import checkpoint
from ..fingerprints import of_callable
from ..persistence import mapping_state
from .agreement import begun_with
from .callbacks import Callback

if TYPE_CHECKING:
    from ..inverter import LandscapeInverter
    from .loop import FitLoop

LAST = "last.landscape"
BEST = "best.landscape"
Manifest = dict[str, str]


class ResumeError(ValueError):
    """A folder that holds another fit than the one asked for."""


class Checkpoints(Callback):
    """Writes the state of a fit to a folder, and takes it up again.

    ``last.landscape`` holds all that the fit depends on, ``best.landscape`` the landscape as it was at the best
    validation. Both are files that :meth:`~landscape_opt.LandscapeInverter.load` reads, each written whole or not at all;
    a process killed at any instant leaves the state of some round. What is resumed has to be what was begun: F,
    ``loss_fn``, targets, batch size, seed and settings are compared by their hashes.

    Args:
        folder: made where it is missing.
        every_seconds: between two files; the first and the last state are always written.
        every_rounds: or as many rounds, whichever is sooner.

    Raises:
        ValueError: if ``every_seconds`` is negative, or ``every_rounds`` below 1.

    Example:
        >>> import tempfile, torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> def begun():
        ...     return LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(2)), squares)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = begun().fit(y, num_rounds=2, checkpoint=folder, progress=False)
        ...     second = begun().fit(y, num_rounds=4, checkpoint=folder, progress=False)
        >>> len(second.history)
        4
    """

    def __init__(self, folder: str | os.PathLike[str], every_seconds: float = 60.0, every_rounds: int | None = None) -> None:
        if not every_seconds >= 0:
            raise ValueError(f"every_seconds must not be negative, got {every_seconds}")
        if every_rounds is not None and every_rounds < 1:
            raise ValueError(f"every_rounds must be at least 1, got {every_rounds}")
        self.folder = Path(folder)
        self.every_seconds, self.every_rounds = every_seconds, every_rounds
        self.manifest: Manifest = {}
        self.written_at, self.written_round = 0.0, 0

    @property
    def settings(self) -> str:
        """How often files are written changes nothing."""
        return ""

    def resume(self, inverter: LandscapeInverter, fit: FitLoop, targets: Any) -> bool:
        """Take up what the folder holds; whether it held a fit.

        Raises:
            ResumeError: where that fit was begun with something else; all differences are named.
            CheckpointError: where its file was damaged.
            OSError: where the folder cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.manifest = _manifest(inverter, fit, targets)
        path = self.folder / LAST
        if not inverter.ranks.any(path.exists()):
            self.manifest["begun with θ"] = _theta(inverter)
            self._write(inverter, fit)
            return False
        saved = checkpoint.load(path)
        if "fit" not in saved:
            raise ResumeError(f"{path} was written by save(), not by a fit: give fit(checkpoint=...) another folder")
        begun = saved["fit"]["manifest"]
        self._refuse_others(begun, inverter, saved["state"]["mapping"])
        self.manifest = begun
        inverter.load_state_dict(saved["state"])
        fit.load_state_dict(saved["fit"]["state"])
        return True

    def _refuse_others(self, begun: Manifest, inverter: LandscapeInverter, theta: Any) -> None:
        asked = dict(self.manifest)
        differences = [
            f"{name}: {begun.get(name)} there, {asked[name]} here" for name in asked if begun.get(name) != asked[name]
        ]
        now = _theta(inverter)
        if now not in (begun["begun with θ"], _hash_of(theta)):
            differences.append("θ: this inverter has been fitted otherwise before; begin with a new one, or another folder")
        if differences:
            raise ResumeError(
                f"{os.fspath(self.folder)!r} holds another fit, which was begun with other settings:\n  "
                + "\n  ".join(differences)
                + "\nMake them the same to resume it, or give another folder to begin anew."
            )

    def on_fit_begin(self, **context: Any) -> None:
        """From here on seconds count."""
        self.written_at = time.monotonic()

    def on_round_end(self, *, inverter: LandscapeInverter, fit: FitLoop, **context: Any) -> None:
        """Write, where it is time."""
        if _is_best(inverter):
            self._attempt(inverter, None)
        by_rounds = self.every_rounds is not None and fit.num_rounds_done - self.written_round >= self.every_rounds
        if by_rounds or time.monotonic() - self.written_at >= self.every_seconds:
            self._attempt(inverter, fit)

    def on_fit_end(self, *, inverter: LandscapeInverter, fit: FitLoop, **context: Any) -> None:
        """Write what came of it; here a failure is an error."""
        if _is_best(inverter):
            self._write(inverter, None)
        self._write(inverter, fit)

    def _attempt(self, inverter: LandscapeInverter, fit: FitLoop | None) -> None:
        """Write; a full disk for a minute does not end a fit of days, and leaves the file before."""
        try:
            self._write(inverter, fit)
        except OSError as error:
            warnings.warn(f"this checkpoint was not written, the one before is still there: {error}", RuntimeWarning,
                          stacklevel=5)  # fmt: skip
        self.written_at = time.monotonic()

    def _write(self, inverter: LandscapeInverter, fit: FitLoop | None) -> None:
        if not inverter.ranks.is_first:
            return
        if fit is None:
            inverter.save(self.folder / BEST)
            return
        parts = {"fit": {"manifest": self.manifest, "state": fit.state_dict()}}
        checkpoint.save(self.folder / LAST, {**inverter.saved(), **parts})
        self.written_at, self.written_round = time.monotonic(), fit.num_rounds_done


def _is_best(inverter: LandscapeInverter) -> bool:
    checked = inverter.history[-1].validation if inverter.history else None
    return checked is not None and checked.is_best


def _manifest(inverter: LandscapeInverter, fit: FitLoop, targets: Any) -> Manifest:
    """What a fit depends on and no file can bring back, by name."""
    return {
        **begun_with(inverter, targets),
        "given": of_callable(inverter.landscape.given),
        "memory": f"{inverter.memory.capacity} points, {inverter.memory.max_bytes} bytes",
        "theta_optimizer": of_callable(inverter.theta_optimizer),
        "z_optimizer": of_callable(inverter.z_optimizer),
        "schedule": repr(fit.schedule),
        "callbacks": ", ".join(callback.settings for callback in fit.with_state),
        "torch": torch.__version__.split("+")[0],
    }


def _theta(inverter: LandscapeInverter) -> str:
    return _hash_of(mapping_state(inverter.landscape.mapping))


def _hash_of(state: Any) -> str:
    return "none" if state is None else of_callable(state["weights"])
