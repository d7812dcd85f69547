"""Writes `decoder_model_merged` and `embed_tokens` directly as ONNX nodes, with standard operators only.

The arithmetic follows transformers' Gemma 4 text model; names of inputs and outputs follow the published
onnx-community graphs. K and V grow by concatenation; masks and rotary angles are computed in the graph.
"""

import math

import numpy as np
from onnx import TensorProto

from graph import OPSET, Graph

F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
HIDDEN_FROM = -3.0e38
"""Additive mask of invisible keys: finite, so that a wholly hidden block cannot give NaN."""
TO_END = 2**63 - 1
GLOBAL = "full_attention"


class TextShape:
    """The sizes of the text model as the graph needs them."""

    def __init__(self, config, global_head_dim: int, tokens=None) -> None:
        """`tokens` is the whole configuration, which names the placeholder ids."""
        self.config, self.tokens = config, tokens
        self.hidden, self.layers, self.heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
        self.vocabulary = config.vocab_size
        self.per_layer = getattr(config, "hidden_size_per_layer_input", 0) or 0
        self.owners = config.num_hidden_layers - config.num_kv_shared_layers
        self.head_dims = {"sliding_attention": config.per_layer_config[0].head_dim, GLOBAL: global_head_dim}
        self.has_experts = bool(getattr(config, "enable_moe_block", False))
        self.sees_blocks = config.use_bidirectional_attention == "vision"

    def kind(self, layer: int) -> str:
        return self.config.layer_types[layer]

    def head_dim(self, layer: int) -> int:
        return self.head_dims[self.kind(layer)]

    def kv_heads(self, layer: int) -> int:
        return self.config.per_layer_config[layer].num_key_value_heads

    def values_are_keys(self, layer: int) -> bool:
        """Whether V is the raw projection of K."""
        return self.config.attention_k_eq_v and self.kind(layer) == GLOBAL

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

    opset = OPSET

    def __init__(self, shape: TextShape, weights: dict, half: bool = True) -> None:
        self.shape, self.weights = shape, weights
        self.graph = Graph("decoder_model_merged", self.opset, half)
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
        self.declare_inputs()
        self.prepare_rotation()
        self.prepare_masks()
        per_layer = self.per_layer_inputs()
        value = self.embeddings()
        for layer in range(self.shape.layers):
            value = self.block(layer, value, per_layer[layer])
        value = self.linear(self.norm(self.kept(value), "norm.weight"), "embed_tokens.weight")
        cap, op = self.real(self.shape.config.final_logit_softcapping), self.graph.op
        op("Mul", [op("Tanh", [op("Div", [value, cap])]), cap], name="softcap", outputs=["logits"])
        self.declare_outputs()
        return self.graph

    def embeddings(self) -> str:
        """The stream [batch, length, hidden] that the first layer reads."""
        return "inputs_embeds"

    def kept(self, value: str) -> str:
        """The rows for which logits are wanted."""
        op = self.graph.op
        start = self.reshape(op("Neg", ["num_logits_to_keep"]), [1])
        ends = [self.graph.constant([TO_END]), self.graph.constant([1])]
        return op("Slice", [value, start, *ends], name="keep_last")

    def declare_inputs(self) -> None:
        shape, declare = self.shape, self.graph.input
        batch, length = "batch_size", "sequence_length"
        declare("inputs_embeds", F32, [batch, length, shape.hidden])
        if shape.per_layer:
            declare("per_layer_inputs", F32, [batch, length, shape.layers, shape.per_layer])
        declare("attention_mask", I64, [batch, "total_sequence_length"])
        declare("position_ids", I64, [batch, length])
        if shape.sees_blocks:
            declare("input_ids", I64, [batch, length])
        declare("num_logits_to_keep", I64, [])
        self.declare_past()

    def declare_past(self) -> None:
        shape = self.shape
        for layer in range(shape.owners):
            for part in ("key", "value"):
                dims = ["batch_size", shape.kv_heads(layer), "past_sequence_length", shape.head_dim(layer)]
                self.graph.input(f"past_key_values.{layer}.{part}", F32, dims)

    def declare_outputs(self) -> None:
        shape, declare = self.shape, self.graph.output
        declare("logits", F32, ["batch_size", "num_logits", shape.vocabulary])
        for layer in range(shape.owners):
            for part in ("key", "value"):
                declare(f"present.{layer}.{part}", F32,
                        ["batch_size", shape.kv_heads(layer), "total_sequence_length", shape.head_dim(layer)])

    def prepare_rotation(self) -> None:
        """Cosines and sines [batch, length, 1, head_dim] per layer kind."""
        op, self.rotation = self.graph.op, {}
        positions = op("Cast", ["position_ids"], to=F32)
        positions = op("Unsqueeze", [positions, self.graph.constant([2])])
        for kind in ("sliding_attention", GLOBAL):
            half = self.shape.inverse_frequencies(kind)
            frequencies = self.graph.initializer(f"frequencies.{kind}", np.concatenate([half, half])[None, None])
            angles = op("Unsqueeze", [op("Mul", [positions, frequencies]), self.graph.constant([2])])
            self.rotation[kind] = op("Cos", [angles]), op("Sin", [angles])

    def prepare_masks(self) -> None:
        """Additive masks [batch, 1, length, total]: causal, unpadded, and within the window for sliding layers."""
        op, constant = self.graph.op, self.graph.constant
        total = op("Gather", [op("Shape", ["attention_mask"]), constant(1)], axis=0)
        length = op("Gather", [op("Shape", [self.stream()]), constant(1)], axis=0)
        key = op("Unsqueeze", [op("Range", [constant(0), total, constant(1)]), constant([0])])
        query = op("Add", [op("Range", [constant(0), length, constant(1)]), op("Sub", [total, length])])
        query = op("Unsqueeze", [query, constant([1])])
        causal = op("Unsqueeze", [op("Not", [op("Greater", [key, query])]), constant([0, 1])])
        near = op("Less", [op("Sub", [query, key]), constant(self.shape.config.sliding_window)])
        real = op("Unsqueeze", [op("Cast", ["attention_mask"], to=BOOL), constant([1, 2])])
        visible = op("And", [causal, real])
        if self.shape.sees_blocks:
            window = op("And", [op("And", [op("Or", [causal, self.same_block(total, length)]), real]),
                                op("Unsqueeze", [near, constant([0, 1])])])
        else:
            window = op("And", [visible, op("Unsqueeze", [near, constant([0, 1])])])
        self.masks = {kind: op("Where", [seen, self.real(0.0), self.real(HIDDEN_FROM)], name=f"mask.{kind}")
                      for kind, seen in ((GLOBAL, visible), ("sliding_attention", window))}

    def stream(self) -> str:
        """An input of the form [batch, length, ...]."""
        return "inputs_embeds"

    def same_block(self, total: str, length: str) -> str:
        """Which keys lie in the same picture as the query, [batch, 1, length, total] bool.

        A picture is never cut, so no key of the past is in it.
        """
        op, constant = self.graph.op, self.graph.constant
        places = [op("Equal", ["input_ids", constant(place)]) for place in self.placeholders()]
        soft = places[0] if len(places) == 1 else op("Or", places)
        number = op("Cast", [soft], to=I64)
        before = op("Pad", [number, constant([0, 1, 0, -1])])
        starts = op("Mul", [number, op("Sub", [constant(1), before])])
        block = op("Mul", [op("CumSum", [starts, constant(1)]), number])
        row, column = op("Unsqueeze", [block, constant([2])]), op("Unsqueeze", [block, constant([1])])
        same = op("And", [op("Equal", [row, column]), op("Greater", [row, constant(0)])])
        past = self.reshape(op("Sub", [total, length]), [1])
        pads = op("Concat", [constant([0, 0]), past, constant([0, 0, 0])], axis=0)
        padded = op("Cast", [op("Pad", [op("Cast", [same], to=I64), pads])], to=BOOL)
        return op("Unsqueeze", [padded, constant([1])])

    def placeholders(self) -> list:
        """Ids that stand for soft tokens of pictures."""
        return [self.shape.tokens.image_token_id, self.shape.tokens.video_token_id]

    def per_layer_inputs(self) -> list:
        """The projection of the embeddings combined with the token part, one [batch, length, width] per layer."""
        shape, op = self.shape, self.graph.op
        if not shape.per_layer:
            return [None] * shape.layers
        both = self.combined("inputs_embeds", "per_layer_inputs")
        return [op("Gather", [both, self.graph.constant(layer)], axis=2) for layer in range(shape.layers)]

    def combined(self, embeds: str, token_part: str) -> str:
        """The complete per-layer inputs [batch, length, layers, width]."""
        shape, op = self.shape, self.graph.op
        projected = self.linear(embeds, "per_layer_model_projection.weight")
        projected = op("Mul", [projected, self.real(shape.hidden ** -0.5)])
        projected = self.reshape(projected, [0, 0, shape.layers, shape.per_layer])
        projected = self.norm(projected, "per_layer_projection_norm.weight")
        return op("Mul", [op("Add", [projected, token_part]), self.real(2 ** -0.5)])

    def block(self, layer: int, value: str, per_layer: str | None) -> str:
        """One decoder layer: attention, MLP, experts, per-layer input, scalar."""
        op, name = self.graph.op, f"layers.{layer}."
        branch = self.attention(layer, self.norm(value, name + "input_layernorm.weight"))
        value, branch = self.joined(value, self.norm(branch, name + "post_attention_layernorm.weight"),
                                    name + "pre_feedforward_layernorm.weight")
        branch = self.feed_forward(branch, name)
        if self.shape.has_experts:
            branch = self.norm(branch, name + "post_feedforward_layernorm_1.weight")
            mixed = self.norm(self.experts(value, name), name + "post_feedforward_layernorm_2.weight")
            branch = op("Add", [branch, mixed])
        value = op("Add", [value, self.norm(branch, name + "post_feedforward_layernorm.weight")])
        if per_layer is not None:
            branch = self.gelu(self.linear(value, name + "per_layer_input_gate.weight"))
            branch = self.linear(op("Mul", [branch, per_layer]), name + "per_layer_projection.weight")
            value = op("Add", [value, self.norm(branch, name + "post_per_layer_input_norm.weight")])
        scalar = self.graph.weight(name + "layer_scalar", self.weights[name + "layer_scalar"])
        return op("Mul", [value, scalar], name=f"layers.{layer}/out")

    def joined(self, value: str, branch: str, name: str) -> tuple:
        """The stream with a branch added, and its norm."""
        value = self.graph.op("Add", [value, branch])
        return value, self.norm(value, name)

    def feed_forward(self, value: str, name: str) -> str:
        """The gated MLP."""
        gate = self.gelu(self.linear(value, name + "mlp.gate_proj.weight"))
        branch = self.graph.op("Mul", [gate, self.linear(value, name + "mlp.up_proj.weight")])
        return self.linear(branch, name + "mlp.down_proj.weight")

    def experts(self, value: str, name: str) -> str:
        """Every expert on every token, weighted by the router: exact, and cheap for a handful of experts."""
        op, constant, width = self.graph.op, self.graph.constant, self.shape.config.moe_intermediate_size
        turned = lambda part: self.graph.weight(f"{name}experts.{part}.transposed",
                                                self.weights[f"{name}experts.{part}"].transpose(0, 2, 1))
        branch = self.norm(value, name + "pre_feedforward_layernorm_2.weight")
        both = op("MatMul", [op("Unsqueeze", [branch, constant([1])]), turned("gate_up_proj")])
        gate, up = op("Split", [both, constant([width, width])], outputs=2, axis=-1)
        each = op("MatMul", [op("Mul", [self.gelu(gate), up]), turned("down_proj")])
        share = op("Transpose", [self.route(value, name)], perm=[0, 2, 1])
        each = op("Mul", [each, op("Unsqueeze", [share, constant([3])])])
        return op("ReduceSum", [each, constant([1])], keepdims=0)

    def route(self, value: str, name: str) -> str:
        """Each expert's share [batch, length, experts]; zero for those that were not chosen."""
        op, weights = self.graph.op, self.weights
        factor = weights[name + "router.scale"] * np.float32(self.shape.hidden ** -0.5)
        value = op("Mul", [self.router_norm(value), self.graph.weight(name + "router.factor", factor)])
        share = op("Softmax", [self.linear(value, name + "router.proj.weight")], axis=-1)
        count = self.graph.constant([self.shape.config.top_k_experts])
        best, places = op("TopK", [share, count], outputs=2, axis=-1)
        best = op("Div", [best, op("ReduceSum", [best, self.graph.constant([-1])], keepdims=1)])
        chosen = op("ScatterElements", [op("Mul", [share, self.real(0.0)]), places, best], axis=-1)
        scale = self.graph.weight(name + "router.per_expert_scale", weights[name + "router.per_expert_scale"])
        return op("Mul", [chosen, scale])

    def router_norm(self, value: str) -> str:
        """The norm before the router, without weights."""
        return self.norm(value, None)

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

    def fresh(self, layer: int, value: str, name: str) -> tuple:
        """K, normed but not yet rotated, and V of an owning layer, both [batch, length, heads, head_dim]."""
        count = self.shape.kv_heads(layer)
        raw = self.linear(value, name + "k_proj.weight")
        key = self.norm(self.heads(raw, count, layer), name + "k_norm.weight")
        if not self.shape.values_are_keys(layer):
            raw = self.linear(value, name + "v_proj.weight")
        return key, self.value_norm(self.heads(raw, count, layer), layer)

    def value_norm(self, value: str, layer: int) -> str:
        """The norm of V, without weights."""
        return self.norm(value, None)

    def keys_and_values(self, layer: int, value: str, name: str) -> tuple:
        """K and V of an owning layer, appended to its past."""
        op = self.graph.op
        key, fresh = self.fresh(layer, value, name)
        fresh = op("Transpose", [fresh], perm=[0, 2, 1, 3])
        parts = (("key", self.rotate(key, layer)), ("value", fresh))
        return tuple(op("Concat", [f"past_key_values.{layer}.{part}", new], axis=2, outputs=[f"present.{layer}.{part}"])
                     for part, new in parts)

    def attention(self, layer: int, value: str) -> str:
        """Attention with softmax scale 1."""
        shape, name = self.shape, f"layers.{layer}.self_attn."
        query = self.heads(self.linear(value, name + "q_proj.weight"), shape.heads, layer)
        query = self.norm(query, name + "q_norm.weight")
        mixed = self.attend(layer, query, value, name)
        return self.linear(mixed, name + "o_proj.weight")

    def attend(self, layer: int, query: str, value: str, name: str) -> str:
        """Mixes values [batch, length, heads * head_dim] for a normed query [batch, length, heads, head_dim]."""
        op, shape = self.graph.op, self.shape
        query = self.rotate(query, layer)
        if layer < shape.owners:
            self.past[layer] = self.keys_and_values(layer, value, name)
        key, content = (self.repeated(part, layer) for part in self.past[shape.donor(layer)])
        scores = op("MatMul", [query, op("Transpose", [key], perm=[0, 1, 3, 2])])
        scores = op("Add", [scores, self.masks[shape.kind(layer)]])
        mixed = op("MatMul", [op("Softmax", [scores], axis=-1), content])
        mixed = op("Transpose", [mixed], perm=[0, 2, 1, 3])
        return self.reshape(mixed, [0, 0, shape.heads * shape.head_dim(layer)])

    def repeated(self, part: str, layer: int) -> str:
        """K or V with each head as often as query heads read it; a single one is broadcast."""
        op, constant, count = self.graph.op, self.graph.constant, self.shape.kv_heads(layer)
        if count == 1:
            return part
        times = self.shape.heads // count
        copies = op("Expand", [op("Unsqueeze", [part, constant([2])]), constant([1, 1, times, 1, 1])])
        return self.reshape(copies, [0, self.shape.heads, -1, self.shape.head_dim(layer)])


