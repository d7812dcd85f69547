"""Pictures drawn by program: a room, a front door, an instrument, a sign; and the films that happen there."""

import hashlib
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from things import SHAPE, Thing, draw, shade, traits

SIZES = [(640, 480), (640, 480), (480, 360), (400, 300), (432, 336), (480, 480), (640, 400)]
ROOM_KINDS = ["ball", "cup", "book", "parcel", "chair", "lamp", "plant", "person", "cat", "bottle"]
WALLS = [(222, 212, 190), (190, 205, 215), (205, 215, 195), (215, 195, 190), (170, 165, 160), (120, 125, 140)]
FLOORS = [(168, 120, 72), (140, 140, 136), (110, 84, 60), (160, 150, 130)]
DOORS = [(31, 78, 61), (120, 40, 40), (40, 60, 110), (90, 70, 50), (200, 200, 195)]
THINGS_MAX = 4
THING_WIDTH_MIN = 0.17
"""Share of the picture's width: the tower has ten tokens or so side by side, and a thing is to fill more than one."""


@dataclass(frozen=True)
class Scene:
    """What is where in one picture."""
    place: str
    """`room`, `door` or `wall`."""
    things: tuple

    def of(self, kind: str) -> list:
        return [thing for thing in self.things if thing.kind == kind]

    @property
    def is_held_out(self) -> bool:
        """Whether a hash puts this picture into the held-out tenth: of what is in a room, wherever it stands; of where
        things stand at the door and on the wall, because there are only few things to be there."""
        where = lambda thing: "" if self.place == "room" else str([round(6 * share) for share in thing.box])
        words = " ".join([self.place, *sorted(f"{thing.trait} {thing.kind} {where(thing)}" for thing in self.things)])
        return hashlib.sha256(words.encode()).digest()[1] % 10 == 0


def draw_scene(rng: random.Random, held_out: bool, place: str | None = None, kinds: list | None = None) -> Scene:
    """A scene of one side of the split."""
    while True:
        where = place or rng.choice(["room"] * 6 + ["door"] * 2 + ["wall"] * 2)
        things = MAKERS[where](rng, kinds or [])
        scene = Scene(where, tuple(things))
        # An empty door or room is one picture of few: it cannot be kept for one side.
        if not things or scene.is_held_out == held_out:
            return scene


def furnished(rng: random.Random, kinds: list) -> list:
    """Things in a room, none before another."""
    wanted = kinds + [rng.choice(ROOM_KINDS) for _ in range(rng.randint(1, THINGS_MAX) - len(kinds))]
    if not kinds and rng.random() < 0.25:
        wanted = [wanted[0]] * rng.randint(2, 3)
    return placed(rng, wanted, (THING_WIDTH_MIN, 0.34), (0.3, 0.97))


def at_the_door(rng: random.Random, kinds: list) -> list:
    """Nobody and nothing, a parcel, a person or both before the door."""
    wanted = kinds or [kind for kind in ("parcel", "person") if rng.random() < 0.5]
    return placed(rng, wanted, (THING_WIDTH_MIN, 0.28), (0.6, 0.97))


def on_the_wall(rng: random.Random, kinds: list) -> list:
    """An instrument or a sign."""
    kind = kinds[0] if kinds else rng.choice(["gauge", "sign"])
    return placed(rng, [kind], (0.45, 0.65), (0.3, 0.95))


MAKERS = {"room": furnished, "door": at_the_door, "wall": on_the_wall}


def placed(rng: random.Random, kinds: list, widths: tuple, floor: tuple) -> list:
    """Things of the kinds in free places; `widths` and `floor` (where they stand) as shares of the picture."""
    things = []
    for kind in kinds:
        for _ in range(40):
            width = rng.uniform(*widths)
            height = min(0.85, width * SHAPE[kind] * rng.uniform(0.9, 1.1) * 4 / 3)
            left, bottom = rng.uniform(0.02, 0.98 - width), rng.uniform(*floor)
            bottom = max(bottom, height + 0.02)
            box = (left, bottom - height, left + width, bottom)
            if all(apart(box, other.box) for other in things):
                things.append(Thing(kind, rng.choice(traits(kind)), box))
                break
    return things


def apart(one: tuple, other: tuple) -> bool:
    return one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]


def paint(scene: Scene, rng: random.Random, size: tuple | None = None) -> Image.Image:
    """The picture of a scene; background and size are drawn."""
    size = size or rng.choice(SIZES)
    image = Image.new("RGB", size)
    pen = ImageDraw.Draw(image)
    {"room": paint_room, "door": paint_door, "wall": paint_wall}[scene.place](pen, size, rng)
    for thing in sorted(scene.things, key=lambda thing: thing.box[3]):
        draw(thing, pen, size)
    light = rng.uniform(0.75, 1.05)
    return image.point(lambda value: min(255, int(value * light)))


