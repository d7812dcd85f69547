"""espeak-ng as a library: speech with the time of every word and every sound in it."""

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np

LIBRARY = "libespeak-ng.so.1"
SYNCHRONOUS, WITH_SOUNDS = 2, 1
"""`espeak_Initialize`: samples go to a callback; events for each sound are wanted."""
RATE, PITCH, RANGE = 1, 3, 4
"""Numbers of `espeak_SetParameter`."""
WORD, END, SOUND = 1, 5, 7
"""Kinds of events."""
BY_CHARACTER, UTF8 = 1, 1


class Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""
    _fields_ = [("kind", ctypes.c_int), ("message", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position_ms", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("name", ctypes.c_char * 8)]


Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


@dataclass(frozen=True)
class Speech:
    """One utterance, and when each part of it begins."""
    samples: np.ndarray
    """Mono f32 at `rate_hz`."""
    rate_hz: int
    words: list
    """`(seconds, offset into the text)` of each word; espeak-ng joins some, such as "in the"."""
    sounds: list
    """`(seconds, name of the phoneme)`; an empty name is silence."""

    def faster(self, factor: float) -> "Speech":
        """Played faster: all tones higher, as out of a smaller throat, and all times earlier."""
        earlier = lambda events: [(at / factor, what) for at, what in events]
        return Speech(self.samples, round(self.rate_hz * factor), earlier(self.words), earlier(self.sounds))


class Espeak:
    """The library, which keeps one voice at a time."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(LIBRARY)
        self.rate_hz = self.library.espeak_Initialize(SYNCHRONOUS, 500, None, WITH_SOUNDS)
        if self.rate_hz <= 0:
            raise OSError(f"{LIBRARY} does not start; is the package espeak-ng-data installed?")
        self.callback = Callback(self.receive)
        self.library.espeak_SetSynthCallback(self.callback)
        self.parts, self.words, self.sounds = [], [], []

    def receive(self, samples, count: int, events) -> int:
        """Takes a block of samples with its events; 0 asks for more."""
        if samples and count:
            self.parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].kind:
            event = events[index]
            if event.kind == WORD:
                self.words.append((event.audio_position_ms / 1000, event.text_position - 1))
            elif event.kind == SOUND:
                self.sounds.append((event.audio_position_ms / 1000, event.name.decode("utf-8", "replace").strip("_ ")))
            index += 1
        return 0

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int, melody: int) -> Speech:
        """`text` in a voice such as `en-us+f3`; pitch and melody (how far it moves) from 0 to 99."""
        self.parts, self.words, self.sounds = [], [], []
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        for number, value in ((RATE, words_per_minute), (PITCH, pitch), (RANGE, melody)):
            self.library.espeak_SetParameter(number, value, 0)
        data = text.encode()
        failed = self.library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, BY_CHARACTER, 0, UTF8, None, None)
        if failed or not self.parts:
            raise OSError(f"espeak-ng says nothing for {text!r}")
        samples = np.concatenate(self.parts).astype(np.float32) / 32768
        return Speech(samples, self.rate_hz, self.words, self.sounds)


@cache
def espeak() -> Espeak:
    """The one instance of the process: the library cannot be started twice."""
    return Espeak()
