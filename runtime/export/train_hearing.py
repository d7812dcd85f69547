"""Trains the audio tower alone, on spoken sentences with the time of every word: first four layers, then five.

Usage: python train_hearing.py WORK [--first 6000] [--steps 4500] [--threads 1]
Called again, it goes on from the last checkpoint in WORK.
"""

import argparse
from pathlib import Path

import torch

from growing import grow
from hearing import Clips, Hearing, HeldOutClips
from model import AUDIO_LAYERS, audio_tower
from trainer import SEED, Trainer

BATCH, FRESH, POOL = 16, 5, 6000
FIRST_LAYERS, FIRST_RATE, RATE = AUDIO_LAYERS - 1, 2e-3, 1.2e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--first", type=int, default=6000, help="steps before it grows")
    parser.add_argument("--steps", type=int, default=4500, help="steps after that")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    first, whole = options.work / "hearing-first.pt", options.work / "hearing.pt"
    held_out, clips = HeldOutClips(150, SEED), Clips(SEED, POOL, BATCH, FRESH)
    hearing = Hearing(audio_tower())
    if not whole.exists():
        shallow = Hearing(audio_tower(FIRST_LAYERS))
        Trainer(shallow, first, FIRST_RATE, options.first).run(clips.batches, lambda: held_out.measure(shallow), 500)
        grow(hearing, first, AUDIO_LAYERS)
    count = sum(tensor.numel() for tensor in hearing.tower.parameters())
    print(f"{count:,} parameters in the audio tower", flush=True)
    Trainer(hearing, whole, RATE, options.steps).run(clips.batches, lambda: held_out.measure(hearing), 500)


if __name__ == "__main__":
    main()
