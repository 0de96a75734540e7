"""Fit a landscape in a loop of your own: plain PyTorch, with your optimizer and your scheduler."""

import torch
from chain import gain, new_inverter, targets

NUM_ROUNDS = 24


def main():
    held_out, y = targets(128, seed=1), targets(1024)
    inverter = new_inverter(batch_size=64)
    landscape = inverter.prepare(y[:64])  # θ takes its sizes from a batch; now there are parameters
    optimizer = torch.optim.AdamW(landscape.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=NUM_ROUNDS + 1)

    generator = torch.Generator().manual_seed(0)
    for _ in range(NUM_ROUNDS):
        batch = y[torch.randint(len(y), (64,), generator=generator)]
        record = inverter.step(batch, optimizer=optimizer)  # one round: collect, then 16 updates of θ
        assert record.learning_rate == scheduler.get_last_lr()[0]  # yours: step leaves it alone
        scheduler.step()

    better = gain(inverter, held_out)
    print(f"after 5 evaluations the loss is 1/{better:.0f} of that of plain descent")
    assert better > 5
    return better


if __name__ == "__main__":
    main()
