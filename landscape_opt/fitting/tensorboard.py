"""The figures of a fit as TensorBoard reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self


class TensorBoard:
    """A ``log(dict, step)`` that writes scalars to a TensorBoard event file.

    Any function of that form does instead: ``wandb.log``, ``mlflow.log_metrics``, ``fabric.log_dict``,
    ``accelerator.log``. Events are flushed every two minutes, by :meth:`flush`, and by :meth:`close`.

    Args:
        folder: of the run; made where it is missing. A fit that is resumed goes on in the same folder.

    Raises:
        ImportError: if TensorBoard is not installed.

    Example:
        >>> import tempfile, torch
        >>> from landscape_opt import LandscapeInverter, LearnedLandscape
        >>> squares = lambda prediction, target: (prediction - target).square().sum(1)
        >>> y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> inverter = LandscapeInverter(LearnedLandscape(lambda x: x.cumsum(1), torch.zeros(2)), squares)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with TensorBoard(folder) as log:
        ...         inverter = inverter.fit(y, num_rounds=2, log=log, progress=False)
        ...     len(os.listdir(folder))
        1
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            # torch's own import of it fails with advice that names another package.
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                'TensorBoard(...) needs tensorboard, which is not installed: pip install "landscape-opt[tensorboard]"'
            ) from error
        self.writer: Any = SummaryWriter(os.fspath(folder))

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers by their names.

        Args:
            values: a scalar for every name.
            step: the round.
        """
        for name, value in values.items():
            self.writer.add_scalar(name, float(value), step)

    def flush(self) -> None:
        """Write what waits to the file."""
        self.writer.flush()

    def close(self) -> None:
        """Flush, and close the file."""
        self.writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
