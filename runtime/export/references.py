"""Writes the reference data that the Rust tests compare with: conversations, pictures and sounds.

Usage: python references.py CHECKPOINT_FOLDER [--folder ../demo-model] [--out ../../tests/fixtures/demo]
All numbers come from transformers on the exported weights, not from the graphs.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import DynamicCache

from chat import Chat, expand_media
from dialogues import DEMO_TOOLS, HOUSE_SYSTEM
from export_demo import FOLDER, load
from media import RATE_HZ, Towers, draw_door, draw_room, read_wav, speak, write_wav
from skills import SKILLS
from verify import expected_logits

OUT = Path(__file__).parent.parent.parent / "tests" / "fixtures" / "demo"
CONTINUED = 24
SYSTEM = {"role": "system", "content": HOUSE_SYSTEM}
QUESTION = {"type": "text", "text": "What time is it?"}
BOTH = [SKILLS[name].spec for name in DEMO_TOOLS]
CLOCK = {"date": "2026-11-21", "time": "14:32", "weekday": "Saturday"}


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def called(name: str, arguments: dict, response: dict, content: str = "") -> dict:
    """An assistant message with one call and its response."""
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call], "tool_responses": [{"name": name, "response": response}],
            "content": content}


KITCHEN_ON = ("set_light", {"room": "kitchen", "state": "on"}, {"room": "kitchen", "state": "on"})
TEXT_CASES = {
    "time": ([SYSTEM, user("What time is it?")], BOTH),
    "time_result": ([SYSTEM, user("What time is it?"), called("get_time", {}, CLOCK)], BOTH),
    "light": ([SYSTEM, user("turn on the light in the kitchen")], BOTH),
    "light_result": ([SYSTEM, user("turn on the light in the kitchen"), called(*KITCHEN_ON)], BOTH),
    "light_failed": ([SYSTEM, user("turn on the light in the kitchen"),
                      called(*KITCHEN_ON[:2], {"error": "no light in the kitchen"})], BOTH),
    "dim_without_system": ([user("Dim the bedroom lights to 40 percent, please.")], BOTH[::-1]),
    "second_turn": ([SYSTEM, user("turn on the light in the kitchen"), called(*KITCHEN_ON, "The kitchen light is on."),
                     user("And what day is it?")], BOTH),
    "no_tools": ([user("Hello!")], []),
    "thinking": ([SYSTEM, user("Turn off the bathroom light.")], BOTH),
}


@torch.no_grad()
def greedy(model, ids: list, media: dict | None = None) -> list:
    """The next CONTINUED most likely tokens, without stopping at an end token."""
    cache, written, fresh = DynamicCache(config=model.config.text_config), [], torch.tensor([ids])
    for _ in range(CONTINUED):
        mask = torch.ones(1, len(ids) + len(written), dtype=torch.long)
        output = model(input_ids=fresh, attention_mask=mask, past_key_values=cache, use_cache=True, **(media or {}))
        written.append(int(output.logits[0, -1].argmax()))
        fresh, media = torch.tensor([written[-1:]]), None
    return written


def rounded(values) -> list:
    return [round(float(value), 6) for value in np.asarray(values).ravel()]


class Writer:
    """Makes cases from conversations with one model and tokenizer."""

    def __init__(self, model, tokens: Tokenizer) -> None:
        self.model, self.tokens, self.chat, self.towers = model, tokens, Chat(), Towers(model)

    def case(self, name: str, messages: list, tools: list, counts: list, media: dict | None = None) -> dict:
        """One case; `counts` are the soft tokens of its media."""
        thinking = name == "thinking"
        prompt = self.chat.render(messages, tools, prompt=True, thinking=thinking)
        ids = self.tokens.encode(expand_media(prompt, counts), add_special_tokens=False).ids
        if counts and counts[0][0] == "image":
            media["mm_token_type_ids"] = (torch.tensor([ids]) == self.tokens.token_to_id("<|image|>")).long()
        logits = expected_logits(self.model, ids, media)[-1]
        continued = greedy(self.model, ids, media)
        return {"name": name, "messages": messages, "tools": tools, "enable_thinking": thinking, "prompt": prompt,
                "prompt_ids": ids, "continuation_ids": continued,
                "continuation": self.tokens.decode(continued, skip_special_tokens=False),
                "last_logits": rounded(logits)}

    def image_case(self, path: Path) -> dict:
        """A question with a picture before it."""
        image = Image.open(path).convert("RGB")
        pixels, positions = self.towers.pixels(image)
        features = self.towers.see(image).numpy()
        real = int((positions[0, :, 0] >= 0).sum())
        columns, rows = (int(positions[0, :, axis].max()) + 1 for axis in (0, 1))
        messages = [SYSTEM, {"role": "user", "content": [{"type": "image"}, QUESTION]}]
        case = self.case("image", messages, BOTH, [("image", len(features))],
                         {"pixel_values": pixels, "image_position_ids": positions})
        probes = [(0, 0), (0, 767), (real // 2, 100), (real - 1, 300)]
        return case | {"file": path.name, "soft_tokens": len(features), "patches": real,
                       "patches_padded": pixels.shape[1],
                       "resized": {"width": columns * 16, "height": rows * 16},
                       "pixel_values": probe(pixels[0], probes),
                       "pixel_values_mean": round(float(pixels[0, :real].mean()), 6),
                       "image_features": probe(features, [(0, 0), (5, 17), (len(features) - 1, 127)]),
                       "image_features_first_row": rounded(features[0])}

    def audio_case(self, path: Path) -> dict:
        """A question with a clip before it."""
        samples = read_wav(path)
        frames, mask = self.towers.frames(samples)
        features = self.towers.hear(samples).numpy()
        messages = [SYSTEM, {"role": "user", "content": [{"type": "audio"}, QUESTION]}]
        case = self.case("audio", messages, BOTH, [("audio", len(features))],
                         {"input_features": frames, "input_features_mask": mask})
        real = int(mask.sum())
        probes = [(0, 0), (10, 3), (real // 2, 24), (real // 2, 64), (real - 1, 100)]
        return case | {"file": path.name, "samples": len(samples), "soft_tokens": len(features), "frames": real,
                       "frames_padded": frames.shape[1], "input_features": probe(frames[0], probes),
                       "input_features_mean": round(float(frames[0, :real].mean()), 6),
                       "audio_features": probe(features, [(0, 0), (5, 17), (len(features) - 1, 127)]),
                       "audio_features_first_row": rounded(features[0])}


def probe(values, places: list) -> list:
    """Single values as `{row, column, value}`."""
    return [{"row": row, "column": column, "value": round(float(values[row][column]), 6)} for row, column in places]


def write_media(out: Path) -> None:
    """The pictures and clips."""
    draw_room(True, 200, 150).save(out / "small_room.png", optimize=True)
    draw_room(False).save(out / "room_light_off.png", optimize=True)
    draw_room(True).save(out / "room_light_on.png", optimize=True)
    draw_door(True).save(out / "front_door_parcel.png", optimize=True)
    silence = lambda seconds: np.zeros(int(seconds * RATE_HZ), np.float32)
    write_clip(out / "what_time.wav", speak("what time is it", speed=140), "What time is it?")
    spoken = [silence(0.5), speak("turn on the light in the kitchen", speed=140), silence(1.2)]
    write_clip(out / "kitchen_light.wav", np.concatenate(spoken), "Turn on the light in the kitchen")


def write_clip(path: Path, samples: np.ndarray, caption: str) -> None:
    """A clip, and beside it what is said in it."""
    write_wav(path, samples)
    path.with_suffix(".txt").write_text(caption + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_media(options.out)
    writer = Writer(load(options.checkpoint), Tokenizer.from_file(str(options.folder / "tokenizer.json")))
    cases = [writer.case(name, *case, []) for name, case in TEXT_CASES.items()]
    reference = {"note": "Written by runtime/export/references.py with transformers from the exported weights.",
                 "text": cases, "image": writer.image_case(options.out / "small_room.png"),
                 "audio": writer.audio_case(options.out / "what_time.wav")}
    (options.out / "reference.json").write_text(json.dumps(reference, ensure_ascii=False, indent=None) + "\n")
    for case in [*cases, reference["image"], reference["audio"]]:
        print(f"{case['name']:20} {case['continuation'][:150]!r}")


if __name__ == "__main__":
    main()
