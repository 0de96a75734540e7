"""LandscapeOptimizer in a loop of one's own: equal to torch.optim before a fit, and to `invert` after it."""

from __future__ import annotations

import copy
import io
from functools import partial

import pytest
import strategies as given_by
import torch
from hypothesis import given
from laws import assert_close, assert_untouched, snapshot, torch_descent
from strategies import MAPPINGS, NoCopy, case, fitted, new_inverter, squares
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR

from landscape_opt import LandscapeOptimizer, LearnedLandscape, Status
from landscape_opt.descent import Limits, descend
from landscape_opt.objective import Objective
from landscape_opt.solvers import Start
from landscape_opt.solvers.adaptive import AdaptiveStep

F64 = torch.float64
ADAM = partial(torch.optim.Adam, lr=0.05)
mappings = given_by.st.sampled_from(sorted(MAPPINGS))


def problem(kind, dtype=F64, seed=500, count=4):
    """F as a loop of one's own has it, targets, and a fresh x at the plain start."""
    this = case(kind, dtype)
    forward_model = copy.deepcopy(this.forward_model).eval().requires_grad_(False)
    return forward_model, this.targets(count, seed), nn.Parameter(this.x_init.expand(count, -1).clone())


def closure_of(forward_model, x, target):
    def closure():
        prediction = forward_model(x)
        return squares(prediction, target), prediction

    return closure


def by_hand(optimizer, forward_model, x, target, num_steps, scheduler=None, after=None):
    """The loop that users have; the losses at x_0 … x_K."""
    losses = []
    for step in range(num_steps + 1):
        optimizer.zero_grad()
        loss = squares(forward_model(x), target)
        losses.append(loss.detach())
        if step < num_steps:
            loss.sum().backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            if after is not None:
                after()
    return torch.stack(losses)


def elsewhere(x, seed=3):
    with torch.no_grad():
        x.add_(0.3 * torch.randn(x.shape, generator=given_by.seeded(seed), dtype=x.dtype))
    return x


# ------------------------------------------------------------------------------------------ law 3: torch.optim itself


@given(given_by.kinds, given_by.dtypes, given_by.target_seeds, given_by.optimizers, given_by.st.booleans())
def test_unfitted_is_torch_optim(kind, dtype, seed, factory, with_closure):
    forward_model, target, x = problem(kind, dtype, seed)
    landscape = LearnedLandscape(forward_model, x.detach()[0])
    expected, _ = torch_descent(lambda at: squares(forward_model(at), target), elsewhere(x).detach(), factory, 8)
    optimizer = LandscapeOptimizer([x], landscape, target, z_optimizer=factory, allow_unfitted=True)
    if with_closure:
        found = torch.stack([optimizer.step(closure_of(forward_model, x, target))[0].detach() for _ in range(9)])
        assert_close(optimizer.best_loss, expected.amin(0), 1e-12 if dtype == F64 else 1e-5, "best losses")
    else:
        found = by_hand(optimizer, forward_model, x, target, 8)
    assert_close(found.T, expected.T, 1e-12 if dtype == F64 else 1e-5, "losses")


SCHEDULERS = {
    "step": partial(StepLR, step_size=3, gamma=0.5),
    "cosine": partial(CosineAnnealingLR, T_max=8),
    "one cycle, which moves betas too": partial(OneCycleLR, max_lr=0.1, total_steps=10),
}


@pytest.mark.parametrize("schedule", SCHEDULERS.values(), ids=SCHEDULERS)
def test_schedulers_reach_the_optimizer_of_z(schedule):
    forward_model, target, x = problem("mlp")
    twin = nn.Parameter(x.detach().clone())
    adam = ADAM([twin])
    expected = by_hand(adam, forward_model, twin, target, 8, schedule(adam))
    optimizer = LandscapeOptimizer(
        [x], LearnedLandscape(forward_model, x.detach()[0]), z_optimizer=ADAM, allow_unfitted=True
    )
    found = by_hand(optimizer, forward_model, x, target, 8, schedule(optimizer))
    assert_close(found, expected, 1e-12, "losses")
    assert optimizer.param_groups[0]["lr"] == adam.param_groups[0]["lr"]


