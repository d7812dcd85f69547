"""Voices of espeak-ng, and which of them training never hears."""

import random
from dataclasses import dataclass

ACCENTS = ["en", "en-us", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]
TRAINED = ["", "m1", "m2", "m3", "m5", "m6", "m7", "f1", "f2", "f3", "f5", "Alex", "Alicia", "Andy", "Annie",
           "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Mario", "Mike", "adam", "anika",
           "antonio", "aunty", "benjamin", "boris", "caleb", "ed", "edward2", "grandma", "gustave", "iven",
           "iven2", "john", "linda", "marcelo", "max", "michel", "norbert", "paul", "pedro", "rob",
           "sandro", "steph2", "steph3", "travis", "zac", "klatt2"]
HELD_OUT = ["m4", "m8", "f4", "Andrea", "Gene2", "Marco", "Michael", "belinda", "david", "edward", "grandpa",
            "iven3", "miguel", "pablo", "quincy", "robert", "shelby", "steph", "victor"]
"""Variants that only the held-out sets use. An accent alone makes nobody held out: both sets have all of them."""


@dataclass(frozen=True)
class Speaker:
    """A voice and how it speaks."""
    voice: str
    words_per_minute: int
    pitch: int
    melody: int
    size: float = 1.0
    """How much faster the voice is played: above 1 the speaker is smaller."""


def draw_speaker(rng: random.Random, held_out: bool) -> Speaker:
    """A speaker of the wished side of the split; the plain voice is the demo's and comes up more often.

    Most of training's speakers are larger or smaller than espeak-ng has them, so that there are more than it has voices.
    """
    variant = rng.choice(HELD_OUT if held_out else TRAINED + [""] * 3)
    voice = rng.choice(ACCENTS) + (f"+{variant}" if variant else "")
    size = 1.0 if held_out or rng.random() < 0.3 else rng.uniform(0.88, 1.14)
    return Speaker(voice, rng.randint(120, 200), rng.randint(15, 85), rng.randint(20, 80), size)
