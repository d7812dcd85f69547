"""Recordings, pictures and films for lessons, with what the towers make of them: drawn once, used a few times."""

import random
from dataclasses import dataclass

import questions
from clips import draw_clip
from dialogues import Request, talk_request, tool_request
from phrases import is_held_out
from questions import Question
from scenes import Film, Scene, draw_film, draw_scene, paint, paint_film
from skills import SKILLS

TALK = 0.15
"""Share of recordings that want no tool."""


@dataclass
class Recording:
    """A request that somebody speaks."""
    request: Request
    rows: object
    """Audio rows, or None where there are no senses."""


@dataclass
class Page:
    """A picture, and a question about it that somebody speaks."""
    scene: Scene
    rows: object
    aloud: Question
    aloud_rows: object


@dataclass
class Reel:
    """A film with the rows of its frames."""
    film: Film
    rows: list


class Material:
    """Pools of one side of the split, renewed piece by piece. Without senses nothing is painted or recorded."""

    def __init__(self, senses, held_out: bool, sizes: tuple, seed: int) -> None:
        self.senses, self.held_out, self.rng = senses, held_out, random.Random(seed)
        self.makers = (self.new_recording, self.new_page, self.new_reel)
        self.sizes = sizes
        self.recordings, self.pages, self.reels = self.pools = ([], [], [])

    def fill(self, share: float = 1.0) -> None:
        """Draws until the pools hold a share of their sizes."""
        for pool, make, size in zip(self.pools, self.makers, self.sizes):
            pool += [make() for _ in range(max(1, int(size * share)) - len(pool))]

    def renew(self) -> None:
        """Adds a piece to the pools, or puts it in an old one's place."""
        which = self.rng.choices(range(len(self.pools)), [7, 7, 1])[0]
        pool, size = self.pools[which], self.sizes[which]
        if len(pool) < size:
            pool.append(self.makers[which]())
        elif size:
            pool[self.rng.randrange(size)] = self.makers[which]()

    def hear(self, sentence: str):
        return self.senses and self.senses.hear(draw_clip(self.rng, self.held_out, sentence).samples)

    def new_recording(self) -> Recording:
        rng = self.rng
        request = talk_request(rng, self.held_out) if rng.random() < TALK else tool_request(
            rng.choice(list(SKILLS)), rng, held_out=self.held_out)
        return Recording(request, self.hear(request.text))

    def new_page(self) -> Page:
        """A scene, and a spoken question whose sentence is not of the other side either."""
        scene = draw_scene(self.rng, self.held_out)
        aloud = questions.ask(scene, self.rng)
        while is_held_out(aloud.words) and not self.held_out:
            aloud = questions.ask(scene, self.rng)
        rows = self.senses and self.senses.see(paint(scene, self.rng))
        return Page(scene, rows, aloud, self.hear(aloud.words))

    def new_reel(self) -> Reel:
        film = draw_film(self.rng, self.held_out)
        frames = self.senses and [self.senses.see(frame) for frame in paint_film(film, self.rng.getrandbits(32))]
        return Reel(film, frames or [None] * len(film.scenes))

    def recording(self, rng: random.Random, tools: list | None = None) -> Recording:
        """Any recording, or mostly one that the named tools serve."""
        found = rng.choice(self.recordings)
        for _ in range(30 if tools and rng.random() < 0.75 else 0):
            if found.request.tool in tools:
                break
            found = rng.choice(self.recordings)
        return found

    def page(self, rng: random.Random) -> Page:
        return rng.choice(self.pages)

    def reel(self, rng: random.Random) -> Reel:
        return rng.choice(self.reels)
