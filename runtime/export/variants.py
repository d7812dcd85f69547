"""The five published sizes in miniature: true architecture, every dimension cut down, seeded random weights."""

import math
from dataclasses import dataclass

import torch
from transformers import (Gemma4AudioConfig, Gemma4Config, Gemma4ForConditionalGeneration, Gemma4TextConfig,
                          Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration, Gemma4VisionConfig)
from transformers.models.gemma4_unified.configuration_gemma4_unified import (
    Gemma4UnifiedAudioConfig, Gemma4UnifiedTextConfig, Gemma4UnifiedVisionConfig)

WINDOW = 16
GLOBAL_HEAD_DIM = 32
HEAD_DIM = 16
CONTEXT_TOKENS = 448
"""Room for the longest case and its continuation; rotary tables of that many rows lie in the files."""


@dataclass(frozen=True)
class Variant:
    """What tells one size from the others, and how its folder is written."""

    name: str
    seed: int
    text: dict
    hears: bool
    template: str
    """Generation of its chat template, as named in `runtime/model/tests/fixtures/conversations`."""
    released_config: bool
    """Whether config.json has the released form (`global_head_dim`) or transformers' own (`per_layer_config`)."""
    global_kv_heads: int | None = None
    grouped: bool = False
    """Whether its layout A is written with GroupQueryAttention, as the published one, or with standard operators."""
    unified: bool = False
    whole_logits: bool = False
    """Whether the references keep every row of the short prompt's logits."""


def pattern(layers: int, period: int) -> list:
    """`period - 1` sliding layers, then a global one, again and again."""
    return ["sliding_attention" if (layer + 1) % period else "full_attention" for layer in range(layers)]


SMALL = {"use_bidirectional_attention": None, "attention_k_eq_v": False}
LARGE = {"use_bidirectional_attention": "vision", "attention_k_eq_v": True, "num_kv_shared_layers": 0,
         "num_hidden_layers": 12, "layer_types": pattern(12, 6), "hidden_size": 32, "num_attention_heads": 4,
         "num_key_value_heads": 2, "num_global_key_value_heads": 1, "intermediate_size": 32}
EXPERTS = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16}

VARIANTS = {variant.name: variant for variant in (
    Variant("e2b", 1, SMALL | {
        "num_hidden_layers": 10, "layer_types": pattern(10, 5), "num_kv_shared_layers": 5, "hidden_size": 32,
        "intermediate_size": 32, "use_double_wide_mlp": True, "num_attention_heads": 4, "num_key_value_heads": 1,
        "hidden_size_per_layer_input": 16}, True, "small.2026-07", True, grouped=True,
            whole_logits=True),
    Variant("e4b", 2, SMALL | {
        "num_hidden_layers": 12, "layer_types": pattern(12, 6), "num_kv_shared_layers": 6, "hidden_size": 32,
        "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_size_per_layer_input": 16}, True, "small.2026-05", False),
    Variant("12b", 3, LARGE, True, "large.2026-07", False, 1, unified=True),
    Variant("26b", 4, LARGE | EXPERTS, False, "large.2026-05", True, 1),
    Variant("31b", 5, LARGE, False, "large.2026-07", True, 1, whole_logits=True),
)}


def text_fields(variant: Variant, token_id: dict) -> dict:
    """The text configuration: what all sizes share, and what this one has of its own."""
    return {"vocab_size": len(token_id), "head_dim": HEAD_DIM, "global_head_dim": GLOBAL_HEAD_DIM,
            "sliding_window": WINDOW, "max_position_embeddings": CONTEXT_TOKENS, "final_logit_softcapping": 30.0,
            "tie_word_embeddings": True, "pad_token_id": token_id["<pad>"], "bos_token_id": token_id["<bos>"],
            "eos_token_id": token_id["<eos>"]} | variant.text


def token_fields(token_id: dict) -> dict:
    """Ids of the tokens that stand around and for media."""
    return {"boi_token_id": token_id["<|image>"], "image_token_id": token_id["<|image|>"],
            "eoi_token_id": token_id["<image|>"], "boa_token_id": token_id["<|audio>"],
            "audio_token_id": token_id["<|audio|>"], "eoa_token_index": token_id["<audio|>"],
            "video_token_id": token_id["<|video|>"]}


