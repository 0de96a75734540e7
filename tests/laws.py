"""The laws of the design page as assertions that any test can reuse."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape_opt import InversionResult, LandscapeInverter, Status
from landscape_opt.batches import leaves, rows
from landscape_opt.hypotheses import Hypotheses


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Relative to the largest value of the row, absolute where that is below one."""
    unit = expected.abs().flatten(1).amax(1).clamp_min(1.0) if expected.ndim > 1 else expected.abs().clamp_min(1.0)
    difference = (actual - expected).abs().flatten(1).amax(1) if expected.ndim > 1 else (actual - expected).abs()
    worst = float((difference / unit).max())
    assert worst <= tolerance, f"{what} differ by {worst:.3g}, allowed {tolerance:.3g}"


def answers(result: InversionResult) -> dict[str, list[Tensor]]:
    """What two inversions are compared by."""
    told = {name: leaves(getattr(result, name)) for name in ("x", "prediction", "loss")}
    if result.hypotheses is not None:  # in order of their losses, which equal ones may change
        told["hypotheses"] = [result.hypotheses.loss]
    return told


def assert_same_answer(
    one: InversionResult, other: InversionResult, tolerance: float, sensitivity: dict[str, float] | None = None
) -> None:
    mine, theirs = answers(one), answers(other)
    assert mine.keys() == theirs.keys()
    for name, parts in mine.items():
        allowed = tolerance + (0.0 if sensitivity is None else sensitivity.get(name, 0.0))
        for part, expected in zip(parts, theirs[name], strict=True):
            assert_close(part, expected, allowed, name)


def sensitivity_to_rounding(invert: Callable[[Any], InversionResult], target: Any) -> dict[str, float]:
    """Twenty times what the smallest changes of the targets do to the answers, in float32; nothing in float64.

    Products of a batch and of a row alone round differently, in F as in θ, and quasi-Newton steps amplify what was
    rounded. No code can be closer to itself than its answers are to those for targets that are the same to rounding.
    """
    if target.dtype == torch.float64:
        return {}
    here, generator = answers(invert(target)), torch.Generator().manual_seed(0)
    up_or_down = [torch.randint(0, 2, target.shape, generator=generator) * 2.0 - 1.0 for _ in range(2)]
    nudges = [sign * torch.finfo(target.dtype).eps for sign in (-1.0, 1.0, *up_or_down)]
    moved = [answers(invert(target * (1.0 + nudge))) for nudge in nudges]

    def change(name: str) -> float:
        pairs = [pair for one in moved for pair in zip(one[name], here[name], strict=True)]
        return 20.0 * max(float((mine - theirs).abs().max()) for mine, theirs in pairs)

    return {name: change(name) for name in here}


def picked(result: InversionResult, index: Tensor) -> InversionResult:
    """Some rows of a result, in that order."""
    found = result.hypotheses
    if found is not None:
        found = Hypotheses(**{part.name: rows(getattr(found, part.name), index) for part in fields(found)})
    told = {
        name: rows(getattr(result, name), index) for name in ("x", "z", "prediction", "loss", "status", "num_evaluations")
    }
    return InversionResult(**told, history=result.history.rows(index), hypotheses=found)


def rounded_apart(dtype: torch.dtype) -> float:
    """What rounding makes of one answer.

    It decides which of two losses is the lower one where they differ by eps, and whether one has met its tolerance: x is
    known to √eps at best, 1.5e-8 and 3.5e-4, times the condition of F.
    """
    return 1e-6 if dtype == torch.float64 else 5e-3


def assert_same_to_rounding(
    one: InversionResult,
    other: InversionResult,
    tolerance: float,
    invert: Callable[[Any], InversionResult],
    target: Any,
) -> None:
    """The same answer for ``target``, as far as rounding lets it be told; what that is is found out where it matters."""
    try:
        assert_same_answer(one, other, tolerance)
    except AssertionError:
        assert_same_answer(one, other, tolerance, sensitivity_to_rounding(invert, target))


def rows_do_not_mix(invert: Callable[[Any], InversionResult], target: Any) -> None:
    """Law 1: row i of a batch gives the same answer as row i alone."""
    together = invert(target)
    for row in range(len(target)):
        alone = target[row : row + 1]
        mine = picked(together, torch.tensor([row]))
        assert_same_to_rounding(mine, invert(alone), rounded_apart(target.dtype), invert, alone)


