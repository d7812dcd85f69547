"""Trains the audio tower alone, on spoken sentences with the time of every word.

Usage: python train_hearing.py WORK [--steps 6000] [--threads 1]
Called again, it goes on from the last checkpoint in WORK.
"""

import argparse
from pathlib import Path

import torch

from hearing import Clips, Hearing, HeldOutClips
from model import audio_tower
from trainer import SEED, Trainer

BATCH, FRESH, POOL = 16, 5, 6000
PEAK_RATE = 2e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    hearing = Hearing(audio_tower())
    count = sum(tensor.numel() for tensor in hearing.tower.parameters())
    print(f"{count:,} parameters in the audio tower", flush=True)
    held_out = HeldOutClips(150, SEED)
    trainer = Trainer(hearing, options.work / "hearing.pt", PEAK_RATE, options.steps)
    trainer.run(Clips(SEED, POOL, BATCH, FRESH).batches, lambda: held_out.measure(hearing), 500)


if __name__ == "__main__":
    main()
