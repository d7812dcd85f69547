"""Where the files of a fixture lie in a published folder. The Rust tests assemble in the same way."""

import gzip
import shutil
from pathlib import Path

SUFFIXES = {"fp32": "", "fp16": "_fp16", "q8": "_quantized", "q4": "_q4", "q4f16": "_q4f16"}
TEMPLATES = Path(__file__).parent.parent / "model" / "tests" / "fixtures" / "conversations"
SHARED = ("tokenizer.json", "tokenizer_config.json")
SETTINGS = ("generation_config.json", "processor_config.json", "preprocessor_config.json")


def data_name(layout: str, stem: str, dtype: str) -> str:
    """Name of the data file beside a graph when published."""
    return f"{stem}{SUFFIXES[dtype]}.onnx_data" if layout == "a" else "model.onnx.data"


def graph_path(layout: str, stem: str, dtype: str) -> str:
    """Place of a graph in a published folder."""
    return {"a": f"onnx/{stem}{SUFFIXES[dtype]}.onnx", "b": f"{stem}/model.onnx", "text": "model.onnx"}[layout]


def assemble(fixtures: Path, variant, layout: str, dtype: str, folder: Path) -> None:
    """Makes the published folder of one variant, layout and precision."""
    source = fixtures / variant.name
    pairs = [(fixtures / name, name) for name in SHARED]
    pairs += [(source / name, name) for name in SETTINGS]
    pairs.append((TEMPLATES / f"{variant.template}.jinja", "chat_template.jinja"))
    pairs.append((source / ("config_text.json" if layout == "text" else "config.json"), "config.json"))
    if layout == "b":
        pairs.append((source / "genai_config.json", "genai_config.json"))
    ending = f"{SUFFIXES[dtype]}.onnx.gz"
    for graph in sorted((source / layout).glob("*.onnx.gz")):
        stem = graph.name.removesuffix(ending)
        if f"{stem}{ending}" != graph.name or any(stem.endswith(suffix) for suffix in SUFFIXES.values() if suffix):
            continue
        place = graph_path(layout, stem, dtype)
        pairs.append((graph, place))
        pairs.append((source / f"weights{SUFFIXES[dtype]}.bin.gz",
                      str(Path(place).parent / data_name(layout, stem, dtype))))
    for path, place in pairs:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            (folder / place).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copyfile(path, folder / place)