def test_lr_is_a_factor_on_plain_steps():
    forward_model, target, x = problem("linear")
    x.data = elsewhere(x).data
    moves = []
    for lr in (1.0, 0.5):
        y = nn.Parameter(x.detach().clone())
        optimizer = LandscapeOptimizer([y], fitted("linear", F64, "anchored", "default").landscape, target)
        optimizer.param_groups[0]["lr"] = lr
        by_hand(optimizer, forward_model, y, target, 1)
        moves.append(y.detach() - x.detach())
    assert_close(moves[1], 0.5 * moves[0], 1e-12, "moves")


# ------------------------------------------------------------------------------------------------ the path of invert


@given(given_by.kinds, mappings, given_by.target_seeds, given_by.budgets, given_by.st.booleans())
def test_closure_takes_the_path_of_invert(kind, mapping, seed, budget, is_moved):
    inverter = fitted(kind, F64, mapping, "default")
    forward_model, target, x = problem(kind, F64, seed)
    warm_start = elsewhere(x).detach().clone() if is_moved else None
    expected = inverter.invert(target, budget, restarts=False, warm_start=warm_start)
    optimizer = LandscapeOptimizer([x], inverter.landscape, target)
    closure, count = closure_of(forward_model, x, target), [0]

    def counted():
        count[0] += 1
        return closure()

    for _ in range(budget):
        optimizer.step(counted)
    if budget == 0:
        optimizer.step(counted)
    else:
        assert count[0] == budget
        before = inverter.invert(target, budget - 1, restarts=False, warm_start=warm_start)
        assert_close(optimizer.best_loss, before.loss, 1e-6, "best losses")
        assert_close(optimizer.best_x, before.x, 1e-6, "best x")
        assert_close(optimizer.finish(counted), expected.loss, 1e-6, "losses")
    assert_close(optimizer.best_x, expected.x, 1e-6, "x")


@given(given_by.kinds, mappings, given_by.target_seeds)
def test_z_optimizer_takes_the_path_of_invert(kind, mapping, seed):
    inverter = fitted(kind, F64, mapping, "published")
    forward_model, target, x = problem(kind, F64, seed)
    expected = inverter.invert(target, 7, restarts=False)
    optimizer = LandscapeOptimizer([x], inverter.landscape, target, z_optimizer=inverter.z_optimizer)
    for _ in range(7):
        optimizer.step(closure_of(forward_model, x, target))
    loss = optimizer.finish(closure_of(forward_model, x, target))
    assert_close(loss, expected.loss, 1e-6, "losses")
    assert_close(x.detach(), expected.x, 1e-6, "x")


def test_unfitted_with_a_closure_is_lbfgs():
    forward_model, target, x = problem("mlp")
    inverter = new_inverter(forward_model, x.detach()[0])
    optimizer = LandscapeOptimizer([x], inverter.landscape, target, allow_unfitted=True)
    for _ in range(12):
        optimizer.step(lambda: squares(forward_model(x), target))  # the losses alone will do
    loss = optimizer.finish(lambda: squares(forward_model(x), target))
    assert_close(loss, inverter.invert(target, 12, allow_unfitted=True).loss, 1e-9, "losses")
    assert_close(squares(forward_model(x), target).detach(), loss, 1e-12, "loss at x, which is the best point")


# --------------------------------------------------------------------------------------------------- steps by gradients


@given(given_by.kinds, mappings, given_by.target_seeds)
def test_plain_steps_beat_what_they_began_with(kind, mapping, seed):
    forward_model, target, x = problem(kind, F64, seed)
    optimizer = LandscapeOptimizer([x], fitted(kind, F64, mapping, "default").landscape, target)
    losses = by_hand(optimizer, forward_model, x, target, 60)
    assert (losses[-1] < 0.05 * losses[0] + 1e-8).all()


@given(given_by.kinds, mappings, given_by.dtypes, given_by.target_seeds)
def test_rows_do_not_mix(kind, mapping, dtype, seed):
    """Law 1, for steps by gradients alone."""
    forward_model, target, x = problem(kind, dtype, seed)
    landscape = fitted(kind, dtype, mapping, "default").landscape
    alone = nn.Parameter(x.detach()[1:2].clone())
    by_hand(LandscapeOptimizer([x], landscape, target), forward_model, x, target, 5)
    by_hand(LandscapeOptimizer([alone], landscape, target[1:2]), forward_model, alone, target[1:2], 5)
    assert_close(alone.detach(), x.detach()[1:2], 1e-4 if dtype == torch.float32 else 1e-9, "x")


