"""The published sizes as the graphs see them: every dimension of the text model, and its config.json."""

from dataclasses import dataclass
from types import SimpleNamespace

from decoder import GLOBAL, TextShape

SLIDING = "sliding_attention"
VOCABULARY = 262_144
GLOBAL_HEAD_DIM = 512
HEAD_DIM = 256
CONTROL_IDS = {
    "<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4, "<|tool>": 46, "<tool|>": 47, "<|tool_call>": 48,
    "<tool_call|>": 49, "<|tool_response>": 50, "<tool_response|>": 51, '<|"|>': 52, "<|think|>": 98,
    "<|channel>": 100, "<channel|>": 101, "<|turn>": 105, "<turn|>": 106, "<|image>": 255_999, "<|audio>": 256_000,
    "<|image|>": 258_880, "<|audio|>": 258_881, "<image|>": 258_882, "<audio|>": 258_883, "<|video|>": 258_884}


@dataclass(frozen=True)
class Size:
    """One published size. Lengths are in elements, `context` in tokens."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    global_kv_heads: int
    inner: int
    period: int
    """Every so many layers one is global."""
    window: int
    shared_layers: int
    per_layer: int
    context: int
    double_wide: bool = False
    """Whether layers without K and V of their own have twice the inner width."""

    @property
    def owners(self) -> int:
        return self.layers - self.shared_layers

    @property
    def is_large(self) -> bool:
        """Whether values are keys in global layers, and pictures see themselves."""
        return self.per_layer == 0

    def kinds(self) -> list:
        return [SLIDING if (layer + 1) % self.period else GLOBAL for layer in range(self.layers)]

    def width(self, layer: int) -> int:
        """Inner width of the MLP."""
        return self.inner * (2 if self.double_wide and layer >= self.owners else 1)


SIZES = {size.name: size for size in (
    Size("e2b", 35, 1536, 8, 1, 1, 6144, 5, 512, 20, 256, 131_072, double_wide=True),
    Size("e4b", 42, 2560, 8, 2, 2, 10_240, 6, 512, 18, 256, 131_072),
    Size("12b", 48, 3840, 16, 8, 1, 15_360, 6, 1024, 0, 0, 262_144),
    Size("31b", 60, 5376, 32, 16, 4, 21_504, 6, 1024, 0, 0, 262_144),
)}
"""Without 26B-A4B: no published graph computes its experts sparsely, so its figures would say nothing."""


def text_fields(size: Size) -> dict:
    """`text_config` in the form of the released files."""
    return {
        "model_type": "gemma4_text", "vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size": size.hidden, "num_hidden_layers": size.layers, "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads, "num_kv_shared_layers": size.shared_layers, "head_dim": HEAD_DIM,
        "global_head_dim": GLOBAL_HEAD_DIM,
        "num_global_key_value_heads": size.global_kv_heads if size.is_large else None,
        "intermediate_size": size.inner, "use_double_wide_mlp": size.double_wide,
        "hidden_size_per_layer_input": size.per_layer, "layer_types": size.kinds(), "sliding_window": size.window,
        "attention_k_eq_v": size.is_large, "use_bidirectional_attention": "vision" if size.is_large else None,
        "enable_moe_block": False, "max_position_embeddings": size.context, "final_logit_softcapping": 30.0,
        "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
        "pad_token_id": CONTROL_IDS["<pad>"], "bos_token_id": CONTROL_IDS["<bos>"],
        "eos_token_id": CONTROL_IDS["<eos>"],
        "rope_parameters": {
            SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
            GLOBAL: {"rope_type": "proportional", "rope_theta": 1_000_000.0, "partial_rotary_factor": 0.25}}}


def token_fields() -> dict:
    """Ids of the placeholders of media."""
    return {"boi_token_id": CONTROL_IDS["<|image>"], "image_token_id": CONTROL_IDS["<|image|>"],
            "eoi_token_id": CONTROL_IDS["<image|>"], "boa_token_id": CONTROL_IDS["<|audio>"],
            "audio_token_id": CONTROL_IDS["<|audio|>"], "eoa_token_index": CONTROL_IDS["<audio|>"],
            "video_token_id": CONTROL_IDS["<|video|>"]}


def config_json(size: Size) -> dict:
    """config.json of a folder without encoders."""
    kind = "gemma4_unified" if size.name == "12b" else "gemma4"
    return {"model_type": kind, "architectures": ["Gemma4ForConditionalGeneration"], "tie_word_embeddings": True,
            "eos_token_id": [CONTROL_IDS["<eos>"], CONTROL_IDS["<turn|>"]], "pad_token_id": CONTROL_IDS["<pad>"],
            "bos_token_id": CONTROL_IDS["<bos>"], "text_config": text_fields(size), **token_fields()}


def text_shape(size: Size) -> TextShape:
    """What the graph writers read, without transformers' configuration classes."""
    heads = [size.kv_heads if kind == SLIDING else size.global_kv_heads for kind in size.kinds()]
    layers = [SimpleNamespace(head_dim=HEAD_DIM if kind == SLIDING else GLOBAL_HEAD_DIM, num_key_value_heads=count)
              for kind, count in zip(size.kinds(), heads)]
    config = SimpleNamespace(**text_fields(size), per_layer_config=layers)
    return TextShape(config, GLOBAL_HEAD_DIM, SimpleNamespace(**token_fields()))


