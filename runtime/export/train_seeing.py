"""Trains the vision tower alone, on drawn pictures of which every cell is known.

Usage: python train_seeing.py WORK [--steps 6000] [--threads 1]
Called again, it goes on from the last checkpoint in WORK.
"""

import argparse
from pathlib import Path

import torch

from model import vision_tower
from seeing import HeldOutPictures, Pictures, Seeing
from trainer import SEED, Trainer

BATCH, FRESH, POOL = 8, 2, 250
PEAK_RATE = 2e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    seeing = Seeing(vision_tower())
    count = sum(tensor.numel() for tensor in seeing.tower.parameters())
    print(f"{count:,} parameters in the vision tower", flush=True)
    held_out = HeldOutPictures(150, SEED)
    trainer = Trainer(seeing, options.work / "seeing.pt", PEAK_RATE, options.steps)
    trainer.run(Pictures(BATCH, FRESH, POOL).batches, lambda: held_out.measure(seeing), 500)


if __name__ == "__main__":
    main()
