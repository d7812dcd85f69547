"""Writes a folder with the demo model in further published precisions, to see what quantisation costs.

Usage: python precisions.py CHECKPOINT_FOLDER OUT [--folder ../demo-model]
OUT becomes a copy of the folder with graphs in q8 and q4 beside those in fp16, to be measured. Towers come in no less
than eight bits.
"""

import argparse
import random
import shutil
from pathlib import Path

import onnx

from assembly import SUFFIXES
from decoder import Decoder, TextShape, embed_tokens
from encoders import fix_bounds, trace_audio, trace_vision
from export_demo import FOLDER, MODEL_PART, load
from media import Towers, draw_shapes, speak
from model import GLOBAL_HEAD_DIM
from quantise import Rounded, converted

TEXT, TOWERS = ("q8", "q4"), ("q8",)


def text_graphs(model) -> dict:
    """Decoder and embeddings in f32, by file name."""
    weights = {name.removeprefix(MODEL_PART): tensor.numpy() for name, tensor in model.state_dict().items()
               if name.startswith(MODEL_PART)}
    shape = TextShape(model.config.text_config, GLOBAL_HEAD_DIM)
    return {"decoder_model_merged": Decoder(shape, weights, half=False).build().model(),
            "embed_tokens": embed_tokens(shape, weights, half=False).model()}


def tower_graphs(model) -> dict:
    """Both encoders in f32, by file name."""
    towers = Towers(model)
    fix_bounds(model)
    return {"vision_encoder": trace_vision(model, *towers.pixels(draw_shapes(random.Random(3)))),
            "audio_encoder": trace_audio(model, *towers.frames(speak("turn on the light in the kitchen")))}


def write(graphs: dict, dtypes: tuple, folder: Path) -> None:
    for stem, graph in graphs.items():
        for dtype in dtypes:
            path = folder / f"{stem}{SUFFIXES[dtype]}.onnx"
            onnx.save(converted(graph, dtype, Rounded()), path)
            print(f"{path.stat().st_size:>10,} {path.name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    shutil.copytree(options.folder, options.out, dirs_exist_ok=True)
    model = load(options.checkpoint)
    write(text_graphs(model), TEXT, options.out / "onnx")
    write(tower_graphs(model), TOWERS, options.out / "onnx")


if __name__ == "__main__":
    main()
