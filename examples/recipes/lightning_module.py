"""Fit a landscape as a Lightning module: manual optimization, since a round makes several updates of θ."""

import lightning.pytorch as lightning
import torch
from chain import gain, new_inverter, targets
from torch.utils.data import DataLoader

NUM_ROUNDS = 24


class FitsALandscape(lightning.LightningModule):
    def __init__(self, inverter, some_targets, lr=2e-3):
        super().__init__()
        self.automatic_optimization = False
        self.inverter, self.lr = inverter, lr
        self.landscape = inverter.prepare(some_targets)  # a submodule: its parameters and checkpoints are Lightning's

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.landscape.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, NUM_ROUNDS)]

    def training_step(self, batch, _number):
        optimizer = self.optimizers()
        record = self.inverter.step(batch, optimizer=optimizer, backward=self.manual_backward)
        self.log("fit/objective", record.objective)
        self.lr_schedulers().step()


def main(folder=None):
    held_out, y = targets(128, seed=1), targets(1024)
    module = FitsALandscape(new_inverter(), y[:64])
    trainer = lightning.Trainer(
        max_steps=16 * NUM_ROUNDS,  # Lightning counts the optimizer's steps: 16 a round
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(y, batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(0)))

    assert trainer.global_step == 16 * NUM_ROUNDS
    better = gain(module.inverter, held_out)
    print(f"after 5 evaluations the loss is 1/{better:.0f} of that of plain descent")
    assert better > 5
    return better


if __name__ == "__main__":
    main()
