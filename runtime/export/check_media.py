"""Holds our preparation of media against the reference's, on 50 pictures, 20 clips of speech and a film.

    python check_media.py [--keep FOLDER] [--prepare PROGRAM]

Draws the pictures (seeded noise fields, gradients and shapes, in odd sizes and every mode and format), lets
espeak-ng speak (or, without it, a formant synthesiser), runs the processors of transformers and ours over them,
prints a table of differences and exits with 1 when one exceeds its tolerance. Ours is `prepare`, an example of
the runtime's crate, which is built when no program is given.

Three things are compared for each file, so that a difference says where it comes from:

* decode: what our decoder makes of the file, against Pillow's or libsndfile's. Lossless pictures and sound at
  16 kHz must be equal. JPEG and lossy WebP may differ by the rounding of two decoders; MP3 and Vorbis likewise;
  resampled sound by the edges of two low-pass filters.
* prepare: what we make of the decoded medium, against what the reference's processor makes of the same.
  Pictures must be equal bit by bit, spectrograms within 1e-4 on average, counts and masks equal.
* in all: file to tensor on both sides. For information; it follows from the two.

One difference is wanted: Pillow turns nearly all of a 16-bit grey picture white when it converts it to RGB. We
drop the lower eight bits, as it does for 16-bit colours, and so does this script before it compares.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from PIL import Image, ImageDraw, ImageOps
from transformers.image_transforms import convert_to_rgb
from transformers.models.gemma4 import Gemma4AudioFeatureExtractor, Gemma4ImageProcessor
from transformers.models.gemma4.video_processing_gemma4 import Gemma4VideoProcessor
from transformers.models.gemma4_unified.feature_extraction_gemma4_unified import Gemma4UnifiedAudioFeatureExtractor
from transformers.models.gemma4_unified.image_processing_gemma4_unified import Gemma4UnifiedImageProcessor
from transformers.video_utils import VideoMetadata

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 16_000
BUDGETS = [70, 140, 280, 560, 1120]

# Tolerances of decoding: largest and mean difference in grey levels.
LOSSLESS = (0, 0.0)
JPEG = (4, 0.1)
WEBP = (2, 0.1)
SHRUNK_COLOUR = (8, 0.5)
"""JPEG with colour at half the size: decoders smooth it differently at its edges."""

# Tolerances of sound: signal over difference in decibels.
EXACT_DB = math.inf
LOSSY_DB = 40.0
RESAMPLED_DB = 30.0
ROUNDED_DB = 70.0
"""Samples at the right rate that are rounded to 16 bits."""

MEL_MEAN_MAX = 1e-4


# -- pictures

def noise_field(rng, width, height, channels):
    """Clouds: noise at several scales, as photographs have it. [height, width, channels] u8."""
    field = np.zeros((height, width, channels))
    for scale in (2, 5, 13, 34, 89):
        small = rng.standard_normal((height // scale + 2, width // scale + 2, channels))
        rows = np.linspace(0, small.shape[0] - 1.001, height)
        columns = np.linspace(0, small.shape[1] - 1.001, width)
        r, c = rows.astype(int), columns.astype(int)
        fr, fc = (rows - r)[:, None, None], (columns - c)[None, :, None]
        field += scale ** 0.7 * ((small[r][:, c] * (1 - fc) + small[r][:, c + 1] * fc) * (1 - fr)
                                 + (small[r + 1][:, c] * (1 - fc) + small[r + 1][:, c + 1] * fc) * fr)
    field = (field - field.min()) / np.ptp(field)
    return (255 * field).round().astype(np.uint8)


def photograph(rng, width, height):
    """Clouds with a gradient, some shapes with hard edges, and grain."""
    image = Image.fromarray(noise_field(rng, width, height, 3))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(1, max(2, width // 2)), rng.integers(1, max(2, height // 2))
        shape = [pen.rectangle, pen.ellipse][rng.integers(2)]
        shape([x, y, x + w, y + h], fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    pixels = np.asarray(image).astype(float)
    pixels += np.linspace(-30, 30, width)[None, :, None] + rng.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def alpha_field(rng, width, height):
    """A mask with soft and hard edges."""
    return Image.fromarray(np.where((mask := noise_field(rng, width, height, 1)[..., 0]) > 200, 255, mask))


def sixteen_bits(rng, width, height):
    """Grey of 16 bits."""
    clouds = noise_field(rng, width, height, 1)[..., 0].astype(np.uint16)
    return Image.fromarray(clouds * 257 ^ rng.integers(0, 256, clouds.shape, dtype=np.uint16))


def picture_files(folder, rng):
    """Writes 50 pictures; gives (file, tolerance of its decoder)."""
    sizes = [(640, 480), (612, 408), (224, 224), (1280, 640), (1920, 1080), (37, 211), (1001, 333), (49, 47),
             (800, 20), (100, 1500), (1, 1), (3, 500), (2047, 1023), (384, 384), (768, 768), (333, 77)]
    made = []

    def add(kind, image, tolerance, ending, **options):
        path = folder / f"picture-{len(made):02}-{kind}.{ending}"
        image.save(path, **options)
        made.append((path, tolerance))

    for size in sizes:
        add("rgb", photograph(rng, *size), LOSSLESS, "png")
    for size in sizes[:2]:
        photo = photograph(rng, *size)
        add("grey", photo.convert("L"), LOSSLESS, "png")
        add("palette", photo.quantize(37), LOSSLESS, "png")
        add("bits", photo.convert("1"), LOSSLESS, "png")
        rgba = photo.copy()
        rgba.putalpha(alpha_field(rng, *size))
        add("rgba", rgba, LOSSLESS, "png")
        add("grey-alpha", rgba.convert("LA"), LOSSLESS, "png")
        add("palette-clear", photo.quantize(37), LOSSLESS, "png", transparency=3)
        add("webp-lossless", rgba, LOSSLESS, "webp", lossless=True, exact=True)
        add("bmp", photo, LOSSLESS, "bmp")
        add("bmp-palette", photo.quantize(200), LOSSLESS, "bmp")
    add("rgb-keyed", photograph(rng, 300, 200), LOSSLESS, "png", transparency=(255, 255, 255))
    add("grey-16", sixteen_bits(rng, 301, 199), LOSSLESS, "png")
    add("gif", photograph(rng, 301, 199).quantize(128), LOSSLESS, "gif")
    add("jpeg-grey", photograph(rng, 645, 483).convert("L"), JPEG, "jpg", quality=90)
    add("jpeg-444", photograph(rng, 1001, 667), JPEG, "jpg", quality=95, subsampling=0)
    add("jpeg-422", photograph(rng, 640, 480), SHRUNK_COLOUR, "jpg", quality=92, subsampling=1)
    add("jpeg-420", photograph(rng, 1280, 853), SHRUNK_COLOUR, "jpg", quality=85, subsampling=2)
    add("jpeg-progressive", photograph(rng, 777, 555), SHRUNK_COLOUR, "jpg", quality=80, progressive=True)
    add("webp", photograph(rng, 640, 427), WEBP, "webp", quality=85)
    for orientation in (2, 3, 4, 5, 6, 7, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        add(f"turned-{orientation}", photograph(rng, 320, 213), JPEG, "jpg", quality=95, subsampling=0, exif=exif)
    assert len(made) == 50, len(made)
    return made


def reference_picture(path):
    """Upright and in RGB, as transformers' loader and processor do it. [height, width, 3] u8."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(convert_to_rgb(image, return_numpy=True))


