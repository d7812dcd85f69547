"""Makes the fixtures of the five sizes: tiny checkpoints, their graphs in every layout, and transformers' answers.

Usage: python build_variants.py [--out ../model/tests/fixtures/variants] [--published DIR] [NAME...]
Everything follows from the seeds in variants.py. `--published` also writes the assembled folders.
"""

import argparse
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch

import cases
import drafter
import settings
import vocabulary
from assembly import SUFFIXES, TEMPLATES, assemble, data_name
from builder import BuilderDecoder
from decoder import Decoder, TextShape, embed_tokens
from encoders import fix_bounds, trace_audio, trace_vision
from expected import CONTINUED, Expected
from medium import one_by_one
from mobius import Embedding, GroupedDecoder, StandardDecoder, TextDecoder
from processor import Processor
from published import Published
from quantise import Rounded, converted
from store import Store, pack
from unified import audio_encoder, vision_encoder
from variants import GLOBAL_HEAD_DIM, VARIANTS, Variant, build

OUT = Path(__file__).parent.parent / "model" / "tests" / "fixtures" / "variants"
TEXT_PART = "model.language_model."
LIMITS = {"fp32": 1e-4, "q4": 1e-4, "fp16": 0.1, "q4f16": 0.1, "q8": 1.2}
"""How far a logit may be from transformers': next to nothing where the arithmetic is f32, more where activations are
rounded to half precision or to eight bits."""
EXACT = ("fp32", "q4")
"""Precisions whose greedy continuations must be transformers', id by id."""
DRAFTS = (0, 3, 17)
"""Behind how many tokens of an answer something is drafted."""
DRAFTED = ("e2b", "31b")
"""Sizes with a drafter: one whose layers share keys and values, one whose do not."""
CHUNK = 48
"""Tokens of a prefill step where a prompt holds no picture, which must not be cut."""