def test_unfitted_plain_steps_need_no_learning_rate():
    forward_model, target, x = problem("linear")
    optimizer = LandscapeOptimizer([x], LearnedLandscape(forward_model, x.detach()[0]), allow_unfitted=True)
    losses = by_hand(optimizer, forward_model, x, target, 150)
    assert (losses[-1] < 1e-3 * losses[0]).all()


def test_adaptive_steps_let_finished_rows_go():
    """As a solver: a row that has converged leaves the batch, and the others go on as if alone."""
    _, target, x = problem("linear")
    landscape = fitted("linear", F64, "residual", "default").landscape
    objective = Objective(case("linear", F64).forward_model, squares, landscape.layout)

    def descent(rows, tolerance):
        start = Start(x.detach()[rows], landscape.features(target)[rows])
        return descend(objective, AdaptiveStep(landscape.mapping), start, target[rows], Limits(40, target_loss=tolerance))

    together = descent(torch.arange(4), 1e-3)
    assert (together.status == Status.CONVERGED).all()
    assert len(together.num_evaluations.unique()) > 1
    for row in range(4):
        alone = descent(torch.tensor([row]), 1e-3)
        assert_close(alone.x, together.x[row : row + 1], 1e-9, "x")
        assert alone.num_evaluations == together.num_evaluations[row]


# ------------------------------------------------------------------------------------------------- where it begins


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_where_it_begins(mapping):
    landscape = fitted("mlp", F64, mapping, "default").landscape
    _, target, x = problem("mlp")
    learned = landscape.x(x.new_zeros(4, 4), target).detach()
    plain = x.detach().clone()
    LandscapeOptimizer([x], landscape, target, start="given")
    assert torch.equal(x, plain)
    LandscapeOptimizer([x], landscape, target)
    assert torch.equal(x, learned)
    moved = elsewhere(x).detach().clone()
    LandscapeOptimizer([x], landscape, target)
    assert torch.equal(x, moved)
    LandscapeOptimizer([x], landscape, target, start="learned")
    assert torch.equal(x, learned)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("z_optimizer", [None, ADAM], ids=["default", "adam"])
@pytest.mark.parametrize("with_closure", [False, True], ids=["plain", "closure"])
def test_goes_on_from_where_the_loop_has_put_x(mapping, z_optimizer, with_closure):
    """A clamp after the step, as in a projected descent: x is read, not remembered."""
    forward_model, target, x = problem("linear")
    elsewhere(x)
    optimizer = LandscapeOptimizer(
        [x], fitted("linear", F64, mapping, "default").landscape, target, start="given", z_optimizer=z_optimizer
    )

    def clamp():
        x.data.clamp_(-0.2, 0.2)

    first = squares(forward_model(x.detach().clamp(-0.2, 0.2)), target).sum()
    if with_closure:
        for _ in range(30):
            optimizer.step(closure_of(forward_model, x, target))
            clamp()
    else:
        by_hand(optimizer, forward_model, x, target, 30, after=clamp)
    assert float(x.detach().abs().max()) <= 0.2
    assert squares(forward_model(x.detach()), target).sum() < first


# ----------------------------------------------------------------------------------------------------------- formats


def test_x_of_several_parts():
    A = torch.randn(5, 5, generator=given_by.seeded(8), dtype=F64)

    def forward_model(x):
        return torch.cat([x["pose"], x["shape"].flatten(1)], dim=1) @ A

    x_init = {"pose": torch.zeros(1, dtype=F64), "shape": torch.zeros(2, 2, dtype=F64)}
    inverter = new_inverter(forward_model, x_init)
    target = torch.randn(64, 5, generator=given_by.seeded(9), dtype=F64) @ A
    inverter.fit(target, num_rounds=3, progress=False)
    expected = inverter.invert(target[:3], 6, restarts=False)
    for as_dict in (True, False):
        x = {name: nn.Parameter(part.expand(3, *part.shape).clone()) for name, part in x_init.items()}
        optimizer = LandscapeOptimizer(x if as_dict else list(x.values()), inverter.landscape, target[:3])
        for _ in range(6):
            optimizer.step(closure_of(forward_model, x, target[:3]))
        assert_close(optimizer.finish(closure_of(forward_model, x, target[:3])), expected.loss, 1e-9, "losses")
        assert_close(x["shape"].detach(), expected.x["shape"], 1e-9, "shape")
        assert optimizer.best_x["pose"].shape == (3, 1)


