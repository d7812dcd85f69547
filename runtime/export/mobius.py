"""Writes the graphs of the onnxruntime-genai layout, with the operators that its exporter (mobius) writes.

The decoder comes in the two forms that it has there: with GroupQueryAttention, which counts positions itself, or
with the standard Attention operator, whose mask holds the blocks of pictures.
"""

import numpy as np
from onnx import TensorProto, helper

from decoder import BOOL, F32, GLOBAL, I64, Decoder, TextShape
from graph import Graph

I32 = TensorProto.INT32
OPSET = 24
KINDS = {"sliding_attention": "local", GLOBAL: "global"}


class StandardDecoder(Decoder):
    """The form with the standard operators RMSNormalization, RotaryEmbedding, Gelu and Attention."""

    opset = OPSET

    def __init__(self, shape: TextShape, weights: dict) -> None:
        super().__init__(shape, weights, half=False)
        self.graph.name = "decoder"

    def norm(self, value: str, name: str | None) -> str:
        if name is None:
            raise ValueError("a norm without weights needs its width")
        factor = self.graph.weight(name, self.weights[name])
        return self.graph.op("RMSNormalization", [value, factor], axis=-1, epsilon=self.shape.config.rms_norm_eps)

    def plain_norm(self, value: str, width: int) -> str:
        """RMS norm whose weights are ones."""
        eps = self.shape.config.rms_norm_eps
        return self.graph.op("RMSNormalization", [value, self.ones(width)], axis=-1, epsilon=eps)

    def ones(self, width: int) -> str:
        return self.graph.initializer(f"ones.{width}", np.ones(width, np.float32))

    def value_norm(self, value: str, layer: int) -> str:
        return self.plain_norm(value, self.shape.head_dim(layer))

    def router_norm(self, value: str) -> str:
        return self.plain_norm(value, self.shape.hidden)

    def gelu(self, value: str) -> str:
        return self.graph.op("Gelu", [value], approximate="tanh")

    def joined(self, value: str, branch: str, name: str) -> tuple:
        factor = self.graph.weight(name, self.weights[name])
        total, normed = f"{name}/sum", f"{name}/normed"
        self.graph.op("SkipSimplifiedLayerNormalization", [value, branch, factor], outputs=[normed, "", "", total],
                      epsilon=self.shape.config.rms_norm_eps)
        return total, normed

    def kept(self, value: str) -> str:
        return value

    def declare_inputs(self) -> None:
        shape, declare = self.shape, self.graph.input
        batch, length = "batch", "sequence_len"
        declare("inputs_embeds", F32, [batch, length, shape.hidden])
        declare("attention_mask", I64, [batch, "past_seq_len + seq_len"])
        self.declare_positions()
        if shape.per_layer:
            declare("per_layer_inputs", F32, [batch, length, shape.layers * shape.per_layer])
        self.declare_past()

    def declare_positions(self) -> None:
        self.graph.input("position_ids", I64, ["batch", "sequence_len"])
        if self.shape.sees_blocks:
            self.graph.input("input_ids", I64, ["batch", "sequence_len"])

    def per_layer_inputs(self) -> list:
        shape = self.shape
        if not shape.per_layer:
            return [None] * shape.layers
        return self.sliced("per_layer_inputs")

    def sliced(self, complete: str) -> list:
        """Per-layer inputs [batch, length, layers * width] cut into one [batch, length, width] per layer."""
        constant, width = self.graph.constant, self.shape.per_layer
        cut = lambda layer: [constant([layer * width]), constant([(layer + 1) * width]), constant([2])]
        return [self.graph.op("Slice", [complete, *cut(layer)]) for layer in range(self.shape.layers)]

    def placeholders(self) -> list:
        """These graphs know no placeholder of their own for frames of films."""
        return [self.shape.tokens.image_token_id]

    def prepare_rotation(self) -> None:
        """Tables of cosines and sines [positions, head_dim / 2]."""
        places = np.arange(self.shape.config.max_position_embeddings)[:, None]
        for kind, name in KINDS.items():
            angles = (places * self.shape.inverse_frequencies(kind)[None]).astype(np.float32)
            self.graph.initializer(f"cos_cache_{name}", np.cos(angles))
            self.graph.initializer(f"sin_cache_{name}", np.sin(angles))

    def tables(self, layer: int) -> list:
        return [f"{part}_cache_{KINDS[self.shape.kind(layer)]}" for part in ("cos", "sin")]

    def rotate(self, value: str, layer: int) -> str:
        turned = self.graph.op("Transpose", [value], perm=[0, 2, 1, 3])
        return self.graph.op("RotaryEmbedding", [turned, *self.tables(layer), "position_ids"], interleaved=0)

    def attend(self, layer: int, query: str, value: str, name: str) -> str:
        op, shape = self.graph.op, self.shape
        query, mask = self.rotate(query, layer), self.masks[shape.kind(layer)]
        if layer < shape.owners:
            key, content = self.fresh(layer, value, name)
            content = op("Transpose", [content], perm=[0, 2, 1, 3])
            past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
            present = [f"present.{layer}.{part}" for part in ("key", "value")]
            self.past[layer] = present
            mixed = op("Attention", [query, self.rotate(key, layer), content, mask, *past],
                       outputs=[f"attention.{layer}", *present], is_causal=0, scale=1.0)[0]
        else:
            mixed = op("Attention", [query, *self.past[shape.donor(layer)], mask], is_causal=0, scale=1.0)
        mixed = op("Transpose", [mixed], perm=[0, 2, 1, 3])
        return self.reshape(mixed, [0, 0, shape.heads * shape.head_dim(layer)])