def paint_room(pen: ImageDraw.ImageDraw, size: tuple, rng: random.Random) -> None:
    """Wall, floor, now and then a window."""
    width, height = size
    edge = rng.uniform(0.55, 0.75) * height
    pen.rectangle([0, 0, width, edge], fill=shade(rng.choice(WALLS), rng.uniform(0.9, 1.1)))
    pen.rectangle([0, edge, width, height], fill=shade(rng.choice(FLOORS), rng.uniform(0.9, 1.1)))
    if rng.random() < 0.5:
        left, top = rng.uniform(0.05, 0.75) * width, rng.uniform(0.05, 0.2) * height
        box = [left, top, left + 0.2 * width, top + 0.25 * height]
        pen.rectangle(box, fill=rng.choice([(16, 24, 48), (150, 200, 235)]), outline=(138, 122, 102), width=4)


def paint_door(pen: ImageDraw.ImageDraw, size: tuple, rng: random.Random) -> None:
    """Bricks, a step and a door in the middle."""
    width, height = size
    brick = shade((156, 91, 72), rng.uniform(0.8, 1.15))
    pen.rectangle([0, 0, width, height], fill=brick)
    for row in range(0, height, 24):
        pen.line([0, row, width, row], fill=shade(brick, 0.85), width=2)
        for column in range((row // 24 % 2) * 24, width, 48):
            pen.line([column, row, column, row + 24], fill=shade(brick, 0.85), width=2)
    pen.rectangle([0, 0.88 * height, width, height], fill=(141, 141, 136))
    colour, left = rng.choice(DOORS), rng.uniform(0.3, 0.45)
    pen.rectangle([left * width, 0.14 * height, (left + 0.28) * width, 0.88 * height], fill=colour,
                  outline=(232, 226, 208), width=6)
    pen.rectangle([(left + 0.06) * width, 0.2 * height, (left + 0.22) * width, 0.4 * height], fill=(185, 212, 221),
                  outline=shade(colour, 0.7), width=3)
    pen.ellipse([(left + 0.235) * width, 0.52 * height, (left + 0.26) * width, 0.555 * height], fill=(230, 193, 90))


def paint_wall(pen: ImageDraw.ImageDraw, size: tuple, rng: random.Random) -> None:
    pen.rectangle([0, 0, *size], fill=shade(rng.choice(WALLS), rng.uniform(0.8, 1.1)))


@dataclass(frozen=True)
class Film:
    """A short film: scenes one after the other, and what happens in a sentence."""
    scenes: tuple
    sentence: str


FRAMES = 4


def draw_film(rng: random.Random, held_out: bool) -> Film:
    """Somebody walks, a parcel comes or goes, a lamp is switched, or nothing happens."""
    story = rng.choice(["walks", "parcel", "lamp", "nothing"])
    if story == "walks":
        scene = draw_scene(rng, held_out, "room", ["person"])
        who, direction = scene.of("person")[0], rng.choice(["left", "right"])
        steps = [shifted(who, share if direction == "right" else 1 - share) for share in (0.05, 0.35, 0.65, 0.95)]
        return Film(tuple(Scene("room", (step,)) for step in steps), f"A person walks to the {direction}.")
    if story == "parcel":
        scene = draw_scene(rng, held_out, "door", ["parcel"])
        empty, comes = Scene("door", ()), rng.random() < 0.5
        before, after = (empty, scene) if comes else (scene, empty)
        cut = rng.randint(1, FRAMES - 1)
        return Film((before,) * cut + (after,) * (FRAMES - cut),
                    "A parcel is put at the door." if comes else "The parcel is taken away.")
    if story == "lamp":
        scene = draw_scene(rng, held_out, "room", ["lamp"])
        first = scene.of("lamp")[0]
        other = Thing("lamp", "off" if first.trait == "on" else "on", first.box)
        turned = Scene("room", tuple(other if thing == first else thing for thing in scene.things))
        cut = rng.randint(1, FRAMES - 1)
        return Film((scene,) * cut + (turned,) * (FRAMES - cut), f"The lamp is turned {other.trait}.")
    return Film((draw_scene(rng, held_out),) * FRAMES, "Nothing happens.")


def shifted(thing: Thing, share: float) -> Thing:
    """The thing at another place along the picture's width."""
    left, top, right, bottom = thing.box
    start = share * (1 - (right - left))
    return Thing(thing.kind, thing.trait, (start, top, start + right - left, bottom))


def paint_film(film: Film, seed: int, size: tuple = (480, 360)) -> list:
    """The frames, all before the same background."""
    return [paint(scene, random.Random(seed), size) for scene in film.scenes]
