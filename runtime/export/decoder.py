"""Writes `decoder_model_merged` and `embed_tokens` directly as ONNX nodes, with standard operators only.

The arithmetic follows transformers' Gemma 4 text model; names of inputs and outputs follow the published
onnx-community graphs. K and V grow by concatenation; masks and rotary angles are computed in the graph.
"""

import math

import numpy as np
from onnx import TensorProto

from graph import Graph

F32, I64 = TensorProto.FLOAT, TensorProto.INT64
HIDDEN_FROM = -3.0e38
"""Additive mask of invisible keys: finite, so that a wholly hidden block cannot give NaN."""
TO_END = 2**63 - 1


class TextShape:
    """The sizes of the text model as the graph needs them."""

    def __init__(self, config, global_head_dim: int) -> None:
        self.config = config
        self.hidden, self.layers, self.heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
        self.kv_heads, self.vocabulary = config.num_key_value_heads, config.vocab_size
        self.per_layer = config.hidden_size_per_layer_input
        self.owners = config.num_hidden_layers - config.num_kv_shared_layers
        self.head_dims = {"sliding_attention": config.per_layer_config[0].head_dim, "full_attention": global_head_dim}

    def kind(self, layer: int) -> str:
        return self.config.layer_types[layer]

    def head_dim(self, layer: int) -> int:
        return self.head_dims[self.kind(layer)]

    def donor(self, layer: int) -> int:
        """The layer whose K and V this one reads."""
        if layer < self.owners:
            return layer
        return max(i for i in range(self.owners) if self.kind(i) == self.kind(layer))

    def inverse_frequencies(self, kind: str) -> np.ndarray:
        """Rotary frequencies [head_dim / 2]; the global ones turn only a quarter of the pairs."""
        rope, dim = self.config.rope_parameters[kind], self.head_dims[kind]
        turning = int(rope.get("partial_rotary_factor", 1.0) * dim // 2)
        turned = rope["rope_theta"] ** -(np.arange(0, 2 * turning, 2) / dim)
        return np.concatenate([turned, np.zeros(dim // 2 - turning)]).astype(np.float32)


class Decoder:
    """Builds the decoder graph from a state dictionary of numpy arrays."""

    def __init__(self, shape: TextShape, weights: dict) -> None:
        self.shape, self.weights = shape, weights
        self.graph = Graph("decoder_model_merged")
        self.past = {}

    def real(self, value) -> str:
        return self.graph.constant(value, np.float32)

    def reshape(self, value: str, shape: list) -> str:
        return self.graph.op("Reshape", [value, self.graph.constant(shape)])

    def linear(self, value: str, name: str) -> str:
        return self.graph.op("MatMul", [value, self.graph.weight(f"{name}.transposed", self.weights[name].T)],
                             name=f"{name}/MatMul")

    def norm(self, value: str, name: str | None) -> str:
        """RMS norm over the last axis, with a learned factor where `name` is given."""
        op = self.graph.op
        mean = op("ReduceMean", [op("Mul", [value, value])], axes=[-1], keepdims=1)
        scaled = op("Div", [value, op("Sqrt", [op("Add", [mean, self.real(self.shape.config.rms_norm_eps)])])])
        if name is None:
            return scaled
        return op("Mul", [scaled, self.graph.weight(name, self.weights[name])], name=f"{name}/Mul")

    def gelu(self, value: str) -> str:
        """GELU in its tanh form."""
        op = self.graph.op
        cube = op("Mul", [op("Mul", [value, value]), value])
        inner = op("Add", [value, op("Mul", [cube, self.real(0.044715)])])
        squashed = op("Tanh", [op("Mul", [inner, self.real(math.sqrt(2 / math.pi))])])
        return op("Mul", [op("Mul", [value, self.real(0.5)]), op("Add", [squashed, self.real(1.0)])])

    def build(self) -> Graph:
        shape, op = self.shape, self.graph.op
        self.declare_inputs()
        self.prepare_rotation()
        self.prepare_masks()
        per_layer = self.per_layer_inputs()
        value = "inputs_embeds"
        for layer in range(shape.layers):
            value = self.block(layer, value, per_layer[layer])
        start = self.reshape(op("Neg", ["num_logits_to_keep"]), [1])
        value = op("Slice", [value, start, self.graph.constant([TO_END]), self.graph.constant([1])], name="keep_last")
        value = self.linear(self.norm(value, "norm.weight"), "embed_tokens.weight")
        cap = self.real(shape.config.final_logit_softcapping)
        op("Mul", [op("Tanh", [op("Div", [value, cap])]), cap], name="softcap", outputs=["logits"])
        self.declare_outputs()
        return self.graph

    def declare_inputs(self) -> None:
        shape, declare = self.shape, self.graph.input
        batch, length = "batch_size", "sequence_length"
        declare("inputs_embeds", F32, [batch, length, shape.hidden])
        declare("per_layer_inputs", F32, [batch, length, shape.layers, shape.per_layer])
        declare("attention_mask", I64, [batch, "total_sequence_length"])
        declare("position_ids", I64, [batch, length])
        declare("num_logits_to_keep", I64, [])
        for layer in range(shape.owners):
            for part in ("key", "value"):
                declare(f"past_key_values.{layer}.{part}", F32,
                        [batch, shape.kv_heads, "past_sequence_length", shape.head_dim(layer)])

    def declare_outputs(self) -> None:
        shape, declare = self.shape, self.graph.output
        declare("logits", F32, ["batch_size", "num_logits", shape.vocabulary])
        for layer in range(shape.owners):
            for part in ("key", "value"):
                declare(f"present.{layer}.{part}", F32,
                        ["batch_size", shape.kv_heads, "total_sequence_length", shape.head_dim(layer)])

    def prepare_rotation(self) -> None:
        """Cosines and sines [batch, length, 1, head_dim] per layer kind."""
        op, self.rotation = self.graph.op, {}
        positions = op("Cast", ["position_ids"], to=F32)
        positions = op("Unsqueeze", [positions, self.graph.constant([2])])
        for kind in ("sliding_attention", "full_attention"):
            half = self.shape.inverse_frequencies(kind)
            frequencies = self.graph.initializer(f"frequencies.{kind}", np.concatenate([half, half])[None, None])
            angles = op("Unsqueeze", [op("Mul", [positions, frequencies]), self.graph.constant([2])])
            self.rotation[kind] = op("Cos", [angles]), op("Sin", [angles])

    def prepare_masks(self) -> None:
        """Additive masks [batch, 1, length, total]: causal, unpadded, and within the window for sliding layers."""
        op, constant = self.graph.op, self.graph.constant
        total = op("Gather", [op("Shape", ["attention_mask"]), constant(1)], axis=0)
        length = op("Gather", [op("Shape", ["inputs_embeds"]), constant(1)], axis=0)
        key = op("Unsqueeze", [op("Range", [constant(0), total, constant(1)]), constant([0])])
        query = op("Add", [op("Range", [constant(0), length, constant(1)]), op("Sub", [total, length])])
        query = op("Unsqueeze", [query, constant([1])])
        causal = op("Unsqueeze", [op("Not", [op("Greater", [key, query])]), constant([0, 1])])
        near = op("Less", [op("Sub", [query, key]), constant(self.shape.config.sliding_window)])
        real = op("Unsqueeze", [op("Cast", ["attention_mask"], to=TensorProto.BOOL), constant([1, 2])])
        visible = op("And", [causal, real])
        window = op("And", [visible, op("Unsqueeze", [near, constant([0, 1])])])
        self.masks = {kind: op("Where", [seen, self.real(0.0), self.real(HIDDEN_FROM)], name=f"mask.{kind}")
                      for kind, seen in (("full_attention", visible), ("sliding_attention", window))}

    def per_layer_inputs(self) -> list:
        """The projection of the embeddings combined with the token part, one [batch, length, width] per layer."""
        shape, op = self.shape, self.graph.op
        projected = self.linear("inputs_embeds", "per_layer_model_projection.weight")
        projected = op("Mul", [projected, self.real(shape.hidden ** -0.5)])
        projected = self.reshape(projected, [0, 0, shape.layers, shape.per_layer])
        projected = self.norm(projected, "per_layer_projection_norm.weight")
        both = op("Mul", [op("Add", [projected, "per_layer_inputs"]), self.real(2 ** -0.5)])
        return [op("Gather", [both, self.graph.constant(layer)], axis=2) for layer in range(shape.layers)]

    def block(self, layer: int, value: str, per_layer: str) -> str:
        """One decoder layer: attention, MLP, per-layer input, scalar."""
        op, name = self.graph.op, f"layers.{layer}."
        branch = self.attention(layer, self.norm(value, name + "input_layernorm.weight"))
        value = op("Add", [value, self.norm(branch, name + "post_attention_layernorm.weight")])
        branch = self.norm(value, name + "pre_feedforward_layernorm.weight")
        gate = self.gelu(self.linear(branch, name + "mlp.gate_proj.weight"))
        branch = op("Mul", [gate, self.linear(branch, name + "mlp.up_proj.weight")])
        branch = self.linear(branch, name + "mlp.down_proj.weight")
        value = op("Add", [value, self.norm(branch, name + "post_feedforward_layernorm.weight")])
        branch = self.gelu(self.linear(value, name + "per_layer_input_gate.weight"))
        branch = self.linear(op("Mul", [branch, per_layer]), name + "per_layer_projection.weight")
        value = op("Add", [value, self.norm(branch, name + "post_per_layer_input_norm.weight")])
        scalar = self.graph.weight(name + "layer_scalar", self.weights[name + "layer_scalar"])
        return op("Mul", [value, scalar], name=f"layers.{layer}/out")

    def heads(self, value: str, count: int, layer: int) -> str:
        return self.reshape(value, [0, 0, count, self.shape.head_dim(layer)])

    def rotate(self, value: str, layer: int) -> str:
        """Rotary embedding of [batch, length, heads, head_dim], then heads before length."""
        op, half = self.graph.op, self.shape.head_dim(layer) // 2
        cosine, sine = self.rotation[self.shape.kind(layer)]
        low, high = op("Split", [value, self.graph.constant([half, half])], outputs=2, axis=-1)
        turned = op("Concat", [op("Neg", [high]), low], axis=-1)
        value = op("Add", [op("Mul", [value, cosine]), op("Mul", [turned, sine])])
        return op("Transpose", [value], perm=[0, 2, 1, 3])

    def keys_and_values(self, layer: int, value: str, name: str) -> tuple:
        """K and V of an owning layer, appended to its past."""
        op, kv_heads = self.graph.op, self.shape.kv_heads
        key = self.norm(self.heads(self.linear(value, name + "k_proj.weight"), kv_heads, layer), name + "k_norm.weight")
        fresh = self.norm(self.heads(self.linear(value, name + "v_proj.weight"), kv_heads, layer), None)
        fresh = op("Transpose", [fresh], perm=[0, 2, 1, 3])
        parts = (("key", self.rotate(key, layer)), ("value", fresh))
        return tuple(op("Concat", [f"past_key_values.{layer}.{part}", new], axis=2, outputs=[f"present.{layer}.{part}"])
                     for part, new in parts)

    def attention(self, layer: int, value: str) -> str:
        """Attention with softmax scale 1; the one K/V head is broadcast over the query heads."""
        op, shape, name = self.graph.op, self.shape, f"layers.{layer}.self_attn."
        query = self.heads(self.linear(value, name + "q_proj.weight"), shape.heads, layer)
        query = self.rotate(self.norm(query, name + "q_norm.weight"), layer)
        if layer < shape.owners:
            self.past[layer] = self.keys_and_values(layer, value, name)
        key, content = self.past[shape.donor(layer)]
        scores = op("MatMul", [query, op("Transpose", [key], perm=[0, 1, 3, 2])])
        scores = op("Add", [scores, self.masks[shape.kind(layer)]])
        mixed = op("MatMul", [op("Softmax", [scores], axis=-1), content])
        mixed = op("Transpose", [mixed], perm=[0, 2, 1, 3])
        mixed = self.reshape(mixed, [0, 0, shape.heads * shape.head_dim(layer)])
        return self.linear(mixed, name + "o_proj.weight")


def embed_tokens(shape: TextShape, weights: dict) -> Graph:
    """The embedding graph: scaled word rows, and the token part of the per-layer inputs."""
    graph = Graph("embed_tokens")
    ids = graph.input("input_ids", I64, ["batch_size", "sequence_length"])
    per_layer = [0, 0, shape.layers, shape.per_layer]
    tables = (("embed_tokens.weight", shape.hidden, "inputs_embeds", [0, 0, shape.hidden]),
              ("embed_tokens_per_layer.weight", shape.per_layer, "per_layer_inputs", per_layer))
    for name, width, output, dims in tables:
        # Rows are gathered before they are widened, so that the table itself stays fp16.
        rows = graph.op("Gather", [graph.initializer(name, weights[name].astype(np.float16)), ids], axis=0)
        rows = graph.op("Mul", [graph.op("Cast", [rows], to=F32), graph.constant(width ** 0.5, np.float32)])
        graph.op("Reshape", [rows, graph.constant(dims)], outputs=[output])
    graph.output("inputs_embeds", F32, ["batch_size", "sequence_length", shape.hidden])
    graph.output("per_layer_inputs", F32, ["batch_size", "sequence_length", shape.layers, shape.per_layer])
    return graph
