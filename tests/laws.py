"""The laws of the design page as assertions that any test can reuse."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_opt import InversionResult, LandscapeInverter, Status
from landscape_opt.batches import leaves


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Relative to the largest value of the row, absolute where that is below one."""
    unit = expected.abs().flatten(1).amax(1).clamp_min(1.0) if expected.ndim > 1 else expected.abs().clamp_min(1.0)
    difference = (actual - expected).abs().flatten(1).amax(1) if expected.ndim > 1 else (actual - expected).abs()
    worst = float((difference / unit).max())
    assert worst <= tolerance, f"{what} differ by {worst:.3g}, allowed {tolerance:.3g}"


def assert_same_answer(
    one: InversionResult, other: InversionResult, tolerance: float, sensitivity: dict[str, float] | None = None
) -> None:
    for name in ("x", "prediction", "loss"):
        allowed = tolerance + (0.0 if sensitivity is None else sensitivity[name])
        for mine, theirs in zip(leaves(getattr(one, name)), leaves(getattr(other, name)), strict=True):
            assert_close(mine, theirs, allowed, name)


def sensitivity_to_rounding(invert: Callable[[Tensor], InversionResult], target: Tensor) -> dict[str, float]:
    """Twenty times what the smallest change of the targets does to the answers, in float32; nothing in float64.

    Products of a batch and of a row alone round differently, in F as in θ, and quasi-Newton steps amplify what was
    rounded. No code can be closer to itself than its answers are to those for targets that are the same to rounding.
    """
    if target.dtype == torch.float64:
        return {"x": 0.0, "prediction": 0.0, "loss": 0.0}
    here = invert(target)
    moved = [invert(target * (1.0 + sign * torch.finfo(target.dtype).eps)) for sign in (-1, 1)]

    def change(name: str) -> float:
        pairs = [(mine, theirs) for one in moved
                 for mine, theirs in zip(leaves(getattr(one, name)), leaves(getattr(here, name)), strict=True)]  # fmt: skip
        return 20.0 * max(float((mine - theirs).abs().max()) for mine, theirs in pairs)

    return {name: change(name) for name in ("x", "prediction", "loss")}


def picked(result: InversionResult, index: Tensor) -> InversionResult:
    """Some rows of a result, in that order."""
    from landscape_opt.batches import rows
    from landscape_opt.results import InversionHistory

    history = InversionHistory(*(getattr(result.history, name)[:, index] for name in ("loss", "best", "in_x")))
    return InversionResult(
        x=rows(result.x, index), z=result.z[index], prediction=rows(result.prediction, index), loss=result.loss[index],
        status=result.status[index], num_evaluations=result.num_evaluations[index], history=history,
    )  # fmt: skip


def rows_do_not_mix(invert: Callable[[Tensor], InversionResult], target: Tensor, tolerance: float = 1e-5) -> None:
    """Law 1: row i of a batch gives the same answer as row i alone."""
    together = invert(target)
    for row in range(len(target)):
        alone = target[row : row + 1]
        allowed = sensitivity_to_rounding(invert, alone)
        assert_same_answer(picked(together, torch.tensor([row])), invert(alone), tolerance, allowed)


def permuting_permutes(
    invert: Callable[[Tensor], InversionResult], target: Tensor, order: Tensor, tolerance: float = 1e-5
) -> None:
    """Law 2, first half."""
    allowed = sensitivity_to_rounding(invert, target)
    assert_same_answer(invert(target[order]), picked(invert(target), order), tolerance, allowed)


def torch_descent(
    loss_at: Callable[[Tensor], Tensor], x_init: Tensor, factory: Any, num_steps: int
) -> tuple[Tensor, Tensor]:
    """A loop of one's own with torch.optim on x: losses at x_0 … x_K, and the best x of every row."""
    x = nn.Parameter(x_init.clone())
    optimizer = factory([x])
    losses: list[Tensor] = []
    best, best_x = torch.full_like(x_init[:, 0], torch.inf), x_init.clone()
    for step in range(num_steps + 1):
        optimizer.zero_grad()
        loss = loss_at(x)
        losses.append(loss.detach().clone())
        better = loss.detach() < best
        best = torch.where(better, loss.detach(), best)
        best_x = torch.where(better[:, None], x.detach(), best_x)
        if step < num_steps:
            loss.sum().backward()
            optimizer.step()
    return torch.stack(losses), best_x


