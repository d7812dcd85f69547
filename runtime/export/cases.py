"""The conversations that every variant is asked, in transformers' messages format, and the media in them."""

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from media import RATE_HZ, draw_door, draw_room, write_wav

SYSTEM = {"role": "system", "content": "You see, hear and answer."}
LONG = " ".join(f"On day {day} the lamp in room {day % 7} was {'on' if day % 3 else 'off'}, and {day * 13} people came."
                for day in range(1, 6))
"""Several hundred tokens of this vocabulary, far more than four times the sliding window."""


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def image(name: str) -> dict:
    return {"type": "image", "path": f"media/{name}.png"}


def audio(name: str) -> dict:
    return {"type": "audio", "path": f"media/{name}.wav"}


FRAME_SECONDS = [0.0, 1.0, 2.5, 61.0]
VIDEO = {"type": "video", "frames": [f"media/frame{place}.png" for place in range(len(FRAME_SECONDS))],
         "seconds": FRAME_SECONDS}


def user(*parts: dict) -> list:
    return [SYSTEM, {"role": "user", "content": list(parts)}]


PICTURES_AMONG_TEXT = user(text("First"), image("room"), text("then"), image("small_room"), text("which is warmer?"))
CASES = {
    "text": user(text("Which light is on?")),
    "long": [SYSTEM, {"role": "user", "content": [text("Hello!")]},
             {"role": "assistant", "content": [text("Hello. Tell me more.")]},
             {"role": "user", "content": [text(LONG)]}],
    "image": user(image("room"), text("What is this?")),
    "images": user(image("door"), image("small_room"), text("What differs?")),
    "audio": user(audio("rising"), text("What was said?")),
    "video": user(VIDEO, text("What moves?")),
    "interleaved": user(text("Look"), image("door"), text("and listen"), audio("rising"), text("then"),
                        audio("falling"), text("and"), image("small_room"), text("Tell me all.")),
    "pictures": PICTURES_AMONG_TEXT,
}


def heard(name: str) -> bool:
    """Whether a case holds sound."""
    return '"audio"' in json.dumps(CASES[name])


def write(folder: Path) -> None:
    """Writes `cases/NAME.json` and the media. Room, door and frames have a size that is kept, the small room not."""
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    for name, messages in CASES.items():
        (folder / "cases" / f"{name}.json").write_text(json.dumps({"messages": messages}, indent=1) + "\n")
    media = folder / "media"
    media.mkdir(exist_ok=True)
    pictures = {"room": draw_room(True, 432, 336), "door": draw_door(True, 384, 384),
                "small_room": draw_room(False, 200, 150)}
    pictures |= {f"frame{place}": draw_frame(place) for place in range(len(FRAME_SECONDS))}
    for name, picture in pictures.items():
        picture.save(media / f"{name}.png", optimize=True)
    write_wav(media / "rising.wav", sweep(200, 1800, 0.7, 1))
    write_wav(media / "falling.wav", sweep(2400, 300, 0.45, 2))


def draw_frame(place: int) -> Image.Image:
    """A disc on its way across a field, 528 by 288."""
    draw = random.Random(place)
    picture = Image.new("RGB", (528, 288), "#284a36")
    pen = ImageDraw.Draw(picture)
    for _ in range(5):
        left, top = draw.randint(0, 450), draw.randint(0, 220)
        pen.rectangle([left, top, left + 60, top + 40], fill=tuple(draw.randint(0, 255) for _ in range(3)))
    pen.ellipse([40 + 120 * place, 100, 120 + 120 * place, 180], fill="#f0d040")
    return picture


def sweep(first_hz: float, last_hz: float, seconds: float, seed: int) -> np.ndarray:
    """A tone that glides, in a little noise."""
    count = int(seconds * RATE_HZ)
    pitch = np.linspace(first_hz, last_hz, count)
    noise = np.random.default_rng(seed).standard_normal(count)
    return (0.4 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ) + 0.02 * noise).astype(np.float32)
