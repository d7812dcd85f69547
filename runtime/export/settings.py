"""The JSON files of a miniature's folder, in the forms that the published folders have."""

import json
from pathlib import Path

from export_demo import (audio_extractor_json, generation_config_json, image_processor_json, tokenizer_config_json,
                         without_noise, write_json)
from variants import CONTEXT_TOKENS, GLOBAL_HEAD_DIM, Variant

SUPPRESSED = {"12b": ["e:", "ri"]}
"""Ordinary tokens that the 12B's generation_config.json suppresses, as the published one suppresses some of its own."""


def config_json(variant: Variant, model, token_id: dict) -> dict:
    """config.json: with `global_head_dim` as released, or with `per_layer_config` as transformers writes it."""
    written = json.loads(model.config.to_json_string(use_diff=False))
    config = without_noise(written)
    text = config["text_config"]
    if variant.released_config:
        text["global_head_dim"] = GLOBAL_HEAD_DIM
        text["num_global_key_value_heads"] = variant.global_kv_heads
    else:
        text["per_layer_config"] = written["text_config"]["per_layer_config"]
    config["architectures"] = [type(model).__name__]
    config["eos_token_id"] = [token_id["<eos>"], token_id["<turn|>"]]
    return config


def promoted(config: dict) -> dict:
    """The configuration of a text-only conversion: the text fields at the root, and nothing of the encoders."""
    text = dict(config["text_config"])
    kind = "Gemma4UnifiedForCausalLM" if "unified" in text["model_type"] else "Gemma4ForCausalLM"
    return text | {"architectures": [kind], "eos_token_id": config["eos_token_id"]}


def suppressed(variant: Variant, token_id: dict) -> list:
    """Ids that generation_config.json says must not be generated."""
    return [token_id[token] for token in SUPPRESSED.get(variant.name, [])]


def generation_json(variant: Variant, token_id: dict) -> dict:
    ids = suppressed(variant, token_id)
    return generation_config_json(token_id) | ({"suppress_tokens": ids} if ids else {})


def processor_json(variant: Variant) -> dict:
    """processor_config.json with all three processors."""
    family = "Gemma4Unified" if variant.unified else "Gemma4"
    image = image_processor_json() | {"image_processor_type": f"{family}ImageProcessor"}
    video = image | {"video_processor_type": f"{family}VideoProcessor", "num_frames": 32}
    video.pop("image_processor_type")
    sound = audio_extractor_json()
    if variant.unified:
        sound = {"feature_extractor_type": "Gemma4UnifiedAudioFeatureExtractor", "feature_size": 640,
                 "sampling_rate": 16_000, "padding_value": 0.0, "padding_side": "right",
                 "audio_samples_per_token": 640, "return_attention_mask": True}
    return {"processor_class": f"{family}Processor", "image_seq_length": image["max_soft_tokens"],
            "audio_seq_length": 750, "audio_ms_per_token": 40, "image_processor": image,
            "feature_extractor": sound, "video_processor": video}


def write(variant: Variant, model, token_id: dict, folder: Path) -> None:
    """The files that every layout of the variant shares."""
    processor = processor_json(variant)
    write_json(folder / "config.json", config_json(variant, model, token_id))
    write_json(folder / "generation_config.json", generation_json(variant, token_id))
    write_json(folder / "processor_config.json", processor)
    write_json(folder / "preprocessor_config.json", processor["image_processor"])


def tokenizer_json() -> dict:
    """tokenizer_config.json, the same for all."""
    return tokenizer_config_json() | {"model_max_length": CONTEXT_TOKENS, "video_token": "<|video|>"}


def genai_json(variant: Variant, model, token_id: dict, has_positions: bool) -> dict:
    """genai_config.json of the onnxruntime-genai layout; its `eos_token_id` is as incomplete as the published one."""
    text, config = model.config.text_config, model.config
    inputs = ["inputs_embeds", "attention_mask"]
    inputs += ["position_ids"] if has_positions else []
    inputs += ["per_layer_inputs"] if getattr(text, "hidden_size_per_layer_input", 0) else []
    inputs += ["input_ids"] if text.use_bidirectional_attention == "vision" else []
    named = {name: name for name in inputs}
    named |= {f"past_{part}_names": f"past_key_values.%d.{part}" for part in ("key", "value")}
    outputs = {"logits": "logits"} | {f"present_{part}_names": f"present.%d.{part}" for part in ("key", "value")}
    session = {"log_id": "onnxruntime-genai", "provider_options": []}
    embedding = ["input_ids", "image_features"] + (["audio_features"] if variant.hears else [])
    embedded = ["inputs_embeds"] + (["per_layer_inputs"] if "per_layer_inputs" in named else [])
    parts = {
        "decoder": {"session_options": session, "filename": "decoder/model.onnx", "head_size": 16,
                    "hidden_size": text.hidden_size, "inputs": named, "outputs": outputs,
                    "num_attention_heads": text.num_attention_heads, "num_hidden_layers": text.num_hidden_layers,
                    "num_key_value_heads": text.per_layer_config[0].num_key_value_heads},
        "embedding": {"filename": "embedding/model.onnx", "inputs": {name: name for name in embedding},
                      "outputs": {name: name for name in embedded}},
        "vision": {"filename": "vision_encoder/model.onnx", "config_filename": "image_processor.json",
                   "spatial_merge_size": 2,
                   "inputs": {"pixel_values": "pixel_values", "pixel_position_ids": "pixel_position_ids"},
                   "outputs": {"image_features": "image_features"}}}
    if variant.hears:
        parts["speech"] = {"filename": "audio_encoder/model.onnx", "config_filename": "audio_feature_extraction.json",
                           "inputs": {"audio_embeds": "input_features", "attention_mask": "input_features_mask"},
                           "outputs": {"audio_features": "audio_features"}}
    ids = {"bos_token_id": token_id["<bos>"], "eos_token_id": token_id["<eos>"], "pad_token_id": token_id["<pad>"],
           "image_token_id": config.image_token_id, "audio_token_id": config.audio_token_id,
           "boa_token_id": config.boa_token_id}
    search = {"do_sample": True, "max_length": CONTEXT_TOKENS, "min_length": 0, "num_beams": 1, "temperature": 1.0,
              "top_k": 1, "top_p": 1.0, "past_present_share_buffer": not has_positions}
    return {"model": {"type": "gemma4", "vocab_size": text.vocab_size, "context_length": CONTEXT_TOKENS, **parts,
                      **ids}, "search": search}
