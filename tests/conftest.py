"""Settings of the whole suite: one thread, reproducible examples, and a global state that no test may leave changed."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, Phase, settings

torch.set_num_threads(1)

settings.register_profile(
    "suite",
    deadline=None,
    max_examples=3,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink a failing example takes minutes here
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("wide", parent=settings.get_profile("suite"), max_examples=30, derandomize=False)
settings.load_profile("suite")