def products(size: Size) -> dict:
    """Every matrix that a decoder multiplies by, [outputs, inputs], by its name."""
    hidden, shape = size.hidden, text_shape(size)
    found = {}
    if size.per_layer:
        found["per_layer_model_projection.weight"] = (size.layers * size.per_layer, hidden)
    for layer in range(size.layers):
        name, head_dim = f"layers.{layer}.", shape.head_dim(layer)
        found[f"{name}self_attn.q_proj.weight"] = (size.heads * head_dim, hidden)
        if layer < size.owners:
            width = shape.kv_heads(layer) * head_dim
            found[f"{name}self_attn.k_proj.weight"] = (width, hidden)
            if not shape.values_are_keys(layer):
                found[f"{name}self_attn.v_proj.weight"] = (width, hidden)
        found[f"{name}self_attn.o_proj.weight"] = (hidden, size.heads * head_dim)
        found[f"{name}mlp.gate_proj.weight"] = found[f"{name}mlp.up_proj.weight"] = (size.width(layer), hidden)
        found[f"{name}mlp.down_proj.weight"] = (hidden, size.width(layer))
        if size.per_layer:
            found[f"{name}per_layer_input_gate.weight"] = (size.per_layer, hidden)
            found[f"{name}per_layer_projection.weight"] = (hidden, size.per_layer)
    found["embed_tokens.weight"] = (VOCABULARY, hidden)
    return found


def tables(size: Size) -> dict:
    """Embedding tables [tokens, width] by name."""
    found = {"embed_tokens.weight": (VOCABULARY, size.hidden)}
    if size.per_layer:
        found["embed_tokens_per_layer.weight"] = (VOCABULARY, size.layers * size.per_layer)
    return found


def vectors(size: Size) -> dict:
    """Lengths of the weights of norms and scalars by name."""
    shape, hidden = text_shape(size), size.hidden
    found = {"norm.weight": hidden}
    if size.per_layer:
        found["per_layer_projection_norm.weight"] = size.per_layer
    for layer in range(size.layers):
        name = f"layers.{layer}."
        parts = ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                 "post_feedforward_layernorm"] + (["post_per_layer_input_norm"] if size.per_layer else [])
        found |= {f"{name}{part}.weight": hidden for part in parts}
        found[f"{name}self_attn.q_norm.weight"] = shape.head_dim(layer)
        if layer < size.owners:
            found[f"{name}self_attn.k_norm.weight"] = shape.head_dim(layer)
        found[f"{name}layer_scalar"] = 1
    return found
