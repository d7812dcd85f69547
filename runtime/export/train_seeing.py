"""Trains the vision tower alone, on drawn pictures of which every cell is known: first two layers, then four.

Usage: python train_seeing.py WORK [--first 6000] [--steps 3500] [--threads 1]
Called again, it goes on from the last checkpoint in WORK.
"""

import argparse
from pathlib import Path

import torch

from growing import grow
from model import VISION_LAYERS, vision_tower
from seeing import HeldOutPictures, Pictures, Seeing
from trainer import SEED, Trainer

BATCH, FRESH, POOL = 8, 2, 250
FIRST_LAYERS, FIRST_RATE, RATE = VISION_LAYERS - 2, 2e-3, 1.5e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--first", type=int, default=6000, help="steps before it grows")
    parser.add_argument("--steps", type=int, default=3500, help="steps after that")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    first, whole = options.work / "seeing-first.pt", options.work / "seeing.pt"
    held_out, pictures = HeldOutPictures(150, SEED), Pictures(BATCH, FRESH, POOL)
    seeing = Seeing(vision_tower())
    if not whole.exists():
        shallow = Seeing(vision_tower(FIRST_LAYERS))
        Trainer(shallow, first, FIRST_RATE, options.first).run(pictures.batches, lambda: held_out.measure(shallow), 500)
        grow(seeing, first, VISION_LAYERS)
    count = sum(tensor.numel() for tensor in seeing.tower.parameters())
    print(f"{count:,} parameters in the vision tower", flush=True)
    Trainer(seeing, whole, RATE, options.steps).run(pictures.batches, lambda: held_out.measure(seeing), 500)


if __name__ == "__main__":
    main()