class Builder:
    """Everything of one variant."""

    def __init__(self, variant: Variant, out: Path, token_id: dict) -> None:
        self.variant, self.out, self.folder, self.token_id = variant, out, out / variant.name, token_id
        self.model = build(variant, token_id)
        self.weights = {name: tensor.detach().numpy() for name, tensor in self.model.state_dict().items()}
        self.processor = Processor(variant, out, TEMPLATES / f"{variant.template}.jinja")
        names = [name for name in cases.CASES if variant.hears or not cases.heard(name)]
        self.inputs = {name: self.processor.inputs(name) for name in names}
        placeholders = [token_id[token] for token in ("<|image|>", "<|audio|>", "<|video|>")]
        self.suppressed = placeholders + settings.suppressed(variant, token_id)
        self.graphs = self.exported()

    def part(self, prefix: str) -> dict:
        """Weights below a module."""
        return {name.removeprefix(prefix): array for name, array in self.weights.items() if name.startswith(prefix)}

    def shape(self) -> TextShape:
        return TextShape(self.model.config.text_config, GLOBAL_HEAD_DIM, self.model.config)

    def write_settings(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings.write(self.variant, self.model, self.token_id, self.folder)
        positions = self.shape().sees_blocks
        settings.write_json(self.folder / "genai_config.json",
                            settings.genai_json(self.variant, self.model, self.token_id, positions))
        settings.write_json(self.folder / "config_text.json",
                            settings.promoted(settings.config_json(self.variant, self.model, self.token_id)))

    def encoders(self) -> dict:
        """The encoder graphs, f32."""
        if self.variant.unified:
            eps = self.model.config.vision_config.rms_norm_eps
            return {"vision_encoder": vision_encoder(self.part("model.embed_vision."), eps),
                    "audio_encoder": audio_encoder(self.part("model.embed_audio."), eps)}
        fix_bounds(self.model)
        seen = self.inputs["image"]
        made = {"vision_encoder": trace_vision(self.model, seen["pixel_values"], seen["image_position_ids"])}
        if self.variant.hears:
            heard = self.inputs["audio"]
            made["audio_encoder"] = trace_audio(self.model, heard["input_features"], heard["input_features_mask"])
        return made

    def exported(self) -> dict:
        """All graphs in f32, by layout and stem."""
        weights, encoders = self.part(TEXT_PART), self.encoders()
        decoder = StandardDecoder if self.shape().sees_blocks else GroupedDecoder
        own = BuilderDecoder(self.shape(), weights) if self.variant.grouped else \
            Decoder(self.shape(), weights, half=False)
        made = {"a": {"decoder_model_merged": own.build().model(),
                      "embed_tokens": embed_tokens(self.shape(), weights, half=False).model()},
                "b": {"decoder": decoder(self.shape(), weights).build().model(),
                      "embedding": Embedding(self.shape(), weights).build(self.variant.hears).model()},
                "text": {"model": TextDecoder(self.shape(), weights).build().model()}}
        for layout in ("a", "b"):
            made[layout] |= encoders
        return made

    def write_precision(self, dtype: str, layouts: list) -> None:
        """The graphs of some layouts in one precision, transformers' answers with their weights, and a comparison."""
        rounded, store = Rounded(), Store(self.folder / f"weights{SUFFIXES[dtype]}.bin")
        for layout in layouts:
            for stem, graph in self.graphs[layout].items():
                graph = converted(graph, dtype, rounded)
                store.save_graph(graph, self.folder / layout / f"{stem}{SUFFIXES[dtype]}.onnx",
                                 data_name(layout, stem, dtype))
        store.save()
        expected = self.answers(rounded, dtype)
        for layout in layouts:
            self.verify(layout, dtype, expected)

    def answers(self, rounded: Rounded, dtype: str) -> Expected:
        """transformers' answers to every case, with weights as the graphs hold them."""
        model = build(self.variant, self.token_id)
        rounded.apply(model, dtype)
        expected = Expected(model, self.suppressed, self.variant.whole_logits and dtype == "fp32")
        for name, inputs in self.inputs.items():
            case = expected.add(name, one_by_one(model, self.processor, inputs) if dtype == "q8" else inputs)
            print(f"  {name:12} {len(case['prompt_ids']):4} tokens, smallest margin {min(case['margins']):.1e}",
                  flush=True)
        expected.save(self.folder / f"expected{SUFFIXES[dtype]}.json")
        return expected

    def write_drafter(self) -> None:
        """The drafter, and what transformers drafts with it behind some of its answers in f32."""
        model = drafter.build(self.variant, self.model)
        graph = drafter.Drafter(model).build().model()
        onnx.checker.check_model(graph)
        pack(graph.SerializeToString(), self.folder / "assistant.onnx")
        answers = json.loads((self.folder / "expected.json").read_text())["cases"]
        found = {name: drafter.drafts(self.model, model, self.inputs[name], answers[name]["continuation_ids"], DRAFTS)
                 for name in ("text", "long", "image")}
        lines = [f"  {json.dumps(name)}: {json.dumps(drafts)}" for name, drafts in found.items()]
        (self.folder / "drafts.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")

    def verify(self, layout: str, dtype: str, expected: Expected) -> None:
        """Compares an assembled folder with the references."""
        with tempfile.TemporaryDirectory() as folder:
            assemble(self.out, self.variant, layout, dtype, Path(folder))
            found = Published(Path(folder), self.model.config, self.processor)
            worst = 0.0
            for (name, case), logits in zip(expected.cases.items(), expected.logits):
                if layout == "text" and name not in ("text", "long"):
                    continue
                length = len(case["prompt_ids"])
                is_whole = dtype == "q8" or set(self.inputs[name]) & {"pixel_values", "pixel_values_videos"}
                chunks = [] if is_whole else list(range(CHUNK, length, CHUNK))
                rows, ids = found.trace(self.inputs[name], chunks, CONTINUED, self.suppressed)
                difference = float(np.abs(rows[-len(logits):] - logits).max())
                same = sum(left == right for left, right in zip(ids, case["continuation_ids"]))
                print(f"  {layout} {dtype} {name:12} {difference:.1e} {same}/{CONTINUED}", flush=True)
                worst = max(worst, difference)
                assert same == CONTINUED or dtype not in EXACT, f"{self.variant.name} {layout} {dtype} {name}: {ids}"
        assert worst <= LIMITS[dtype], f"{self.variant.name} {layout} {dtype}: {worst} is beyond {LIMITS[dtype]}"


def write_origin(out: Path) -> None:
    """made_with.json: the versions that made the fixtures, and the seeds."""
    packages = ("transformers", "torch", "onnx", "onnxruntime", "tokenizers", "numpy")
    settings.write_json(out / "made_with.json", {
        "packages": {name: version(name) for name in packages},
        "seeds": {variant.name: variant.seed for variant in VARIANTS.values()}})


def precisions(name: str) -> dict:
    """The precisions of a size, with the layouts that come in them. The smallest comes in all."""
    several = name == "e2b"
    shared = {"fp32": ["a", "b", "text"], "q4": ["a", "b"] if several else ["a"]}
    return shared | ({"fp16": ["a"], "q4f16": ["a"], "q8": ["a"]} if several else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--published", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    token_id = vocabulary.write(options.out / "tokenizer.json")
    settings.write_json(options.out / "tokenizer_config.json", settings.tokenizer_json())
    cases.write(options.out)
    write_origin(options.out)
    for name in options.names:
        print(f"== {name}", flush=True)
        builder = Builder(VARIANTS[name], options.out, token_id)
        builder.write_settings()
        for dtype, layouts in precisions(name).items():
            builder.write_precision(dtype, layouts)
            for layout in layouts if options.published else []:
                ending = f"{layout}-{dtype}".removesuffix("-fp32")
                assemble(options.out, VARIANTS[name], layout, dtype, options.published / f"{name}-{ending}")
        if name in DRAFTED:
            builder.write_drafter()


if __name__ == "__main__":
    main()
