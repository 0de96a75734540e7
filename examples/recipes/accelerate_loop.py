"""Fit a landscape with Hugging Face accelerate: its optimizer, its backward and its tracker."""

import torch
from accelerate import Accelerator
from chain import gain, new_inverter, targets
from torch.utils.data import DataLoader

NUM_ROUNDS = 24


def main(folder="runs"):
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=str(folder))
    accelerator.init_trackers("landscape")
    held_out, y = targets(128, seed=1), targets(1024)
    inverter = new_inverter()
    landscape = inverter.prepare(y[:64])
    loader = DataLoader(y, batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(0))
    optimizer, loader = accelerator.prepare(torch.optim.AdamW(landscape.parameters(), lr=2e-3), loader)

    number = 0
    while number < NUM_ROUNDS:  # an epoch is 16 rounds
        for batch in loader:
            record = inverter.step(batch, optimizer=optimizer, backward=accelerator.backward)
            accelerator.log({"fit/objective": record.objective}, step=number)
            number += 1
    accelerator.end_training()

    better = gain(inverter, held_out)
    accelerator.print(f"after 5 evaluations the loss is 1/{better:.0f} of that of plain descent")
    assert better > 5
    return better


if __name__ == "__main__":
    main()