def unified_config(variant: Variant, token_id: dict) -> Gemma4UnifiedConfig:
    """The 12B: no towers, 48-pixel patches and frames of 640 samples."""
    text = Gemma4UnifiedTextConfig(**text_fields(variant, token_id))
    vision = Gemma4UnifiedVisionConfig(mm_embed_dim=8, mm_posemb_size=32, output_proj_dims=8)
    return Gemma4UnifiedConfig(text_config=text, vision_config=vision, audio_config=Gemma4UnifiedAudioConfig(),
                               **token_fields(token_id))


def tower_config(variant: Variant, token_id: dict) -> Gemma4Config:
    """Every other size: a vision tower, and an audio tower where it hears."""
    small = variant.hears
    fields = text_fields(variant, token_id)
    if small:
        fields["vocab_size_per_layer_input"] = len(token_id)
    else:
        fields["hidden_size_per_layer_input"] = 0
    vision = Gemma4VisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        head_dim=16, patch_size=16, pooling_kernel_size=3, position_embedding_size=64, use_clipped_linears=small,
        standardize=not small)
    audio = Gemma4AudioConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, subsampling_conv_channels=[128, 4],
        conv_kernel_size=5, attention_chunk_size=12, attention_context_left=13, output_proj_dims=48)
    return Gemma4Config(text_config=Gemma4TextConfig(**fields), vision_config=vision,
                        audio_config=audio if small else None, **token_fields(token_id))


@torch.no_grad()
def build(variant: Variant, token_id: dict):
    """The model of a variant, f32, with seeded weights."""
    torch.manual_seed(variant.seed)
    config = (unified_config if variant.unified else tower_config)(variant, token_id)
    config._attn_implementation = "eager"
    kind = Gemma4UnifiedForConditionalGeneration if variant.unified else Gemma4ForConditionalGeneration
    model = kind(config).eval().float()
    draw = torch.Generator().manual_seed(variant.seed)
    seen = set()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            spread(name, tensor, draw)
    model.tie_weights()
    return model


UNIFORM = {"input_min": (-6, -3), "input_max": (3, 6), "output_min": (-6, -3), "output_max": (3, 6),
           "layer_scalar": (0.6, 1.1), "per_expert_scale": (0.5, 1.5), "std_scale": (0.5, 1.5)}
NORMAL = {"per_dim_scale": 0.5, "std_bias": 0.3, "position_embedding_table": 0.5, "pos_embedding": 0.5}
"""Bounds and spreads by the last part of a name. Clip bounds are narrow enough to be met."""


def spread(name: str, tensor: torch.Tensor, draw: torch.Generator) -> None:
    """Draws one tensor so that every part of the model moves the logits, and none drowns the others."""
    last = name.rsplit(".", 1)[-1]
    if last in ("embed_scale", "softcap", "inv_timescales") or "inv_freq" in last:
        return
    if last in UNIFORM:
        uniform(tensor, *UNIFORM[last], draw)
    elif last in NORMAL:
        normal(tensor, NORMAL[last], draw)
    elif "embed_tokens_per_layer" in name:
        normal(tensor, 0.2, draw)
    elif "language_model" in name and ("q_norm" in name or "k_norm" in name):
        uniform(tensor, 0.3, 0.8, draw)  # the softmax scale is 1, so unit norms would point at single keys
    elif tensor.ndim == 1 and last != "bias":
        uniform(tensor, 0.5, 1.5, draw)
    elif tensor.ndim == 1:
        normal(tensor, 0.1, draw)
    else:
        inputs = tensor[0].numel() if tensor.ndim == 4 else tensor.shape[-1]
        normal(tensor, 1 / math.sqrt(inputs), draw)


def uniform(tensor: torch.Tensor, low: float, high: float, draw: torch.Generator) -> None:
    tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=draw))


def normal(tensor: torch.Tensor, deviation: float, draw: torch.Generator) -> None:
    tensor.copy_(torch.randn(tensor.shape, generator=draw) * deviation)
