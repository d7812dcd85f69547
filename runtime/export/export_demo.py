"""Writes the model folder in the published onnx-community layout from a trained checkpoint.

Usage: python export_demo.py CHECKPOINT_FOLDER [--out ../demo-model] [--keep-towers]
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Gemma4AudioFeatureExtractor, Gemma4ForConditionalGeneration

from decoder import Decoder, TextShape, embed_tokens
from encoders import export_audio, export_vision, fix_bounds
from media import Towers
from model import GLOBAL_HEAD_DIM, MAX_SOFT_TOKENS

SUFFIX = "_fp16"
FOLDER = Path(__file__).parent.parent / "demo-model"
MODEL_PART = "model.language_model."


def load(checkpoint: Path) -> Gemma4ForConditionalGeneration:
    """The checkpoint as f32, with every matrix rounded to fp16 as the graphs store it."""
    model = Gemma4ForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.copy_(parameter.half().float())
    return model.eval()


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def without_noise(config: dict) -> dict:
    """A configuration without the bookkeeping that transformers adds to every model."""
    noise = ("_name_or_path", "architectures", "chunk_size_feed_forward", "id2label", "label2id", "is_encoder_decoder",
             "output_attentions", "output_hidden_states", "problem_type", "return_dict", "per_layer_config")
    return {name: without_noise(value) if isinstance(value, dict) else value
            for name, value in config.items() if name not in noise}


def config_json(model, token_id: dict) -> dict:
    """config.json in the form of the released models: `global_head_dim` and `layer_types`, no per-layer overrides."""
    config = without_noise(json.loads(model.config.to_json_string(use_diff=False)))
    text = config["text_config"]
    text["global_head_dim"] = GLOBAL_HEAD_DIM
    text["num_global_key_value_heads"] = None
    config["architectures"] = ["Gemma4ForConditionalGeneration"]
    config["eos_token_id"] = [token_id["<eos>"], token_id["<turn|>"]]
    for name in ("pad", "bos"):
        config[f"{name}_token_id"] = token_id[f"<{name}>"]
    text["eos_token_id"] = token_id["<eos>"]
    graphs = ("embed_tokens", "decoder_model_merged")
    config["transformers.js_config"] = {"use_external_data_format": {f"{name}{SUFFIX}.onnx": 1 for name in graphs}}
    return config


def generation_config_json(token_id: dict) -> dict:
    """Sampling defaults and the three tokens that end a reply."""
    return {"bos_token_id": token_id["<bos>"], "pad_token_id": token_id["<pad>"],
            "eos_token_id": [token_id[token] for token in ("<eos>", "<turn|>", "<|tool_response>")],
            "do_sample": True, "temperature": 1.0, "top_k": 64, "top_p": 0.95}


def tokenizer_config_json() -> dict:
    """Names of the special tokens by role."""
    return {"tokenizer_class": "GemmaTokenizer", "processor_class": "Gemma4Processor", "padding_side": "left",
            "clean_up_tokenization_spaces": False, "model_max_length": 4096, "bos_token": "<bos>", "eos_token": "<eos>",
            "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", "boi_token": "<|image>",
            "image_token": "<|image|>", "eoi_token": "<image|>", "boa_token": "<|audio>", "audio_token": "<|audio|>",
            "eoa_token": "<audio|>", "sot_token": "<|turn>", "eot_token": "<turn|>", "soc_token": "<|channel>",
            "eoc_token": "<channel|>", "std_token": "<|tool>", "etd_token": "<tool|>", "stc_token": "<|tool_call>",
            "etc_token": "<tool_call|>", "str_token": "<|tool_response>", "etr_token": "<tool_response|>",
            "think_token": "<|think|>", "escape_token": '<|"|>'}


def image_processor_json() -> dict:
    """Picture preprocessing: this folder's budget is 70 soft tokens."""
    return {"image_processor_type": "Gemma4ImageProcessor", "do_convert_rgb": True, "do_resize": True,
            "do_rescale": True, "do_normalize": False, "rescale_factor": 1 / 255, "resample": 3,
            "image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0], "patch_size": 16, "pooling_kernel_size": 3,
            "max_soft_tokens": MAX_SOFT_TOKENS, "image_seq_length": MAX_SOFT_TOKENS}


def audio_extractor_json() -> dict:
    """Sound preprocessing: the values of the released models."""
    extractor = json.loads(Gemma4AudioFeatureExtractor().to_json_string())
    return {name: value for name, value in extractor.items() if name not in ("window", "mel_filters")}


def write_settings(model, tokens: Tokenizer, folder: Path) -> None:
    """All files of the folder but the graphs, the chat template and the card."""
    token_id = tokens.get_vocab()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config_json(model, token_id))
    write_json(folder / "generation_config.json", generation_config_json(token_id))
    write_json(folder / "tokenizer_config.json", tokenizer_config_json())
    write_json(folder / "preprocessor_config.json", image_processor_json())
    video = {**image_processor_json(), "video_processor_type": "Gemma4VideoProcessor", "num_frames": 32}
    video.pop("image_processor_type")
    write_json(folder / "processor_config.json",
               {"processor_class": "Gemma4Processor", "image_seq_length": MAX_SOFT_TOKENS, "audio_seq_length": 750,
                "audio_ms_per_token": 40, "image_processor": image_processor_json(),
                "feature_extractor": audio_extractor_json(), "video_processor": video})
    tokens.save(str(folder / "tokenizer.json"), pretty=False)


def write_text_graphs(model, folder: Path) -> None:
    """The decoder and the embedding graph."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name.removeprefix(MODEL_PART): tensor.numpy() for name, tensor in model.state_dict().items()
               if name.startswith(MODEL_PART)}
    shape = TextShape(model.config.text_config, GLOBAL_HEAD_DIM)
    Decoder(shape, weights).build().save(folder / f"decoder_model_merged{SUFFIX}.onnx")
    embed_tokens(shape, weights).save(folder / f"embed_tokens{SUFFIX}.onnx")


def write_tower_graphs(model, folder: Path) -> None:
    """The vision and the audio encoder."""
    towers = Towers(model)
    fix_bounds(model)
    export_vision(model, towers, folder / f"vision_encoder{SUFFIX}.onnx")
    export_audio(model, towers, folder / f"audio_encoder{SUFFIX}.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--keep-towers", action="store_true",
                        help="write no encoders: training does not change the towers, and tracing them is slow")
    options = parser.parse_args()
    model = load(options.checkpoint)
    write_settings(model, Tokenizer.from_file(str(options.checkpoint / "tokenizer.json")), options.out)
    write_text_graphs(model, options.out / "onnx")
    if not options.keep_towers:
        write_tower_graphs(model, options.out / "onnx")
    for path in sorted(path for path in options.out.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>10,} {path.relative_to(options.out)}")


if __name__ == "__main__":
    main()
