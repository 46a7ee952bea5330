"""``torchrun -m components.torchrun``: the training step on many accelerators or nodes.

It writes the encoder where the pipeline's training step looks first, below the folder of checkpoints. A pipeline run on
the same tables with the same settings takes it from there instead of training again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import distributed

from fairtag.base.tables import read_tables
from fairtag.encoder.config import preset
from fairtag.encoder.training import train_encoder
from fairtag.encoder.training_data import without_hold_out


def parser() -> argparse.ArgumentParser:
    """The options; torchrun's environment describes the process group."""
    options = argparse.ArgumentParser(prog="torchrun -m components.torchrun", allow_abbrev=False)
    options.add_argument("--tables", type=Path, required=True, help="folder of validated tables, on every node")
    options.add_argument("--checkpoints", type=Path, required=True, help="folder that every node and the pipeline see")
    options.add_argument("--preset", default="gpu", help="demo, standard or gpu")
    options.add_argument("--settings", default="{}", help="JSON object of encoder settings that differ from the preset")
    options.add_argument("--seed", type=int, default=0, help="seed of batches, heads and dropout")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as one process of the group."""
    asked = parser().parse_args(arguments)
    config = preset(asked.preset, {"seed": asked.seed}, asked.settings)
    shop = read_tables(asked.tables)
    out = asked.checkpoints / config.fingerprint()[:12] / shop.fingerprint()[:12]
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        if not (out / "training_report.json").is_file():
            judgements, items, impressions = without_hold_out(shop)
            train_encoder(config, judgements, items, out, impressions=impressions)
        if distributed.get_rank() == 0:
            print(f"train: {out} by {distributed.get_world_size()} processes")
    finally:
        distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