def test_half_precision_is_kept_finer_than_it_is_written():
    forward_model, _, x = problem("linear", torch.float32)
    half = nn.Parameter(x.detach().bfloat16())
    landscape = LearnedLandscape(forward_model, x.detach()[0].bfloat16())
    optimizer = LandscapeOptimizer([half], landscape, z_optimizer=partial(torch.optim.SGD, lr=1e-4), allow_unfitted=True)
    for _ in range(100):
        half.grad = torch.ones_like(half)
        optimizer.step()
    assert_close(
        half.detach().float(), x.detach().bfloat16().float() - 0.01, 4e-3, "a hundred steps below the rounding of x"
    )


def test_without_a_target():
    """θ is told nothing, and works."""
    forward_model, target, x = problem("mlp")
    optimizer = LandscapeOptimizer([x], fitted("mlp", F64, "anchored", "default").landscape)
    for _ in range(20):
        optimizer.step(closure_of(forward_model, x, target))
    assert (optimizer.best_loss < 0.01).all()


# ------------------------------------------------------------------------------------------------------------ rows


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("z_optimizer", [None, ADAM], ids=["default", "adam"])
@pytest.mark.parametrize("with_closure", [False, True], ids=["plain", "closure"])
def test_rows_that_are_not_finite_change_no_other(mapping, z_optimizer, with_closure):
    landscape = fitted("mlp", F64, mapping, "default").landscape
    forward_model, target, _ = problem("mlp")
    x_init, found = case("mlp", F64).x_init, []
    for poison in (torch.tensor([0, 1, 2, 0]), torch.zeros(4)):
        x = nn.Parameter(x_init.expand(4, -1).clone())
        optimizer = LandscapeOptimizer([x], landscape, target, start="given", z_optimizer=z_optimizer)
        for _ in range(12):
            optimizer.zero_grad()
            away = (x.detach() - x_init).norm(dim=1) > 0.05
            bad = (poison == 1) | ((poison == 2) & away)
            prediction = forward_model(x) * torch.where(bad, torch.nan, 1.0)[:, None]
            losses = squares(prediction, target)
            if with_closure:
                optimizer.step(lambda losses=losses, prediction=prediction: (losses, prediction))
            else:
                losses.sum().backward()
                optimizer.step()
        found.append(x.detach().clone())
        if bool(poison.any()):
            assert optimizer.status[1] == Status.NONFINITE_START
    with_poison, without = found
    assert_close(with_poison[[0, 3]], without[[0, 3]], 1e-9, "the rows that are finite")
    assert with_poison.isfinite().all()
    assert torch.equal(with_poison[1], x_init)


def test_solved_and_flat_rows_end():
    x = nn.Parameter(torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]], dtype=F64))
    target = torch.tensor([[1.0, 1.0], [0.0, 0.0], [3.0, 3.0]], dtype=F64)
    landscape = LearnedLandscape(lambda x: x, torch.full((2,), 5.0, dtype=F64))
    optimizer = LandscapeOptimizer([x], landscape, allow_unfitted=True)

    def closure():
        return squares(x * torch.tensor([[1.0], [1.0], [0.0]], dtype=F64), target)  # the last one ignores x

    for _ in range(4):
        optimizer.step(closure)
    assert optimizer.status.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.NO_GRADIENT]
    assert torch.equal(x, torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], dtype=F64))


# ------------------------------------------------------------------------------------------------------- state_dict


@given(
    mappings, given_by.st.sampled_from([None, ADAM]), given_by.st.booleans(), given_by.st.integers(0, 8),
    given_by.st.booleans(),
)  # fmt: skip
def test_state_dict_goes_on_exactly(mapping, z_optimizer, with_closure, num_before, is_fitted):
    _goes_on_exactly(mapping, z_optimizer, with_closure, num_before, is_fitted)


@pytest.mark.parametrize("num_before", [0, 2, 4, 7])
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_state_dict_of_the_default_path(mapping, num_before):
    """Before, at and after the hand-over."""
    _goes_on_exactly(mapping, None, True, num_before, True)