class GroupedDecoder(StandardDecoder):
    """The form with GroupQueryAttention; shared layers give it no new keys and the donor's as its past."""

    def declare_positions(self) -> None:
        pass

    def prepare_masks(self) -> None:
        """Lengths instead of masks: the operator knows the window and counts positions itself."""
        op, constant = self.graph.op, self.graph.constant
        count = op("ReduceSum", ["attention_mask", constant([1])], keepdims=0)
        self.last = op("Cast", [op("Sub", [count, constant(1)])], to=I32)
        self.total = op("Cast", [op("Gather", [op("Shape", ["attention_mask"]), constant(1)], axis=0)], to=I32)
        self.batch = op("Slice", [op("Shape", ["inputs_embeds"]), constant([0]), constant([1])])

    def nothing(self, width: int) -> str:
        """K or V of no tokens, [batch, 0, width]."""
        dims = self.graph.op("Concat", [self.batch, self.graph.constant([0, width])], axis=0)
        return self.graph.op("ConstantOfShape", [dims], value=helper.make_tensor("zero", F32, [1], [0]))

    def attend(self, layer: int, query: str, value: str, name: str) -> str:
        op, shape = self.graph.op, self.shape
        width = shape.kv_heads(layer) * shape.head_dim(layer)
        if layer < shape.owners:
            fresh = [self.reshape(part, [0, 0, width]) for part in self.fresh(layer, value, name)]
            past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
            self.past[layer] = [f"present.{layer}.{part}" for part in ("key", "value")]
            outputs = [f"attention.{layer}", *self.past[layer]]
        else:
            fresh, past = [self.nothing(width), self.nothing(width)], self.past[shape.donor(layer)]
            outputs = [f"attention.{layer}"]
        query = self.reshape(query, [0, 0, shape.heads * shape.head_dim(layer)])
        inputs = [query, *fresh, *past, self.last, self.total, *self.tables(layer), *self.extra_inputs(layer)]
        op("GroupQueryAttention", inputs, outputs=outputs, num_heads=shape.heads, kv_num_heads=shape.kv_heads(layer),
           scale=1.0, do_rotary=1, rotary_interleaved=0, **self.window(layer))
        return outputs[0]

    def extra_inputs(self, layer: int) -> list:
        """What the operator takes beyond the rotary tables."""
        return []

    def window(self, layer: int) -> dict:
        """The attribute that bounds a sliding layer."""
        is_global = self.shape.kind(layer) == GLOBAL
        return {} if is_global else {"local_window_size": self.shape.config.sliding_window}


