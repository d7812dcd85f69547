"""Pictures drawn by program and sounds made by espeak-ng or noise, and their features through the real towers."""

import random
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import Gemma4AudioFeatureExtractor
from transformers.models.gemma4.image_processing_gemma4 import Gemma4ImageProcessor

from model import MAX_SOFT_TOKENS

RATE_HZ = 16_000
FRAMES_STEP = 48
"""The audio encoder takes frame counts that are multiples of this."""


def speak(words: str, speed: int = 150, pitch: int = 50) -> np.ndarray:
    """Speech of espeak-ng, mono f32 at 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-v", "en", "-s", str(speed), "-p", str(pitch), "-w", str(path), words],
                       check=True)
        with wave.open(str(path)) as file:
            rate = file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    return resample(samples, rate)


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """To 16 kHz by cutting or padding the spectrum."""
    count = int(len(samples) * RATE_HZ / rate)
    spectrum = np.fft.rfft(samples)
    wanted = np.zeros(count // 2 + 1, complex)
    shared = min(len(wanted), len(spectrum))
    wanted[:shared] = spectrum[:shared]
    return (np.fft.irfft(wanted, count) * count / len(samples)).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Mono i16 at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())


def read_wav(path: Path) -> np.ndarray:
    """Mono f32 of a 16 kHz i16 file."""
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def draw_room(light_on: bool, width: int = 640, height: int = 480) -> Image.Image:
    """A room with a table, a window at night and a ceiling lamp."""
    wall, floor = ("#f3e3b3", "#a87848") if light_on else ("#2a2c38", "#1d1712")
    image = Image.new("RGB", (width, height), wall)
    pen = ImageDraw.Draw(image)
    box = lambda x0, y0, x1, y1: [x0 * width, y0 * height, x1 * width, y1 * height]
    pen.rectangle(box(0, 0.72, 1, 1), fill=floor)
    pen.rectangle(box(0.08, 0.2, 0.3, 0.5), fill="#101830", outline="#8a7a66", width=6)
    pen.line(box(0.19, 0.2, 0.19, 0.5), fill="#8a7a66", width=4)
    if light_on:
        for ring in range(8, 0, -1):
            pen.ellipse(box(0.5 - 0.03 * ring, 0.24 - 0.03 * ring, 0.5 + 0.03 * ring, 0.24 + 0.03 * ring),
                        fill=(255, 250 - 4 * ring, 215 - 5 * ring))
    pen.line(box(0.5, 0, 0.5, 0.18), fill="#555555", width=4)
    pen.polygon([(0.43 * width, 0.25 * height), (0.57 * width, 0.25 * height), (0.5 * width, 0.16 * height)],
                fill="#ffd94a" if light_on else "#4a4740")
    pen.rectangle(box(0.55, 0.62, 0.9, 0.66), fill="#7a4a24" if light_on else "#33241a")
    pen.rectangle(box(0.58, 0.66, 0.61, 0.9), fill="#6a3f1e" if light_on else "#2a1d14")
    pen.rectangle(box(0.84, 0.66, 0.87, 0.9), fill="#6a3f1e" if light_on else "#2a1d14")
    return image


def draw_door(parcel: bool, width: int = 640, height: int = 480) -> Image.Image:
    """A front door in a brick wall, with or without a parcel on the mat."""
    image = Image.new("RGB", (width, height), "#9c5b48")
    pen = ImageDraw.Draw(image)
    for row in range(0, height, 24):
        pen.line([0, row, width, row], fill="#84493a", width=2)
        for column in range((row // 24 % 2) * 24, width, 48):
            pen.line([column, row, column, row + 24], fill="#84493a", width=2)
    pen.rectangle([0, int(0.88 * height), width, height], fill="#8d8d88")
    box = lambda x0, y0, x1, y1: [x0 * width, y0 * height, x1 * width, y1 * height]
    pen.rectangle(box(0.36, 0.14, 0.64, 0.88), fill="#1f4e3d", outline="#e8e2d0", width=8)
    pen.rectangle(box(0.42, 0.2, 0.58, 0.4), fill="#b9d4dd", outline="#163a2d", width=4)
    pen.ellipse(box(0.595, 0.52, 0.62, 0.555), fill="#e6c15a")
    pen.rectangle(box(0.33, 0.9, 0.67, 0.97), fill="#5a4632")
    if parcel:
        pen.rectangle(box(0.46, 0.74, 0.62, 0.94), fill="#c99a5b", outline="#8a6434", width=3)
        pen.rectangle(box(0.53, 0.74, 0.55, 0.94), fill="#e7d3a8")
    return image


def draw_shapes(rng: random.Random) -> Image.Image:
    """A random picture of rectangles and discs, of random size."""
    width, height = rng.choice([(320, 240), (200, 150), (240, 320), (300, 300), (400, 200)])
    colour = lambda: tuple(rng.randint(0, 255) for _ in range(3))
    image = Image.new("RGB", (width, height), colour())
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(2, 8)):
        x, y = rng.randint(0, width - 20), rng.randint(0, height - 20)
        shape = rng.choice([pen.rectangle, pen.ellipse])
        shape([x, y, x + rng.randint(10, width // 2), y + rng.randint(10, height // 2)], fill=colour())
    return image


class Towers:
    """The two encoders of one model with the preprocessing of transformers."""

    def __init__(self, model) -> None:
        self.model = model.model.eval()
        self.images = Gemma4ImageProcessor(max_soft_tokens=MAX_SOFT_TOKENS)
        self.sounds = Gemma4AudioFeatureExtractor()

    def pixels(self, image: Image.Image) -> tuple:
        """`pixel_values` [1, patches, 768] f32 and positions [1, patches, 2] i64, padded to the budget."""
        batch = self.images([image], return_tensors="pt")
        return batch["pixel_values"], batch["image_position_ids"]

    def frames(self, samples: np.ndarray) -> tuple:
        """`input_features` [1, frames, 128] f32 and their mask, padded to a multiple of 48 frames."""
        batch = self.sounds([samples], sampling_rate=RATE_HZ, return_tensors="pt")
        features, mask = batch["input_features"], batch["input_features_mask"].bool()
        missing = -features.shape[1] % FRAMES_STEP
        return torch.nn.functional.pad(features, (0, 0, 0, missing)), torch.nn.functional.pad(mask, (0, missing))

    @torch.no_grad()
    def see(self, image: Image.Image) -> torch.Tensor:
        """Image features [soft tokens, hidden]."""
        pooled = self.model.get_image_features(*self.pixels(image)).pooler_output
        return pooled[0] if isinstance(pooled, (list, tuple)) or pooled.ndim == 3 else pooled

    @torch.no_grad()
    def hear(self, samples: np.ndarray) -> torch.Tensor:
        """Audio features [soft tokens, hidden]."""
        output = self.model.get_audio_features(*self.frames(samples))
        return output.pooler_output[output.attention_mask]