def _goes_on_exactly(mapping, z_optimizer, with_closure, num_before, is_fitted):
    forward_model, target, x = problem("mlp")
    landscape = fitted("mlp", F64, mapping, "default").landscape
    if not is_fitted:
        landscape = LearnedLandscape(forward_model, x.detach()[0])

    def begun(x):
        return LandscapeOptimizer([x], landscape, target, z_optimizer=z_optimizer, allow_unfitted=True)

    def moved(optimizer, x, count):
        for _ in range(count):
            if with_closure:
                optimizer.step(closure_of(forward_model, x, target))
            else:
                optimizer.zero_grad()
                squares(forward_model(x), target).sum().backward()
                optimizer.step()

    optimizer = begun(x)
    moved(optimizer, x, num_before)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    moved(optimizer, x, 5)
    other = nn.Parameter(torch.zeros_like(x))
    again = begun(other)
    again.load_state_dict(torch.load(file, weights_only=True))
    moved(again, other, 5)
    assert torch.equal(other, x)
    if with_closure:
        assert torch.equal(again.best_loss, optimizer.best_loss)
        assert torch.equal(again.best_x, optimizer.best_x)


# ------------------------------------------------------------------------------------------------------------ guests


def test_f_and_the_random_state_are_untouched():
    """Law 5, and F's weights get no gradients, as backward() would have given them."""
    inverter = fitted("mlp", F64, "anchored", "default")
    forward_model, target, x = problem("mlp")
    model = NoCopy(forward_model.requires_grad_(True))
    before = snapshot(forward_model, target)
    optimizer = LandscapeOptimizer([x], inverter.landscape, target)
    for _ in range(6):
        optimizer.step(closure_of(model, x, target))
    optimizer.finish()
    assert_untouched(before, snapshot(forward_model, target))
    assert int(model.calls) == 6
    assert x.grad is None


# ------------------------------------------------------------------------------------------------------------ errors


def optimizer(params=None, landscape=None, target=None, **settings):
    landscape = fitted("linear", F64, "anchored", "default").landscape if landscape is None else landscape
    return LandscapeOptimizer([fresh()] if params is None else params, landscape, target, **settings)


def fresh(*shape, **settings):
    return torch.zeros(*(shape or (3, 6)), **({"dtype": F64, "requires_grad": True} | settings))


UNFITTED = LearnedLandscape(lambda x: x, torch.zeros(6, dtype=F64))
PARTS = LearnedLandscape(lambda x: x["a"], {"a": torch.zeros(6), "b": torch.zeros(1)})
TARGET = torch.zeros(3, 8, dtype=F64)

CONSTRUCTOR = [
    (
        "an inverter",
        lambda: optimizer(landscape=fitted("linear", F64, "anchored", "default")),
        TypeError,
        "inverter.landscape",
    ),
    ("unfitted", lambda: optimizer(landscape=UNFITTED), RuntimeError, "allow_unfitted=True"),
    ("start", lambda: optimizer(start="warm"), ValueError, "'learned', 'given' or None, got 'warm'"),
    ("bare tensor", lambda: optimizer(fresh()), TypeError, r"LandscapeOptimizer\(\[x\]"),
    ("groups", lambda: optimizer([{"params": [fresh()]}]), TypeError, "no parameter groups"),
    ("names", lambda: optimizer([("x", fresh())]), TypeError, "no names"),
    ("nothing", lambda: optimizer([]), ValueError, "holds 0 tensors"),
    ("two tensors", lambda: optimizer([fresh(), fresh()]), ValueError, "holds 2 tensors.*one, the x of its landscape"),
    ("dict for a Tensor", lambda: optimizer({"x": fresh()}), ValueError, "a dict of"),
    ("one part of two", lambda: optimizer([fresh()], PARTS, allow_unfitted=True), ValueError, "each part of x_init"),
    ("other names", lambda: optimizer({"a": fresh()}, PARTS, allow_unfitted=True), ValueError, r"\['a', 'b'\]"),
    (
        "parts of several lengths",
        lambda: optimizer([fresh(3, 6), fresh(2, 1)], PARTS, allow_unfitted=True),
        ValueError,
        "2 rows",
    ),
    ("no batch dimension", lambda: optimizer([fresh(6)]), ValueError, r"shape \(6,\), expected \(B, 6\)"),
    ("other rows", lambda: optimizer([fresh(3, 5)]), ValueError, r"\(3, 5\), expected \(B, 6\)"),
    ("not a leaf", lambda: optimizer([fresh() + 1]), ValueError, "a leaf that requires a gradient"),
    ("no gradient", lambda: optimizer([fresh(requires_grad=False)]), ValueError, "requires_grad_"),
    ("NaN", lambda: optimizer([torch.full((3, 6), torch.nan, dtype=F64, requires_grad=True)]), ValueError, "finite point"),
    ("few targets", lambda: optimizer(target=TARGET[:2]), ValueError, "2 targets for 3 rows"),
    ("other targets", lambda: optimizer(target=TARGET[:, :5]), ValueError, "5 features per row"),
    ("NaN targets", lambda: optimizer(target=TARGET * torch.nan), ValueError, "NaN"),
    ("coupled rows", lambda: optimizer(z_optimizer=torch.optim.LBFGS), ValueError, "solvers.LBFGS"),
    ("unknown keyword", lambda: optimizer(lr=0.1), TypeError, "lr"),
    ("a second group", lambda: optimizer().add_param_group({"params": [fresh()]}), ValueError, "make another one"),
]


