"""Puts the stages' checkpoints together into one checkpoint of transformers' form, ready for export_demo.py.

Usage: python assemble.py WORK
Reads hearing.pt, seeing.pt, answering.pt and tokenizer.json of WORK and writes WORK/checkpoint.
"""

import argparse
import json
import random
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers.models.gemma4.modeling_gemma4 import Gemma4ClippableLinear

from answering import Answering
from clips import draw_clip
from model import build
from scenes import draw_scene, paint
from senses import Senses, restored
from trainer import SEED

STAGES = ("hearing-first", "hearing", "seeing-first", "seeing", "answering-first", "answering")
"""In their order; of a tower `first` is before it grew, of the decoder what was learnt with such towers, if it was."""
SAMPLES = 24
MARGIN = 1.5
"""How far beyond anything that was seen the clip bounds lie."""


class Bounds:
    """The largest absolute value at both ends of one clipped linear."""

    def __init__(self, linear: Gemma4ClippableLinear) -> None:
        self.linear, self.entering, self.leaving = linear, 0.0, 0.0
        linear.register_forward_hook(self.note)

    def note(self, _linear, inputs: tuple, output: torch.Tensor) -> None:
        self.entering = max(self.entering, float(inputs[0].abs().max()))
        self.leaving = max(self.leaving, float(output.abs().max()))

    def apply(self, linear: Gemma4ClippableLinear) -> None:
        """Fills the bounds of the same linear in another copy of the tower."""
        for name, most in (("input", self.entering), ("output", self.leaving)):
            bound = round(MARGIN * most, 2)
            getattr(linear, f"{name}_min").fill_(-bound)
            getattr(linear, f"{name}_max").fill_(bound)


def observed(senses: Senses) -> dict:
    """Bounds by tower and name, over some drawn clips and pictures."""
    towers = {"audio_tower": senses.hearing.tower, "vision_tower": senses.seeing.tower}
    bounds = {(tower, name): Bounds(linear) for tower, module in towers.items()
              for name, linear in module.named_modules() if isinstance(linear, Gemma4ClippableLinear)}
    rng = random.Random(SEED)
    for _ in range(SAMPLES):
        senses.hear(draw_clip(rng, held_out=False).samples)
        senses.see(paint(draw_scene(rng, held_out=False), rng))
    return bounds


@torch.no_grad()
def assembled(work: Path):
    """The whole model with all trained weights."""
    token_id = Tokenizer.from_file(str(work / "tokenizer.json")).get_vocab()
    senses, model = Senses(work), build(token_id, SEED)
    restored(Answering(model, token_id), work / "answering.pt")
    for tower, module in (("audio_tower", senses.hearing.tower), ("vision_tower", senses.seeing.tower)):
        getattr(model.model, tower).load_state_dict(module.state_dict())
    for (tower, name), bounds in observed(senses).items():
        bounds.apply(getattr(model.model, tower).get_submodule(name))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    options = parser.parse_args()
    folder = options.work / "checkpoint"
    assembled(options.work).save_pretrained(folder)
    shutil.copy(options.work / "tokenizer.json", folder)
    report = lambda name: json.loads((options.work / f"{name}.json").read_text())
    stages = {name: report(name) for name in STAGES if (options.work / f"{name}.json").exists()}
    done = {name: {key: stage[key] for key in ("step", "steps", "seconds")} for name, stage in stages.items()}
    (folder / "training.json").write_text(json.dumps({"seed": SEED, "stages": done}, indent=1) + "\n")


if __name__ == "__main__":
    main()