def loss_is_honest(result: InversionResult, recomputed: Tensor, tolerance: float) -> None:
    """Law 4: the returned loss is L at the returned x, finite, no worse than at the start, the best of the history."""
    assert result.loss.isfinite().all()
    assert_close(result.loss, recomputed, tolerance, "loss returned and loss recomputed")
    assert (result.loss <= result.history.loss[0]).all()
    finite = torch.where(result.history.loss.isfinite(), result.history.loss, torch.inf)
    assert torch.equal(result.loss, finite.amin(0))
    assert torch.equal(result.history.best, torch.cummin(finite, 0).values)


def budgets_are_prefixes(invert: Callable[[int], InversionResult], budget: int) -> None:
    """Law 4: a budget of k returns what a larger budget had found after k evaluations, so more is never worse."""
    longest = invert(budget)
    before: Tensor | None = None
    for k in range(budget + 1):
        result = invert(k)
        reached = longest.history.best[min(k, len(longest.history.best) - 1)]
        assert_close(result.loss, reached, 1e-6, f"loss after {k} evaluations")
        if before is not None:
            assert (result.loss <= before).all(), f"a budget of {k} is worse than one of {k - 1}"
        before = result.loss


def converged_rows_meet_tolerance(result: InversionResult, recomputed: Tensor, tolerance: Tensor) -> None:
    """Law 9."""
    met = recomputed <= tolerance * (1.0 + 1e-5) + 1e-12
    assert (met | (result.status != Status.CONVERGED)).all(), "a row is reported CONVERGED above its tolerance"
    assert ((result.loss > tolerance) | (result.status == Status.CONVERGED)).all()


def snapshot(module: nn.Module | None, targets: Any) -> dict[str, Any]:
    """Everything that a fit or an inversion must leave bit-identical."""
    state: dict[str, Any] = {
        "torch rng": torch.get_rng_state().clone(),
        "numpy rng": np.random.get_state()[1].copy(),  # noqa: NPY002
        "numpy position": np.random.get_state()[2:],  # noqa: NPY002
        "python rng": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
    }
    for number, leaf in enumerate(leaves(targets)):
        state[f"target {number}"] = leaf.detach().clone()
        state[f"target {number} graph"] = (leaf.requires_grad, leaf.grad is None, leaf._version)
    if module is None:
        return state
    for name, weight in module.named_parameters():
        state[f"{name} identity"] = (id(weight), weight.data_ptr(), weight.requires_grad, weight._version)
        state[name] = weight.detach().clone()
        state[f"{name}.grad"] = None if weight.grad is None else weight.grad.clone()
    for name, buffer in module.named_buffers():
        state[f"{name} identity"] = (id(buffer), buffer.data_ptr())
        state[name] = buffer.clone()
    for name, part in module.named_modules():
        state[f"{name} mode"] = part.training
        state[f"{name} hooks"] = (
            [(key, id(hook)) for key, hook in part._forward_hooks.items()],
            [(key, id(hook)) for key, hook in part._forward_pre_hooks.items()],
            [(key, id(hook)) for key, hook in part._backward_hooks.items()],
        )
        state[f"{name} attributes"] = sorted(part.__dict__)
    return state


def assert_untouched(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Law 5."""
    assert before.keys() == after.keys()
    for name, value in before.items():
        now = after[name]
        if isinstance(value, Tensor):
            same = isinstance(now, Tensor) and value.dtype == now.dtype and torch.equal(value, now)
        elif isinstance(value, np.ndarray):
            same = bool(np.array_equal(value, now))
        else:
            same = value == now
        assert same, f"{name} was touched: {value!r} before, {now!r} after"


def assert_same_weights(one: LandscapeInverter, other: LandscapeInverter) -> None:
    """Law 6: θ bit-identical."""
    mine, theirs = one.landscape.state_dict(), other.landscape.state_dict()
    assert mine.keys() == theirs.keys()
    assert len(mine) > 0
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), f"θ differs in {name}"
