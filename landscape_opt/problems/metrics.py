"""Figures of an answer that people know, for more than one problem."""

from __future__ import annotations

from torch import Tensor


def relative_error(_x: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    """100 ‖prediction − target‖ / ‖target‖ of each row, in %, ``(B,)``.

    Example:
        >>> import torch
        >>> relative_error(torch.zeros(2, 1), torch.full((2, 8, 45), 0.5), torch.ones(2, 8, 45))
        tensor([50., 50.])
    """
    error: Tensor = 100.0 * (prediction - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)
    return error


def psnr(_x: Tensor, prediction: Tensor, target: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of images in dB, hidden pixels included, ``(B,)``.

    ``-10 log10(mean (p - y)^2)`` with ``p`` clipped to [0, 1] and a peak of 1; at most 100 dB.

    Example:
        >>> import torch
        >>> psnr(torch.zeros(1, 2), torch.full((1, 16, 16), 0.1), torch.zeros(1, 16, 16))
        tensor([20.])
    """
    return decibels((prediction.clamp(0.0, 1.0) - target).square().flatten(1).mean(1))


def decibels(error: Tensor) -> Tensor:
    """The signal-to-noise ratio in dB of a mean squared error, for a peak of 1; at most 100.

    Example:
        >>> import torch
        >>> decibels(torch.tensor([0.1, 0.0]))
        tensor([ 10., 100.])
    """
    return -10.0 * error.clamp_min(1e-10).log10()