# -- sound

SENTENCES = [
    "Turn on the light in the kitchen, please.", "What is the weather like in Vienna tomorrow?",
    "The quick brown fox jumps over the lazy dog.", "Set a timer for seven minutes and thirty seconds.",
    "She sells sea shells by the sea shore.", "Remind me to water the plants at nine.",
    "How many people live in this city?", "Play something quiet and do not wake the child.",
    "My telephone number is five five five, one two three four.", "It was a bright cold day in April.",
]


def formants(rng, seconds, rate):
    """Vowels: pulses through three resonances that wander, with pauses."""
    count = int(seconds * rate)
    time = np.arange(count) / rate
    pitch = 110 + 30 * np.sin(2 * np.pi * 0.7 * time)
    voice = np.zeros(count)
    for centre, width in [(600, 90), (1400, 120), (2600, 160)]:
        wander = centre * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(1, 4) * time))
        for harmonic in range(1, 30):
            gain = 1 / (1 + ((harmonic * pitch - wander) / width) ** 2)
            voice += gain * np.sin(2 * np.pi * harmonic * np.cumsum(pitch) / rate)
    syllables = (np.sin(2 * np.pi * 2.7 * time) > -0.4) * 0.15
    return (voice * syllables + rng.normal(0, 1e-4, count)).clip(-1, 1)


