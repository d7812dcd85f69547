"""Builds folders of the published sizes with random weights, to measure speed and memory without downloading a model.

Usage: python full_size.py FOLDER [--shape e2b|e4b|12b|31b] [--layouts a b gguf] [--seed 1]

FOLDER/SHAPE-a is the onnx-community layout, FOLDER/SHAPE-b the onnxruntime-genai layout of the same weights (hard
links, so it takes no disk of its own), FOLDER/SHAPE.gguf llama.cpp's file. All are for text: encoders are left out
of A, and B has miniature ones because onnxruntime-genai insists on them. What is there already is not built again.
Needs Python with numpy and onnx, and gguf for llama.cpp's file; about 3 GB of memory, and the disk that it names.
"""

import argparse
import gzip
import json
import os
import shutil
import sys
from pathlib import Path

import full_vocabulary
import streamed
from shapes import CONTROL_IDS, SIZES, Size, config_json, products, tables
from streamed import DataFiles, Weights

FIXTURES = Path(__file__).parent.parent / "model" / "tests" / "fixtures"
TEMPLATES = {"e2b": "small.2026-07", "e4b": "small.2026-07", "12b": "large.2026-07", "31b": "large.2026-07"}
MADE = "made.json"
VERSION = 2
"""Rises when the same seed gives other files, so that older ones are built again."""
BITS = 5.125
"""Of a weight in a block of 32 with an f32 scale and a four-bit zero point."""
GGUF_BITS = 4.5
SPARE_BYTES = 300_000_000
"""For graphs, tokenizer, and what a file system wants beside the data."""


def weights_count(*groups: dict) -> int:
    """Weights of all matrices in groups by name."""
    return sum(rows * columns for group in groups for rows, columns in group.values())


def rotary_bytes(size: Size) -> int:
    """Tables of cosines and sines for every position."""
    return size.context * (128 + 256) * 2 * 4 if not size.is_large else 0


def disk_bytes(size: Size, layout: str) -> int:
    """Disk that a layout needs; B links to what A holds."""
    if layout == "gguf":
        # One table serves for reading and for writing tokens.
        return int(weights_count(products(size) | tables(size)) * GGUF_BITS / 8)
    return int(weights_count(products(size), tables(size)) * BITS / 8) + rotary_bytes(size) if layout == "a" else 0


def stamp(size: Size, seed: int) -> dict:
    return {"version": VERSION, "shape": size.name, "seed": seed}


def made_file(path: Path) -> Path:
    """The file that says which folder or file was completed."""
    return path.with_name(f"{path.name}.{MADE}") if path.suffix == ".gguf" else path / MADE


def is_made(path: Path, size: Size, seed: int) -> bool:
    made = made_file(path)
    return path.exists() and made.is_file() and json.loads(made.read_text()) == stamp(size, seed)


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_settings(size: Size, folder: Path) -> None:
    """Everything of a folder but its graphs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config_json(size))
    write_json(folder / "generation_config.json", {
        "bos_token_id": CONTROL_IDS["<bos>"], "pad_token_id": CONTROL_IDS["<pad>"], "do_sample": True,
        "eos_token_id": [CONTROL_IDS[token] for token in ("<eos>", "<turn|>", "<|tool_response>")],
        "temperature": 1.0, "top_k": 64, "top_p": 0.95})
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
        "unk_token": "<unk>", "model_max_length": size.context})
    template = FIXTURES / "conversations" / f"{TEMPLATES[size.name]}.jinja"
    shutil.copyfile(template, folder / "chat_template.jinja")
    full_vocabulary.write(folder / "tokenizer.json")


def data_files(folder: Path) -> tuple:
    """The data files of layout A's decoder and of its embeddings."""
    graphs = folder / "onnx"
    graphs.mkdir(parents=True, exist_ok=True)
    return tuple(DataFiles(graphs / f"{stem}_q4.onnx_data") for stem in ("decoder_model_merged", "embed_tokens"))


def build_onnx(size: Size, seed: int, a: Path, b: Path) -> None:
    """Both ONNX layouts: B's graphs are written while it is known where A's tensors lie."""
    weights, (decoder_data, embed_data) = Weights(size, seed), data_files(a)
    kind = streamed.StreamedPlain if size.is_large else streamed.StreamedBuilder
    streamed.decoder(kind, weights, decoder_data).write(a / "onnx" / "decoder_model_merged_q4.onnx", {})
    streamed.embed_tokens(weights, embed_data).write(a / "onnx" / "embed_tokens_q4.onnx", {})
    kind = streamed.StreamedStandard if size.is_large else streamed.StreamedGrouped
    decoder = streamed.decoder(kind, weights, decoder_data)
    embedding = streamed.embedding(weights, embed_data, decoder_data)
    for files in (decoder_data, embed_data):
        files.close()
    decoder.write(b / "decoder" / "model.onnx", linked(b / "decoder", [decoder_data]))
    embedding.write(b / "embedding" / "model.onnx", linked(b / "embedding", [embed_data, decoder_data]))