def step(closure=None, **settings):
    """One step; the closure is given x, F and the targets."""

    def run():
        forward_model, target, x = problem("linear")
        moved = optimizer([x], target=target, **settings)
        moved.step(None if closure is None else lambda: closure(x, forward_model(x), target))

    return run


def part_of_the_prediction(x, prediction, target):
    part = prediction[:, :3]
    return squares(part, target[:, :3]), part


def called_backward(x, prediction, target):
    loss = squares(prediction, target)
    loss.sum().backward()
    return loss, prediction


def without_grad(x, prediction, target):
    with torch.no_grad():
        return squares(prediction, target), prediction


def mixed():
    forward_model, target, x = problem("linear")
    moved = optimizer([x], target=target)
    moved.step(closure_of(forward_model, x, target))
    moved.step()


def scheduled():
    forward_model, target, x = problem("linear")
    moved = optimizer([x], target=target)
    scheduler = StepLR(moved, 1, 0.5)
    for _ in range(2):
        moved.step(closure_of(forward_model, x, target))
        scheduler.step()


def loaded(state):
    return lambda: optimizer().load_state_dict(state())


def begun(**settings):
    forward_model, target, x = problem("linear", count=3)
    moved = optimizer([x], target=target, **settings)
    moved.step(closure_of(forward_model, x, target))
    return moved


STEP = [
    ("no backward", step(), RuntimeError, "call backward"),
    (
        "a scalar",
        step(lambda x, p, y: squares(p, y).sum()),
        ValueError,
        r"shape \(4,\), got shape \(\); return the losses per",
    ),
    ("a number", step(lambda x, p, y: 1.0), TypeError, "got float"),
    ("nothing", step(lambda x, p, y: None), TypeError, "got NoneType"),
    ("losses alone", step(lambda x, p, y: squares(p, y)), ValueError, r"return a pair \(losses, prediction\)"),
    ("another size", step(part_of_the_prediction), ValueError, "3 numbers per row.*built for 8"),
    ("few predictions", step(lambda x, p, y: (squares(p, y), p[:3])), ValueError, "3 rows for 4 rows"),
    ("another prediction", step(lambda x, p, y: (squares(p, y), 1 * p)), ValueError, "not computed from the prediction"),
    ("backward", step(called_backward), RuntimeError, "has called backward"),
    ("no graph", step(without_grad), ValueError, "do not depend on x"),
    ("another x", step(lambda x, p, y: (fresh(4), p)), ValueError, "other than the x"),
    ("mixed", mixed, ValueError, "all of them take a closure or none"),
    ("lr that does nothing", scheduled, ValueError, "lr = 0.5 would have no effect"),
    ("best without losses", lambda: optimizer().best_x, RuntimeError, "no loss is known"),
    ("finish without losses", lambda: optimizer().finish(), RuntimeError, "no loss is known"),
    ("foreign state", loaded(lambda: torch.optim.Adam([fresh()]).state_dict()), ValueError, "no 'landscape'"),
    (
        "another batch",
        loaded(lambda: optimizer([fresh(2, 6)]).state_dict()),
        ValueError,
        r"\(2, 6\), this one is of \(3, 6\)",
    ),
    ("another optimizer", loaded(lambda: begun(z_optimizer=ADAM).state_dict()), ValueError, "another z_optimizer"),
    ("state of a fixed mapping", loaded(lambda: other_run()), ValueError, "another kind of run"),
]


def other_run():
    state = begun().state_dict()
    state["landscape"]["path"]["run"]["surprise"] = 1
    return state


@pytest.mark.parametrize(("call", "error", "message"), [row[1:] for row in CONSTRUCTOR + STEP],
                         ids=[row[0] for row in CONSTRUCTOR + STEP])  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