def a_failing_row_changes_no_other(invert: Callable[[Any], InversionResult], well: Any, ill: Any, bad: int) -> None:
    """Law 1, for targets that are alike but for row ``bad``, on which F or the loss fails."""
    others = torch.tensor([row for row in range(len(well)) if row != bad])
    healthy, poisoned = invert(well), invert(ill)
    mine, theirs = picked(poisoned, others), picked(healthy, others)
    allowed = rounded_apart(well.dtype)
    assert_same_to_rounding(mine, theirs, allowed, lambda some: picked(invert(some), others), well)
    if well.dtype == torch.float64 and mine.hypotheses is None:
        assert torch.equal(mine.status, theirs.status)
        assert torch.equal(mine.num_evaluations, theirs.num_evaluations)
    for leaf in leaves(poisoned.x):
        assert leaf.isfinite().all()
    assert poisoned.loss[bad].isfinite() or not poisoned.success[bad]


def permuting_permutes(invert: Callable[[Any], InversionResult], target: Any, order: Tensor) -> None:
    """Law 2, first half."""
    mine, theirs = invert(target[order]), picked(invert(target), order)
    assert_same_to_rounding(mine, theirs, rounded_apart(target.dtype), invert, target)


def unit_of_the_loss_is_not_known(plain: InversionResult, scaled: InversionResult, factor: float, tolerance: float) -> None:
    """Law 2, second half, for a loss that was multiplied by ``factor``."""
    assert_close(scaled.x, plain.x, tolerance, "x")
    assert_close(scaled.loss / factor, plain.loss, tolerance, "loss")
    assert torch.equal(scaled.num_evaluations, plain.num_evaluations)


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


def budgets_are_prefixes(
    invert: Callable[[int], InversionResult],
    budget: int,
    *,
    through: Iterable[int] | None = None,
    tolerance: float = 1e-6,
    rounding: float = 0.0,
    is_one_path: bool = True,
) -> None:
    """Law 4: a budget of k returns what a larger budget had found after k evaluations, so more is never worse.

    Args:
        invert: with a budget.
        budget: the largest.
        through: those to try, in order; None tries all.
        tolerance: of the losses.
        rounding: a share by which a loss may rise, where the number of rows that move together depends on the budget.
        is_one_path: False where the answer is the best of several, and the history that of one of them.
    """
    best = invert(budget).history.best
    before: Tensor | None = None
    for k in range(budget + 1) if through is None else through:
        result = invert(k)
        if is_one_path:
            assert_close(result.loss, best[min(k, len(best) - 1)], tolerance, f"loss after {k} evaluations")
        if before is not None:
            allowed = before + rounding * before.abs().clamp_min(1.0)
            assert (result.loss <= allowed).all(), f"a budget of {k} is worse than the one before it"
        before = result.loss


def evaluations_are_counted(
    result: InversionResult, num_rows: int, budget: int, num_readings: int, has_jacobians: bool = False
) -> None:
    """Law 8: what was charged is what F saw.

    Args:
        result: of the inversion.
        num_rows: that F was called with.
        budget: of a row, hypotheses counted.
        num_readings: of a last loss, which nothing is charged for, at most.
        has_jacobians: a Jacobian is charged as several evaluations, and is one forward: F then sees less.
    """
    spent = int(result.num_evaluations.sum())
    assert (result.num_evaluations <= budget).all()
    assert num_rows <= spent + num_readings
    assert has_jacobians or spent <= num_rows


def converged_rows_meet_tolerance(result: InversionResult, recomputed: Tensor, tolerance: Tensor) -> None:
    """Law 9."""
    met = recomputed <= tolerance * (1.0 + 1e-5) + 1e-12
    assert (met | (result.status != Status.CONVERGED)).all(), "a row is reported CONVERGED above its tolerance"
    assert ((result.loss > tolerance) | (result.status == Status.CONVERGED)).all()


def assert_same_bits(one: InversionResult, other: InversionResult) -> None:
    """Law 6, and more than law 1 asks for."""
    for name in ("x", "z", "prediction", "loss", "status", "num_evaluations"):
        for mine, theirs in zip(leaves(getattr(one, name)), leaves(getattr(other, name)), strict=True):
            assert torch.equal(mine, theirs), f"{name} differs"
    for name in ("loss", "best", "in_x"):
        assert torch.equal(getattr(one.history, name), getattr(other.history, name)), f"history.{name} differs"


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
