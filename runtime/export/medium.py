"""Media encoded one by one: what stands beside a picture or a clip changes what eight bits can tell of it."""

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from processor import Processor

PICTURES = (("image", "pixel_values", "image_position_ids"), ("video", "pixel_values_videos", "video_position_ids"))


@torch.no_grad()
def one_by_one(model, processor: Processor, inputs: dict) -> dict:
    """Arguments of the model's `forward` with every medium encoded alone and without padding."""
    inputs, made = dict(inputs), {}
    for kind, pixels, places in PICTURES:
        pairs = list(zip(inputs.pop(pixels, []), inputs.pop(places, [])))
        if pairs:
            real = [(values[where[:, 0] >= 0][None], where[where[:, 0] >= 0][None]) for values, where in pairs]
            seen = [model.model.get_image_features(*pair).pooler_output for pair in real]
            made[kind] = BaseModelOutputWithPooling(
                pooler_output=[part.reshape(-1, part.shape[-1]) for parts in seen for part in parts])
    inputs.pop("num_frames_per_video", None)
    if "input_features" in inputs:
        inputs["input_features"], inputs["input_features_mask"] = heard(model, processor, inputs)
    return inputs | ({"mm_encoder_outputs": made} if made else {})


def heard(model, processor: Processor, inputs: dict) -> tuple:
    """The clips as they came; the model's encoder is made to take them one after the other."""
    hear = type(model.model).get_audio_features

    def one_after_the_other(features, masks, **options):
        outputs = [hear(model.model, *clip, **options) for clip in processor.alone(features, masks)]
        rows = torch.cat([output.pooler_output[output.attention_mask] for output in outputs])
        outputs[0].pooler_output, outputs[0].attention_mask = rows[None], torch.ones(1, len(rows), dtype=torch.bool)
        return outputs[0]

    model.model.get_audio_features = one_after_the_other
    return inputs["input_features"], inputs["input_features_mask"]
