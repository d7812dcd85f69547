"""The miniature: Gemma 4 E2B's architecture with every size cut down, and its seeded initial weights."""

import math

import torch
from transformers import (Gemma4AudioConfig, Gemma4AudioModel, Gemma4Config, Gemma4ForConditionalGeneration,
                          Gemma4TextConfig, Gemma4VisionConfig, Gemma4VisionModel)

GLOBAL_HEAD_DIM = 64
LAYER_TYPES = (["sliding_attention"] * 4 + ["full_attention"]) * 2
MAX_SOFT_TOKENS = 70


def text_config(token_id: dict) -> Gemma4TextConfig:
    """Ten layers in a 4:1 pattern; the upper five are double-wide and read the K/V of layers 3 and 4."""
    return Gemma4TextConfig(
        vocab_size=len(token_id), vocab_size_per_layer_input=len(token_id), hidden_size=128, intermediate_size=128,
        num_hidden_layers=len(LAYER_TYPES), layer_types=LAYER_TYPES, num_kv_shared_layers=5, use_double_wide_mlp=True,
        num_attention_heads=4, num_key_value_heads=1, head_dim=32, global_head_dim=GLOBAL_HEAD_DIM,
        hidden_size_per_layer_input=32, sliding_window=64, max_position_embeddings=4096,
        final_logit_softcapping=30.0, tie_word_embeddings=True, pad_token_id=token_id["<pad>"],
        bos_token_id=token_id["<bos>"], eos_token_id=token_id["<eos>"])


AUDIO_LAYERS, VISION_LAYERS = 5, 4


def audio_config(layers: int = AUDIO_LAYERS) -> Gemma4AudioConfig:
    """Layers that hear half a second back each, and nothing ahead."""
    return Gemma4AudioConfig(
        hidden_size=128, num_hidden_layers=layers, num_attention_heads=4, subsampling_conv_channels=[128, 8],
        conv_kernel_size=5, attention_chunk_size=12, attention_context_left=13, output_proj_dims=128)


def audio_tower(layers: int = AUDIO_LAYERS) -> Gemma4AudioModel:
    """The audio tower alone, with fresh weights."""
    config = audio_config(layers)
    config._attn_implementation = "eager"
    tower = Gemma4AudioModel(config).float()
    with torch.no_grad():
        for name, tensor in tower.named_parameters():
            if tensor.ndim >= 2:
                tensor.normal_(0, 1 / math.sqrt(tensor[0].numel()))
    return tower


def vision_config(layers: int = VISION_LAYERS) -> Gemma4VisionConfig:
    """Layers that see the whole picture."""
    return Gemma4VisionConfig(
        hidden_size=96, intermediate_size=192, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=4,
        head_dim=24, patch_size=16, pooling_kernel_size=3, position_embedding_size=1024, use_clipped_linears=True,
        standardize=False)


def vision_tower(layers: int = VISION_LAYERS) -> Gemma4VisionModel:
    """The vision tower alone, with fresh weights."""
    config = vision_config(layers)
    config._attn_implementation = "sdpa"
    tower = Gemma4VisionModel(config).float()
    with torch.no_grad():
        for name, tensor in tower.named_parameters():
            if "position_embedding_table" in name:
                tensor.normal_(0, 0.3)
            elif tensor.ndim >= 2:
                tensor.normal_(0, 1 / math.sqrt(tensor[0].numel()))
            elif "q_norm" in name:
                tensor.fill_(1.5 * config.head_dim ** -0.5)
    return tower


def demo_config(token_id: dict) -> Gemma4Config:
    """The whole model: text, vision tower and audio tower."""
    config = Gemma4Config(
        text_config=text_config(token_id), vision_config=vision_config(), audio_config=audio_config(),
        boi_token_id=token_id["<|image>"], image_token_id=token_id["<|image|>"], eoi_token_id=token_id["<image|>"],
        boa_token_id=token_id["<|audio>"], audio_token_id=token_id["<|audio|>"],
        eoa_token_index=token_id["<audio|>"], video_token_id=token_id["<|video|>"])
    config.eos_token_id = [token_id["<eos>"], token_id["<turn|>"]]
    return config


def build(token_id: dict, seed: int) -> Gemma4ForConditionalGeneration:
    """The model with fresh weights: the text part as transformers draws it, the towers with clip bounds and spread."""
    torch.manual_seed(seed)
    config = demo_config(token_id)
    config._attn_implementation = "eager"
    model = Gemma4ForConditionalGeneration(config).float()
    text = model.model.language_model
    with torch.no_grad():
        text.embed_tokens.weight.normal_(0, text.config.hidden_size ** -0.5)
        text.embed_tokens_per_layer.weight.normal_(0, 0.05)
        for layer in text.layers:
            calm(layer)
        for name, tensor in [*model.model.named_parameters(), *model.model.named_buffers()]:
            if "tower" in name or "embed_vision" in name or "embed_audio" in name:
                spread(name.rsplit(".", 1)[-1], name, tensor)
    model.tie_weights()
    return model


def calm(layer) -> None:
    """Starts one decoder layer gently: flat attention (the softmax scale is 1), branches small beside the stream."""
    layer.self_attn.q_norm.weight.fill_(1.5 * layer.self_attn.head_dim ** -0.5)
    for norm in (layer.post_attention_layernorm, layer.post_feedforward_layernorm, layer.post_per_layer_input_norm):
        norm.weight.fill_(0.25)


def spread(last: str, name: str, tensor: torch.Tensor) -> None:
    """Draws one tower tensor so that pictures and sounds give clearly different features of moderate size."""
    if last in ("input_min", "output_min"):
        tensor.fill_(-6.0)
    elif last in ("input_max", "output_max"):
        tensor.fill_(6.0)
    elif last == "position_embedding_table":
        tensor.normal_(0, 0.3)
    elif last == "per_dim_scale" or tensor.ndim < 2 or "inv" in last:
        return
    elif "embedding_projection" in name:
        tensor.normal_(0, 0.5 / math.sqrt(tensor.shape[-1]))
    else:
        tensor.normal_(0, 1 / math.sqrt(tensor[0].numel()))