def spoken(rng, index, folder):
    """Speech of some seconds at 22,050 Hz."""
    path = folder / "spoken.wav"
    command = ["espeak-ng", "-v", ["en", "en-us", "de", "fr"][index % 4], "-s", str(rng.integers(120, 200)),
               "-p", str(rng.integers(20, 80)), "-w", str(path), SENTENCES[index % len(SENTENCES)]]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError):
        return formants(rng, rng.uniform(1.5, 4), 22_050)
    return soundfile.read(path)[0]


def sound_files(folder, rng):
    """Writes 20 clips of speech; gives (file, decibels that its decoding must reach)."""
    plans = [(16_000, 1, "WAV", "PCM_16", EXACT_DB), (16_000, 1, "FLAC", "PCM_16", EXACT_DB),
             (16_000, 2, "WAV", "PCM_16", ROUNDED_DB), (16_000, 1, "WAV", "PCM_24", ROUNDED_DB),
             (16_000, 1, "WAV", "FLOAT", ROUNDED_DB), (16_000, 1, "WAV", "PCM_U8", EXACT_DB),
             (16_000, 1, "WAV", "ULAW", EXACT_DB), (16_000, 1, "MP3", "MPEG_LAYER_III", LOSSY_DB),
             (16_000, 1, "OGG", "VORBIS", LOSSY_DB), (8_000, 1, "WAV", "PCM_16", RESAMPLED_DB),
             (11_025, 1, "WAV", "PCM_16", RESAMPLED_DB), (22_050, 1, "WAV", "PCM_16", RESAMPLED_DB),
             (22_050, 2, "OGG", "VORBIS", RESAMPLED_DB), (24_000, 1, "FLAC", "PCM_24", RESAMPLED_DB),
             (32_000, 2, "MP3", "MPEG_LAYER_III", RESAMPLED_DB), (44_100, 1, "FLAC", "PCM_16", RESAMPLED_DB),
             (44_100, 2, "MP3", "MPEG_LAYER_III", RESAMPLED_DB), (48_000, 2, "WAV", "PCM_16", RESAMPLED_DB),
             (48_000, 1, "OGG", "VORBIS", RESAMPLED_DB), (96_000, 2, "FLAC", "PCM_24", RESAMPLED_DB)]
    made = []
    for index, (rate, channels, container, coding, decibels) in enumerate(plans):
        voice = soxr.resample(spoken(rng, index, folder), 22_050, rate, "VHQ") * 0.8
        if channels == 2:
            voice = np.stack([voice, 0.6 * np.roll(voice, 7)], 1)
        path = folder / f"speech-{index:02}-{rate}x{channels}-{coding.lower()}.{container.lower()}"
        soundfile.write(path, voice, rate, format=container, subtype=coding)
        made.append((path, decibels))
    return made


def reference_sound(path):
    """Mono f64, 16 kHz: libsndfile's decoder and soxr's best filter."""
    samples, rate = soundfile.read(path, always_2d=True)
    mono = samples.mean(1)
    return mono if rate == RATE_HZ else soxr.resample(mono, rate, RATE_HZ, "VHQ")


def decibels(reference, ours):
    """How far the reference is above the difference."""
    count = min(len(reference), len(ours))
    difference = reference[:count] - ours[:count]
    noise = float(np.sum(difference ** 2))
    return math.inf if noise == 0 else 10 * math.log10(float(np.sum(reference[:count] ** 2)) / noise)


