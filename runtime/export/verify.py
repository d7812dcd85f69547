"""Compares the exported graphs with transformers on the same weights: text, chunked text, decoding, picture, sound.

Usage: python verify.py CHECKPOINT_FOLDER [--folder ../demo-model]. Exits 1 where a difference reaches 1e-3.
"""

import argparse
import json
import random
import sys
from pathlib import Path

import numpy as np
import torch

from chat import Chat, expand_media
from export_demo import FOLDER, load
from lessons import draw_lesson
from material import Material
from media import Towers, draw_room, draw_shapes, speak
from runner import Folder

LIMIT = 1e-3
DECODED = 32


def difference(left, right) -> float:
    return float(np.abs(np.asarray(left) - np.asarray(right)).max())


@torch.no_grad()
def expected_logits(model, ids: list, media: dict | None = None) -> np.ndarray:
    """All logits of transformers for one prompt."""
    ids = torch.tensor([ids])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **(media or {})).logits[0].numpy()


def text_differences(folder: Folder, model, ids: list) -> dict:
    """Whole prefill, prefill in chunks, and 32 single steps after a prefill."""
    expected = expected_logits(model, ids)
    whole, _ = folder.step(*folder.embed(ids), folder.empty_past(), keep=0)
    found = {"prefill": difference(whole[0], expected)}
    past, rows = folder.empty_past(), []
    for start in range(0, len(ids), 37):
        logits, past = folder.step(*folder.embed(ids[start:start + 37]), past, keep=0)
        rows.append(logits[0])
    found["chunked prefill"] = difference(np.concatenate(rows), expected)
    first = len(ids) - DECODED
    logits, past = folder.step(*folder.embed(ids[:first]), folder.empty_past())
    rows = [logits[0]]
    for token in ids[first:-1]:
        logits, past = folder.step(*folder.embed([token]), past)
        rows.append(logits[0])
    found[f"{DECODED} decode steps"] = difference(np.concatenate(rows), expected[first - 1:-1])
    return found


def image_differences(folder: Folder, model, towers: Towers) -> dict:
    """Features of two pictures (padded and unpadded patches), and the logits of a prompt that holds one."""
    found = {}
    for name, image in (("room", draw_room(True)), ("shapes", draw_shapes(random.Random(11)))):
        pixels, positions = towers.pixels(image)
        expected = towers.see(image).numpy()
        features, = folder.vision.run(None, {"pixel_values": pixels.numpy(), "pixel_position_ids": positions.numpy()})
        found[f"image features {name}"] = difference(features, expected)
        real = positions[0, :, 0] >= 0
        trimmed, = folder.vision.run(None, {"pixel_values": pixels[:, real].numpy(),
                                            "pixel_position_ids": positions[:, real].numpy()})
        found[f"image features {name}, unpadded"] = difference(trimmed, expected)
    ids = media_prompt(folder, "image", len(features))
    kinds = (torch.tensor([ids]) == folder.config["image_token_id"]).long()
    media = {"pixel_values": pixels, "image_position_ids": positions, "mm_token_type_ids": kinds}
    expected = expected_logits(model, ids, media)
    logits, _ = folder.step(*folder.embed(ids, features), folder.empty_past(), keep=0)
    return found | {"image prompt": difference(logits[0], expected)}


def audio_differences(folder: Folder, model, towers: Towers) -> dict:
    """Features of two clips, and the logits of a prompt that holds one."""
    found = {}
    for words in ("what time is it", "turn on the light in the kitchen, and then tell me what the weather will be"):
        samples = speak(words)
        frames, mask = towers.frames(samples)
        expected = towers.hear(samples).numpy()
        features, = folder.audio.run(None, {"input_features": frames.numpy(), "input_features_mask": mask.numpy()})
        found[f"audio features, {frames.shape[1]} frames"] = difference(features, expected)
    ids = media_prompt(folder, "audio", len(features))
    expected = expected_logits(model, ids, {"input_features": frames, "input_features_mask": mask})
    logits, _ = folder.step(*folder.embed(ids, features), folder.empty_past(), keep=0)
    return found | {"audio prompt": difference(logits[0], expected)}


def media_prompt(folder: Folder, kind: str, count: int) -> list:
    message = {"role": "user", "content": [{"type": kind}, {"type": "text", "text": "What time is it?"}]}
    return folder.tokens.encode(expand_media(Chat().render([message], [], prompt=True), [(kind, count)]),
                                add_special_tokens=False).ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--save", type=Path, help="also write the differences here, for card.py")
    options = parser.parse_args()
    model, folder = load(options.checkpoint), Folder(options.folder)
    dialogue = draw_lesson(random.Random(8), Material(None, False, (), 8), "two calls")
    text = Chat().render(dialogue.messages, dialogue.tools, prompt=False)
    ids = folder.tokens.encode(text, add_special_tokens=False).ids
    towers = Towers(model)
    found = text_differences(folder, model, ids) | image_differences(folder, model, towers)
    found |= audio_differences(folder, model, towers)
    for name, value in found.items():
        print(f"{value:.1e}  {name}")
    if options.save:
        options.save.write_text(json.dumps(found))
    sys.exit(max(found.values()) >= LIMIT)


if __name__ == "__main__":
    main()
