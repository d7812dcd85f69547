"""Runs the exported folder with ONNX Runtime: embedding, prefill, decoding and the two encoders."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class Folder:
    """The graphs, tokenizer and settings of one model folder."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        graph = lambda name: onnxruntime.InferenceSession(str(next((path / "onnx").glob(f"{name}*.onnx"))), options,
                                                          providers=["CPUExecutionProvider"])
        self.embed_graph, self.decoder = graph("embed_tokens"), graph("decoder_model_merged")
        self.vision, self.audio = graph("vision_encoder"), graph("audio_encoder")
        self.config = json.loads((path / "config.json").read_text())
        self.stops = json.loads((path / "generation_config.json").read_text())["eos_token_id"]
        self.tokens = Tokenizer.from_file(str(path / "tokenizer.json"))

    def embed(self, ids: list, features: np.ndarray | None = None) -> tuple:
        """Embeddings and per-layer inputs; placeholder ids count as padding and their rows take the features."""
        ids = np.array([ids], np.int64)
        media = np.isin(ids, [self.config[f"{kind}_token_id"] for kind in ("image", "audio", "video")])
        plain = np.where(media, self.config["pad_token_id"], ids)
        embeds, per_layer = self.embed_graph.run(None, {"input_ids": plain})
        if features is not None:
            embeds[media] = features
        return embeds, per_layer

    def empty_past(self) -> dict:
        """A past of length zero for every layer that owns K and V."""
        return {node.name: np.zeros((1, node.shape[1], 0, node.shape[3]), np.float32)
                for node in self.decoder.get_inputs() if node.name.startswith("past_key_values")}

    def step(self, embeds: np.ndarray, per_layer: np.ndarray, past: dict, keep: int = 1) -> tuple:
        """Logits of the last `keep` rows (0: all) and the longer past."""
        before = next(iter(past.values())).shape[2]
        total = before + embeds.shape[1]
        feed = {"inputs_embeds": embeds, "per_layer_inputs": per_layer, "attention_mask": np.ones((1, total), np.int64),
                "position_ids": np.arange(before, total, dtype=np.int64)[None],
                "num_logits_to_keep": np.array(keep, np.int64), **past}
        outputs = dict(zip([node.name for node in self.decoder.get_outputs()], self.decoder.run(None, feed)))
        logits = outputs.pop("logits")
        return logits, {name.replace("present", "past_key_values"): value for name, value in outputs.items()}

    def greedy(self, prompt: list, limit: int = 60, features: np.ndarray | None = None) -> list:
        """The most likely continuation, up to and including a stop token."""
        logits, past = self.step(*self.embed(prompt, features), self.empty_past())
        written = [int(logits[0, -1].argmax())]
        while written[-1] not in self.stops and len(written) < limit:
            logits, past = self.step(*self.embed(written[-1:]), past)
            written.append(int(logits[0, -1].argmax()))
        return written