class TextDecoder(StandardDecoder):
    """The single graph of a text-only conversion: token ids in, logits out."""

    def __init__(self, shape: TextShape, weights: dict) -> None:
        super().__init__(shape, weights)
        self.graph.name = "model"
        shape.sees_blocks = False

    def declare_inputs(self) -> None:
        self.graph.input("input_ids", I64, ["batch", "sequence_len"])
        self.graph.input("attention_mask", I64, ["batch", "past_seq_len + seq_len"])
        self.graph.input("position_ids", I64, ["batch", "sequence_len"])
        self.declare_past()
        self.words = rows(self.graph, "input_ids", "embed_tokens.weight", self.weights, self.shape.hidden)

    def stream(self) -> str:
        return "input_ids"

    def embeddings(self) -> str:
        return self.words

    def per_layer_inputs(self) -> list:
        shape = self.shape
        if not shape.per_layer:
            return [None] * shape.layers
        token_part = rows(self.graph, "input_ids", "embed_tokens_per_layer.weight", self.weights, shape.per_layer)
        token_part = self.reshape(token_part, [0, 0, shape.layers, shape.per_layer])
        complete = self.combined(self.words, token_part)
        return self.sliced(self.reshape(complete, [0, 0, shape.layers * shape.per_layer]))


def rows(graph: Graph, ids: str, name: str, weights: dict, width: int) -> str:
    """Rows of a table, scaled by the root of `width`."""
    found = graph.op("Gather", [graph.initializer(name, weights[name]), ids], axis=0)
    return graph.op("Mul", [found, graph.constant(width ** 0.5, np.float32)])


class Embedding(StandardDecoder):
    """The embedding graph, which puts features in place of placeholders and makes complete per-layer inputs."""

    def build(self, hears: bool) -> Graph:
        shape, graph, op = self.shape, self.graph, self.graph.op
        graph.name = "embedding"
        graph.input("input_ids", I64, ["batch", "sequence_len"])
        media = [("image", shape.tokens.image_token_id)] + ([("audio", shape.tokens.audio_token_id)] if hears else [])
        for kind, _ in media:
            graph.input(f"{kind}_features", F32, [f"num_{kind}_tokens", shape.hidden])
        soft = [op("Equal", ["input_ids", graph.constant(token)]) for _, token in media]
        pad = graph.constant(shape.config.pad_token_id)
        ids = "input_ids"
        for place in soft:
            ids = op("Where", [place, pad, ids])
        value = rows(graph, ids, "embed_tokens.weight", self.weights, shape.hidden)
        for place, (kind, _) in zip(soft, media):
            value = self.merged(value, place, f"{kind}_features")
        op("Identity", [value], outputs=["inputs_embeds"])
        graph.output("inputs_embeds", F32, ["batch", "sequence_len", shape.hidden])
        if shape.per_layer:
            token_part = rows(graph, ids, "embed_tokens_per_layer.weight", self.weights, shape.per_layer)
            token_part = self.reshape(token_part, [0, 0, shape.layers, shape.per_layer])
            width = shape.layers * shape.per_layer
            op("Reshape", [self.combined(value, token_part), graph.constant([0, 0, width])],
               outputs=["per_layer_inputs"])
            graph.output("per_layer_inputs", F32, ["batch", "sequence_len", width])
        return graph

    def merged(self, value: str, place: str, features: str) -> str:
        """The stream with the n-th row of `features` at the n-th place; a row of zeros follows the last."""
        op, constant = self.graph.op, self.graph.constant
        number = op("Sub", [op("CumSum", [op("Cast", [place], to=I64), constant(1)]), constant(1)])
        zeros = self.graph.initializer("zero_row", np.zeros((1, self.shape.hidden), np.float32))
        every = op("Concat", [features, zeros], axis=0)
        found = op("Gather", [every, op("Max", [number, constant(0)])], axis=0)
        return op("Where", [op("Unsqueeze", [place, constant([2])]), found, value])
