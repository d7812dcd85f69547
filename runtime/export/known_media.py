"""Writes a picture and a spoken sentence with what the reference's processors make of them.

Usage: python known_media.py [FOLDER]

`gemmad selftest` brings the files along: on any machine and for any model it prepares both and compares the numbers,
so that a picture or a sound that a processor or a compiler garbles is noticed before a model gets it.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers.models.gemma4 import Gemma4AudioFeatureExtractor, Gemma4ImageProcessor
from transformers.models.gemma4_unified.feature_extraction_gemma4_unified import Gemma4UnifiedAudioFeatureExtractor
from transformers.models.gemma4_unified.image_processing_gemma4_unified import Gemma4UnifiedImageProcessor

from check_media import processed, reference_picture
from clips import record
from scenes import draw_scene, paint
from trainer import SEED
from voices import Speaker

FOLDER = Path(__file__).parent.parent.parent / "daemon" / "src" / "client" / "selftest" / "known"
SENTENCE = "What time is it?"
RATE_HZ = 16_000
BUDGET = 70
PROBES = 97
"""Values that are kept of each tensor; a prime number, so that they walk through rows and columns."""


def probed(tensor: np.ndarray) -> dict:
    """Shape, mean and some values of `[rows, columns] f32`."""
    flat = tensor.astype(np.float32).ravel()
    places = [index * len(flat) // PROBES for index in range(PROBES)]
    return {"shape": list(tensor.shape), "mean": float(flat.mean(dtype=np.float64)),
            "places": places, "values": [float(flat[place]) for place in places]}


def picture(path: Path) -> dict:
    scene = draw_scene(random.Random(SEED), True, "room", ["lamp", "cup"])
    paint(scene, random.Random(SEED), (160, 120)).save(path, optimize=True)
    pixels = reference_picture(path)
    return {"patches": probed(processed(Gemma4ImageProcessor(), pixels, BUDGET)[0][0]),
            "cells": probed(processed(Gemma4UnifiedImageProcessor(), pixels, BUDGET)[0][0])}


def sound(path: Path) -> dict:
    clip = record(SENTENCE, Speaker("en-us", 140, 50, 50), np.random.default_rng(SEED))
    soundfile.write(path, clip.samples, RATE_HZ, subtype="PCM_16")
    exact = (soundfile.read(path, dtype="int16")[0] / 32768).astype(np.float32)
    batch = Gemma4AudioFeatureExtractor()([exact], sampling_rate=RATE_HZ, return_tensors="np")
    real = int(batch["input_features_mask"][0].sum())
    frames = Gemma4UnifiedAudioFeatureExtractor()([exact], return_tensors="np")["input_features"][0]
    return {"spectrogram": probed(batch["input_features"][0][:real]), "frames": probed(frames)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    expected = {"budget": BUDGET, "sentence": SENTENCE, **picture(folder / "room.png"), **sound(folder / "speech.flac")}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
