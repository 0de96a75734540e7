"""Fit a landscape with all processes that torchrun has started, and invert with all of them.

torchrun --nproc-per-node 2 examples/fit_on_many_ranks.py run/

Every process runs this script, and holds all targets. Stopped or killed, the same line goes on from run/.
"""

from __future__ import annotations

import argparse

import torch
import torch.distributed as dist

from landscape_opt import LandscapeInverter, LearnedLandscape
from landscape_opt.problems import arm


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", help="of the checkpoints")
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()

    on_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if on_gpu else "gloo")
    device = torch.device("cuda", dist.get_node_local_rank()) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)

    problem = arm()  # its F, start and targets stand for yours
    landscape = LearnedLandscape(problem.forward_model.to(device), problem.x_init.to(device))
    inverter = LandscapeInverter(landscape, problem.loss_fn, batch_size=256, seed=0)  # 256 rows of all ranks together
    inverter.fit(problem.train.to(device), num_rounds=given.rounds, checkpoint=given.folder)

    result = inverter.invert(problem.test.to(device), max_evaluations=10)  # on every rank all answers
    if inverter.ranks.is_first:
        size, median = inverter.ranks.size, float(result.loss.median())
        print(f"{size} ranks, {len(inverter.history)} rounds, median loss of {len(result.loss)} targets {median:.2e}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