def embed_tokens(shape: TextShape, weights: dict, half: bool = True) -> Graph:
    """The embedding graph: scaled word rows, and the token part of the per-layer inputs."""
    graph = Graph("embed_tokens", half=half)
    ids = graph.input("input_ids", I64, ["batch_size", "sequence_length"])
    tables = [("embed_tokens.weight", shape.hidden, "inputs_embeds", [0, 0, shape.hidden])]
    if shape.per_layer:
        tables.append(("embed_tokens_per_layer.weight", shape.per_layer, "per_layer_inputs",
                       [0, 0, shape.layers, shape.per_layer]))
    for name, width, output, dims in tables:
        # Rows are gathered before they are widened, so that the table itself stays fp16.
        table = weights[name].astype(np.float16) if half else weights[name]
        rows = graph.op("Gather", [graph.initializer(name, table), ids], axis=0)
        rows = graph.op("Cast", [rows], to=F32) if half else rows
        rows = graph.op("Mul", [rows, graph.constant(width ** 0.5, np.float32)])
        graph.op("Reshape", [rows, graph.constant(dims)], outputs=[output])
    graph.output("inputs_embeds", F32, ["batch_size", "sequence_length", shape.hidden])
    if shape.per_layer:
        graph.output("per_layer_inputs", F32, ["batch_size", "sequence_length", shape.layers, shape.per_layer])
    return graph
