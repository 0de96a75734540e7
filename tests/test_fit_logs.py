"""What a fit logs, and who can take it: TensorBoard, accelerate and Fabric for real, W&B and MLflow by their signatures."""

from __future__ import annotations

import builtins
import inspect
import math
import warnings

import pytest
import torch
from strategies import case, new_inverter

from landscape_opt.fitting import Validation
from landscape_opt.fitting.tensorboard import TensorBoard

NUM_ROUNDS = 4


def fitted(log, rounds=NUM_ROUNDS):
    y = case("mlp").targets(96, 3)
    inverter = new_inverter(case("mlp").forward_model, case("mlp").x_init)
    checks = Validation(y[:16], budgets=(1, 3), every=2)
    return inverter.fit(y[16:], num_rounds=rounds, validation=checks, log=log, progress=False)


def read(folder):
    """Every scalar of the event files in a folder, {name: {step: value}}."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: {one.step: one.value for one in events.Scalars(name)} for name in events.Tags()["scalars"]}


def agrees(found, history):
    """Whether what was read is what the records say, of every round."""
    objectives = {record.round: record.objective for record in history}
    assert found["fit/objective"] == pytest.approx(objectives, rel=1e-6)
    areas = {record.round: record.validation.area for record in history if record.validation is not None}
    assert set(areas) == {1, 3}
    assert found["validation/area"] == pytest.approx(areas, rel=1e-6)


def test_tensorboard_holds_the_figures_of_every_round(tmp_path):
    pytest.importorskip("tensorboard")
    with TensorBoard(tmp_path / "run") as log:
        inverter = fitted(log)
    found = read(tmp_path / "run")
    agrees(found, inverter.history)
    assert found["fit/evaluations"][NUM_ROUNDS - 1] == inverter.num_evaluations
    assert found["validation/median_at_3"][3] == pytest.approx(inverter.history[3].validation.median[1], rel=1e-6)


def test_tensorboard_is_flushed_and_goes_on_in_the_same_folder(tmp_path):
    pytest.importorskip("tensorboard")
    log = TensorBoard(tmp_path)
    log({"a": 1}, 0)
    log.flush()
    assert read(tmp_path)["a"] == {0: 1.0}
    log.close()
    with TensorBoard(tmp_path) as again:
        again({"a": 2}, 1)
    assert read(tmp_path)["a"] == {0: 1.0, 1: 2.0}


def test_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "torch.utils.tensorboard":
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "landscape-opt\[tensorboard\]"'):
        TensorBoard(tmp_path)


def test_accelerate_takes_the_figures(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    pytest.importorskip("tensorboard")
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        # accelerate asks torch for CUDA and MPS features that a CPU build warns of.
        warnings.filterwarnings("ignore", module=r"(accelerate|torch)(\..*)?")
        accelerator = accelerate.Accelerator(cpu=True, log_with="tensorboard", project_dir=str(tmp_path))
        accelerator.init_trackers("fit")
    inverter = fitted(accelerator.log)
    accelerator.end_training()
    agrees(read(tmp_path / "fit"), inverter.history)
    assert torch.equal(state, torch.random.get_rng_state())


def test_fabric_takes_the_figures(tmp_path):
    pytest.importorskip("lightning")
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        # What Lightning imports uses names that its own dependencies have deprecated.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        from lightning.fabric import Fabric
        from lightning.fabric.loggers import TensorBoardLogger

        logger = TensorBoardLogger(tmp_path, name="fit", version="")
        fabric = Fabric(accelerator="cpu", devices=1, loggers=logger)
    inverter = fitted(fabric.log_dict)
    logger.finalize("success")
    agrees(read(tmp_path / "fit"), inverter.history)


def wandb_log(data, step=None, commit=None, sync=None):
    """As docs.wandb.ai has it: Run.log(data, step, commit, sync)."""
    assert step is None or isinstance(step, int)


def mlflow_log_metrics(metrics, step=None, synchronous=None, run_id=None, timestamp=None, model_id=None, dataset=None):
    """As mlflow/tracking/fluent.py has it; its backends take names of these characters, and floats."""
    for name, value in metrics.items():
        assert all(letter.isalnum() or letter in "_-. /" for letter in name), name
        assert type(value) is float
        assert math.isfinite(value)


@pytest.mark.parametrize("log", [wandb_log, mlflow_log_metrics])
def test_trackers_that_are_not_installed_take_them_by_their_signatures(log):
    calls = []

    def heard(*args, **kwargs):
        bound = inspect.signature(log).bind(*args, **kwargs)
        assert set(bound.arguments) == {next(iter(inspect.signature(log).parameters)), "step"}
        log(*args, **kwargs)
        calls.append(bound.arguments["step"])

    fitted(heard)
    assert calls == list(range(NUM_ROUNDS))  # W&B drops a step that is not above the one before it


def test_a_log_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match=r"log must be a function log\(dict, step\)"):
        fitted({"loss": []})
