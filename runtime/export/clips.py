"""Spoken sentences: what is said, by whom, in which room, and what a listener should notice when."""

import random
import re
from dataclasses import dataclass
from functools import cache

import numpy as np
from transformers import Gemma4AudioFeatureExtractor

import phrases
import questions
from acoustics import RATE_HZ, in_a_room
from dialogues import talk_request, tool_request
from espeak import Speech, espeak
from scenes import draw_scene
from skills import SKILLS, values
from things import COLOURS, DRAWN
from transcript import SMALL, TENS, spoken
from voices import Speaker, draw_speaker

TOKEN_SECONDS = 0.04
DELAY_TOKENS = 2
"""The tower sees no future: it may name a word this long after its end."""
AT_LEAST_AFTER_SECONDS = 0.18
"""Silence behind the last word, so that the word can be named."""
SALAD = 0.15
"""Share of sentences that are words in any order, so that sounds are heard and not guessed."""

QUICK = [441 * factor << power for power in range(4, 12) for factor in (4, 5, 6, 7)]
"""Lengths at 22,050 Hz that are whole at 16,000 Hz and made of small factors."""


@dataclass
class Clip:
    """One utterance with its labels."""
    sentence: str
    samples: np.ndarray
    """Mono f32 at 16 kHz."""
    words: list
    """`(soft token, word)`: where each word should be named."""
    sounds: list
    """`(soft token, phoneme)`: where each phoneme begins; "" is silence."""


@cache
def vocabulary() -> list:
    """All words that are ever spoken, in alphabetical order."""
    texts = [values(), *phrases.THINGS, *SMALL, *TENS, "hundred", *phrases.POLITE, *phrases.CLOSING]
    texts += [pattern for bank in (phrases.TRAINED, phrases.HELD_OUT) for kinds in bank.values()
              for patterns in kinds.values() for pattern in patterns]
    texts += [pattern for patterns in phrases.SMALL_TALK.values() for pattern in patterns] + phrases.UNSUPPORTED
    texts += [pattern for patterns in questions.PATTERNS.values() for pattern in patterns]
    texts += [*COLOURS, *DRAWN, *(questions.plural(kind) for kind in DRAWN)]
    return sorted({word for text in texts for word in spoken(re.sub(r"<\w+>", " ", text))})


def draw_sentence(rng: random.Random, held_out: bool) -> str:
    """A request of one side of the split, a question about a picture, or (only in training) a word salad."""
    if not held_out and rng.random() < SALAD:
        return " ".join(rng.choices(vocabulary(), k=rng.randint(2, 7)))
    draw = rng.random()
    if draw < 0.15:
        return draw_question(rng, held_out)
    if draw < 0.3:
        return talk_request(rng, held_out).text
    return tool_request(rng.choice(list(SKILLS)), rng, held_out=held_out).text


def draw_question(rng: random.Random, held_out: bool) -> str:
    """A question about a picture, of one side of the split of sentences."""
    while True:
        words = questions.ask(draw_scene(rng, held_out), rng).words
        if phrases.is_held_out(words) == held_out:
            return words


def draw_clip(rng: random.Random, held_out: bool, sentence: str | None = None) -> Clip:
    """A sentence of one side of the split in a voice of the same side."""
    sentence = sentence or draw_sentence(rng, held_out)
    return record(sentence, draw_speaker(rng, held_out), np.random.default_rng(rng.getrandbits(32)))


def record(sentence: str, speaker: Speaker, noise: np.random.Generator) -> Clip:
    """Lets a speaker say it, and a microphone somewhere in the room take it."""
    said = spoken(sentence)
    speech = espeak().say(" ".join(said), speaker.voice, speaker.words_per_minute, speaker.pitch, speaker.melody)
    speech = speech.faster(speaker.size)
    samples = to_16_khz(speech.samples, speech.rate_hz)
    before, after = noise.uniform(0.02, 0.5), noise.uniform(AT_LEAST_AFTER_SECONDS, 0.6)
    seconds = len(samples) / RATE_HZ
    samples = np.concatenate([np.zeros(int(before * RATE_HZ)), samples, np.zeros(int(after * RATE_HZ))])
    places = [(token(before + at), name) for at, name in speech.sounds]
    return Clip(sentence, in_a_room(samples, noise), named(said, speech, before, seconds), places)


def to_16_khz(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Cuts the spectrum, with silence behind so that the transform has a length that is quick."""
    size = next(size for size in QUICK if size >= len(samples))
    spectrum = np.fft.rfft(np.pad(samples, (0, size - len(samples))))
    count = size * RATE_HZ // rate_hz
    return np.fft.irfft(spectrum[:count // 2 + 1] * (count / size), count)[:len(samples) * RATE_HZ // rate_hz]


def token(seconds: float) -> int:
    """The soft token that is centred on a time."""
    return round(seconds / TOKEN_SECONDS)


def named(said: list, speech: Speech, before: float, seconds: float) -> list:
    """Where each word should be named: behind its end; words that espeak-ng joins stand one after the other."""
    offsets = [offset for _, offset in speech.words] + [10 ** 6]
    ends = [at for at, _ in speech.words[1:]] + [seconds]
    places, position, free = [], 0, 0
    for word in said:
        group = next(index for index, offset in enumerate(offsets[1:]) if position < offset)
        free = max(free, token(before + ends[group]) + DELAY_TOKENS)
        places.append((free, word))
        free, position = free + 1, position + len(word) + 1
    return places


class Ear:
    """The front end of the released models: samples to log-mel frames."""

    def __init__(self) -> None:
        self.extractor = Gemma4AudioFeatureExtractor()

        self.window = self.extractor.window
        self.filters = self.extractor.mel_filters.astype(np.float32)

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """Log-mel [frames, 128] f32 of mono samples at 16 kHz; the extractor's own sums, in f32 for speed."""
        length, hop = self.extractor.frame_length, self.extractor.hop_length
        padded = np.pad(samples.astype(np.float32), (length // 2, 0))
        cut = np.lib.stride_tricks.sliding_window_view(padded, length + 1)[::hop, :length]
        power = np.abs(np.fft.rfft(cut * self.window, self.extractor.fft_length))
        return np.log(power.astype(np.float32) @ self.filters + np.float32(self.extractor.mel_floor))