# -- film

def film_file(folder, rng):
    """Writes a film of 50 frames of 80 ms; gives the file and `[frames, height, width, 3] u8`.

    A PNG, because animated WebP would not come out equal: the decoder (image-webp 0.2.4) lowers some values by one
    or two grey levels where a frame is blended over the one before.
    """
    frames = [photograph(rng, 322, 181) for _ in range(50)]
    path = folder / "film.png"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)
    return path, np.stack([np.asarray(frame) for frame in frames])


# -- comparison

class Table:
    """Prints lines and remembers whether all were within tolerance."""

    def __init__(self):
        self.wrong = 0

    def line(self, name, figures, fits):
        """One medium."""
        self.wrong += not fits
        print(f"{name:44} {figures} {'' if fits else '  <-- exceeds its tolerance'}")


class Ours:
    """What our program makes of files."""

    def __init__(self, folder, program):
        self.folder, self.program, self.jobs = folder, program, []

    def ask(self, kind, path, budget=280):
        """Adds a job; gives its name."""
        name = f"job-{len(self.jobs):04}"
        self.jobs.append({"name": name, "kind": kind, "file": path.name, "budget": budget})
        return name

    def run(self):
        """Does all jobs."""
        (self.folder / "jobs.json").write_text(json.dumps(self.jobs))
        subprocess.run([*self.program, str(self.folder)], check=True)

    def __getitem__(self, name):
        refusal = self.folder / f"{name}.txt"
        if refusal.exists():
            raise SystemExit(f"{name}: {refusal.read_text()}: {self.jobs[int(name[4:])]}")
        return np.load(self.folder / f"{name}.npy")


def processed(processor, pixels, budget):
    """The reference's tensor of one picture without padding, and its count of soft tokens."""
    batch = processor(images=[Image.fromarray(pixels)], max_soft_tokens=budget, return_tensors="np")
    count = int(np.asarray(batch["num_soft_tokens_per_image"]).reshape(-1)[0])
    rows = count * 9 if batch["pixel_values"].shape[-1] == 768 else count
    return batch["pixel_values"][:, :rows], count


def check_pictures(table, files, ours):
    """Compares pictures; every file with one of the budgets, in turn."""
    towers, unified = Gemma4ImageProcessor(), Gemma4UnifiedImageProcessor()
    asked = []
    for index, (path, tolerance) in enumerate(files):
        budget = BUDGETS[index % len(BUDGETS)]
        names = [ours.ask(kind, path, budget) for kind in ("rgb", "image", "image_unified")]
        asked.append((path, tolerance, budget, names))
    yield
    print("\npictures: decoder's largest and mean difference in grey levels; prepared tensor's largest difference")
    decoded_max, prepared_max = 0, 0.0
    for path, (largest, mean), budget, names in asked:
        rgb, image, cells = (ours[name] for name in names)
        reference = reference_picture(path)
        off = np.abs(rgb.astype(int) - reference) if rgb.shape == reference.shape else np.array([999])
        wanted, tokens = processed(towers, rgb, budget)
        wanted_cells, _ = processed(unified, rgb, budget)
        same = image.shape == wanted.shape and cells.shape == wanted_cells.shape
        apart = max(np.abs(image - wanted).max(), np.abs(cells - wanted_cells).max()) if same else math.inf
        in_all, _ = processed(towers, reference, budget)
        total = np.abs(image - in_all).mean() if image.shape == in_all.shape else math.inf
        decoded_max, prepared_max = max(decoded_max, off.max()), max(prepared_max, apart)
        fits = off.max() <= largest and off.mean() <= mean and apart == 0 and same
        table.line(path.name, f"decode {off.max():3} {off.mean():7.4f}   {tokens:4} of {budget:4} tokens   "
                              f"prepare {apart:.1e}   in all {total:.1e}", fits)
    print(f"pictures: {len(asked)}; decoders differ by {decoded_max} at most, prepared tensors by {prepared_max:.1e}")