def linked(folder: Path, data: list) -> dict:
    """Hard links of data files in another folder; their names there by their own."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for number, path in enumerate(path for files in data for path in files.files):
        names[path.name] = "model.onnx.data" + (f"_{number}" if number else "")
        (folder / names[path.name]).unlink(missing_ok=True)
        os.link(path, folder / names[path.name])
    return names


def write_genai(size: Size, folder: Path) -> None:
    """genai_config.json, and the miniature encoders without which onnxruntime-genai refuses the type `gemma4`."""
    miniature = FIXTURES / "variants" / "e2b"
    config = json.loads((miniature / "genai_config.json").read_text())
    model = config["model"]
    model |= {"type": "gemma4", "vocab_size": 262_144, "context_length": 16_384,
              "bos_token_id": CONTROL_IDS["<bos>"], "pad_token_id": CONTROL_IDS["<pad>"],
              "eos_token_id": [CONTROL_IDS["<eos>"], CONTROL_IDS["<turn|>"]],
              "image_token_id": CONTROL_IDS["<|image|>"], "audio_token_id": CONTROL_IDS["<|audio|>"],
              "boa_token_id": CONTROL_IDS["<|audio>"]}
    model["decoder"] |= {"head_size": 256, "hidden_size": size.hidden, "num_attention_heads": size.heads,
                         "num_hidden_layers": size.layers, "num_key_value_heads": size.kv_heads}
    config["search"]["max_length"] = 16_384
    write_json(folder / "genai_config.json", config)
    for name in ("vision_encoder", "audio_encoder"):
        (folder / name).mkdir(exist_ok=True)
        for source, place in ((miniature / "b" / f"{name}.onnx.gz", "model.onnx"),
                              (miniature / "weights.bin.gz", "model.onnx.data")):
            (folder / name / place).write_bytes(gzip.decompress(source.read_bytes()))


def place(folder: Path, size: Size, layout: str) -> Path:
    """Where a layout of a size lies."""
    return folder / (f"{size.name}.gguf" if layout == "gguf" else f"{size.name}-{layout}")


def build(size: Size, seed: int, folder: Path, missing: list) -> None:
    """Builds what is missing. What is interrupted is not taken for complete."""
    a, b, gguf = (place(folder, size, layout) for layout in ("a", "b", "gguf"))
    if {"a", "b"} & set(missing):
        for path in (a, b):
            shutil.rmtree(path, ignore_errors=True)
        build_onnx(size, seed, a, b)
        write_settings(size, a)
        for path in a.iterdir():
            if path.is_file():
                shutil.copyfile(path, b / path.name)
        write_genai(size, b)
        for path in (a, b):
            write_json(made_file(path), stamp(size, seed))
    if "gguf" in missing:
        import full_gguf  # only this layout needs the package gguf
        full_gguf.write(size, seed, gguf)
        write_json(made_file(gguf), stamp(size, seed))


def check_disk(folder: Path, needed: int) -> None:
    """Stops where the disk is too small."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    print(f"needs {needed / 1e9:.1f} GB in {folder}; {free / 1e9:.1f} GB are free", flush=True)
    if free < needed:
        sys.exit(f"failed: {folder} has too little room; free {(needed - free) / 1e9:.1f} GB or name another folder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SIZES, default="e2b")
    parser.add_argument("--layouts", nargs="+", choices=("a", "b", "gguf"), default=["a", "b"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    size = SIZES[options.shape]
    if "gguf" in options.layouts and size.is_large:
        sys.exit(f"failed: no GGUF is written for {size.name}; choose e2b or e4b")
    # Both ONNX layouts are built together, for their weights are the same bytes.
    layouts = {"a", "b", *options.layouts} if {"a", "b"} & set(options.layouts) else set(options.layouts)
    missing = [name for name in layouts if not is_made(place(options.folder, size, name), size, options.seed)]
    if missing:
        check_disk(options.folder, sum(disk_bytes(size, name) for name in missing) + SPARE_BYTES)
    build(size, options.seed, options.folder, missing)
    for name in options.layouts:
        print(place(options.folder, size, name))


if __name__ == "__main__":
    main()
