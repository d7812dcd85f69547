"""Trains the decoder on all tasks, with the towers as train_hearing.py and train_seeing.py left them.

Usage: python train_answering.py WORK [--steps 13000] [--threads 2]
Called again, it goes on from the last checkpoint in WORK.
"""

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer

import tokenizer as demo_tokenizer
from answering import Answering, HeldOutLessons, Lessons, make_kindred
from material import Material
from model import build
from senses import Senses
from trainer import SEED, Trainer

BATCH = 8
PEAK_RATE = 3e-3
POOLS, HELD_OUT_POOLS = (1600, 1200, 60), (80, 80, 16)


def tokens_of(work: Path) -> Tokenizer:
    """The tokenizer in the work folder; trained first where there is none."""
    path = work / "tokenizer.json"
    if not path.exists():
        demo_tokenizer.train().save(str(path))
    return Tokenizer.from_file(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=13000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokens, senses = tokens_of(options.work), Senses(options.work)
    model = build(tokens.get_vocab(), SEED)
    model.model.language_model.set_attn_implementation("sdpa")
    answering = Answering(model, tokens.get_vocab())
    make_kindred(answering, senses, tokens.get_vocab())
    count = sum(tensor.numel() for tensor in answering.parameters())
    print(f"{count:,} parameters in the decoder, {len(tokens.get_vocab())} tokens", flush=True)
    held_out = HeldOutLessons(Lessons(tokens, Material(senses, True, HELD_OUT_POOLS, SEED), BATCH), 24, SEED)
    trainer = Trainer(answering, options.work / "answering.pt", PEAK_RATE, options.steps, ("norm", "embed_tokens"))
    lessons = Lessons(tokens, Material(senses, False, POOLS, SEED + 1), BATCH)
    trainer.run(lessons.batches, lambda: held_out.measure(answering), 500)


if __name__ == "__main__":
    main()