def check_sounds(table, files, ours):
    """Compares speech."""
    towers, unified = Gemma4AudioFeatureExtractor(), Gemma4UnifiedAudioFeatureExtractor()
    kinds = ("samples", "audio", "audio_mask", "audio_frames")
    asked = [(path, needed, [ours.ask(kind, path) for kind in kinds]) for path, needed in files]
    yield
    print("\nspeech: decoder's agreement; spectrogram's mean and largest difference; both together")
    worst = 0.0
    for path, needed, names in asked:
        samples, features, mask, frames = (ours[name] for name in names)
        exact = (samples / 32768).astype(np.float32)
        reference = reference_sound(path)
        reached = decibels(reference, samples / 32768)
        batch = towers([exact], sampling_rate=RATE_HZ, return_tensors="np")
        wanted, wanted_mask = batch["input_features"][0], batch["input_features_mask"][0].astype(bool)
        real = int(wanted_mask.sum())
        apart = np.abs(features[0, :real] - wanted[:real])
        tokens, wanted_tokens = math.ceil(math.ceil(mask.sum() / 2) / 2), int(wanted_mask[::2][::2].sum())
        same_frames = np.array_equal(frames[0], unified([exact], return_tensors="np")["input_features"][0])
        same_mask = mask.sum() == real and mask[:real].all() and not features[0, real:].any()
        end = towers([reference.astype(np.float32)], sampling_rate=RATE_HZ, return_tensors="np")["input_features"][0]
        rows = min(real, len(end))
        total = np.abs(features[0, :rows] - end[:rows]).mean()
        worst = max(worst, float(apart.mean()))
        fits = (reached >= needed and abs(len(samples) - len(reference)) <= 1 and apart.mean() <= MEL_MEAN_MAX
                and same_frames and same_mask and tokens == wanted_tokens)
        table.line(path.name, f"{reached:6.1f} dB {len(samples) - len(reference):+d}   {tokens:3} tokens   "
                              f"mel {apart.mean():.1e} {apart.max():.1e}   in all {total:.1e}", fits)
    print(f"speech: {len(asked)}; spectrograms differ by {worst:.1e} on average at most, frames of samples by nothing")


def check_film(table, film, ours):
    """Compares the frames and times of a film."""
    path, frames = film
    names = [ours.ask(kind, path) for kind in ("clip", "clip_times")]
    yield
    processor = Gemma4VideoProcessor()
    metadata = VideoMetadata(total_num_frames=len(frames), fps=12.5)
    batch = processor(videos=[frames], video_metadata=[metadata], return_metadata=True, return_tensors="np")
    wanted, times = batch["pixel_values_videos"], batch["video_metadata"][0].timestamps
    found, found_times = (ours[name] for name in names)
    apart = np.abs(found - wanted[:, :found.shape[1]]).max()
    late = np.abs(found_times - np.array(times)).max()
    print("\nfilm: largest difference of a prepared frame, and of a time in seconds")
    table.line(path.name, f"{len(found)} frames   prepare {apart:.1e}   times {late:.1e}",
               len(found) == len(wanted) and apart < 1e-6 and late < 1e-9)


def main():
    """Makes the media, runs both sides, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", type=Path, help="folder for the media and tensors, which is kept")
    parser.add_argument("--prepare", help="our program, if it is built already")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    program = [arguments.prepare] if arguments.prepare else [
        "cargo", "run", "--quiet", "--release", "--manifest-path", str(ROOT / "Cargo.toml"), "-p", "gemma-runtime",
        "--example", "prepare", "--"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        table, ours, rng = Table(), Ours(folder, program), np.random.default_rng(4)
        checks = [check_pictures(table, picture_files(folder, rng), ours),
                  check_sounds(table, sound_files(folder, rng), ours),
                  check_film(table, film_file(folder, rng), ours)]
        for check in checks:
            next(check)
        ours.run()
        for check in checks:
            next(check, None)
    print(f"\n{table.wrong} of 71 exceed a tolerance" if table.wrong else "\nall 71 within tolerance")
    return 1 if table.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
