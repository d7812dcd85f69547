"""What transformers' own processor makes of a case: prompt ids and the tensors of its media."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast
from transformers.models import gemma4, gemma4_unified
from transformers.video_utils import VideoMetadata

from cases import CASES
from media import FRAMES_STEP, RATE_HZ, read_wav
from settings import processor_json, tokenizer_json
from variants import Variant

FPS = 2
"""Frames are named by their seconds; at this rate each of them falls on a whole frame number."""


class Processor:
    """The processor of a variant, made from its settings."""

    def __init__(self, variant: Variant, fixtures: Path, template: Path) -> None:
        self.variant, self.fixtures = variant, fixtures
        family = gemma4_unified if variant.unified else gemma4
        settings, name = processor_json(variant), "Gemma4Unified" if variant.unified else "Gemma4"
        make = lambda kind, part: getattr(family, name + kind)(**settings[part])
        named = {key: value for key, value in tokenizer_json().items() if key.endswith("_token")}
        plain = ("bos_token", "eos_token", "pad_token", "unk_token", "mask_token")
        extra = {key: value for key, value in named.items() if key not in plain}
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(fixtures / "tokenizer.json"),
                                            extra_special_tokens=extra, **{key: named[key] for key in plain})
        self.processor = getattr(family, name + "Processor")(
            feature_extractor=make("AudioFeatureExtractor", "feature_extractor"),
            image_processor=make("ImageProcessor", "image_processor"), tokenizer=tokenizer,
            video_processor=make("VideoProcessor", "video_processor"), chat_template=template.read_text())

    def inputs(self, case: str) -> dict:
        """Arguments of the model's `forward` for a case."""
        messages = CASES[case]
        text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        parts = [part for message in messages for part in message["content"] if isinstance(part, dict)]
        of = lambda kind: [part for part in parts if part["type"] == kind]
        media = {}
        if of("image"):
            media["images"] = [[self.picture(part["path"]) for part in of("image")]]
        if of("audio"):
            media["audio"] = [read_wav(self.fixtures / part["path"]) for part in of("audio")]
            media["sampling_rate"] = RATE_HZ
        if of("video"):
            media |= self.films(of("video"))
        made = self.processor(text=[text], return_tensors="pt", add_special_tokens=False, **media)
        return self.padded({name: value for name, value in made.items() if isinstance(value, torch.Tensor)})

    def picture(self, path: str) -> Image.Image:
        return Image.open(self.fixtures / path).convert("RGB")

    def films(self, parts: list) -> dict:
        """Films as the frames that were chosen, with the time of each."""
        films = [np.stack([np.asarray(self.picture(path)) for path in part["frames"]]) for part in parts]
        times = [[round(second * FPS) for second in part["seconds"]] for part in parts]
        about = [VideoMetadata(total_num_frames=time[-1] + 1, fps=FPS, frames_indices=time) for time in times]
        return {"videos": [torch.from_numpy(film).permute(0, 3, 1, 2) for film in films], "video_metadata": about,
                "do_sample_frames": False}

    def alone(self, features, masks) -> list:
        """Each clip as if it were the only one, as pairs [1, frames, width] and [1, frames]."""
        step = 1 if self.variant.unified else FRAMES_STEP
        lengths = [-(-int(mask.sum()) // step) * step for mask in masks]
        return [(clip[None, :length], mask[None, :length]) for clip, mask, length in zip(features, masks, lengths)]

    def padded(self, made: dict) -> dict:
        """Mel frames padded to the length that the exported encoder takes; masked ones change nothing."""
        if "input_features" in made and not self.variant.unified:
            missing = -made["input_features"].shape[1] % FRAMES_STEP
            made["input_features"] = torch.nn.functional.pad(made["input_features"], (0, 0, 0, missing))
            made["input_features_mask"] = torch.nn.functional.pad(made["input_features_mask"].bool(), (0, missing))
        return made
