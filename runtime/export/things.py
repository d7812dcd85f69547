"""Things that pictures show: how each is drawn into its box, and what can be told of it."""

from dataclasses import dataclass
from math import cos, pi, sin

from PIL import ImageDraw, ImageFont

COLOURS = {"red": (205, 40, 40), "green": (40, 150, 60), "blue": (45, 80, 200), "yellow": (235, 205, 50),
           "white": (240, 240, 238), "black": (28, 28, 30), "orange": (240, 130, 30), "purple": (130, 60, 165)}
SIGN_WORDS = ["open", "closed", "exit", "stop", "push", "pull", "hot", "cold", "danger", "sale", "free", "taxi"]
GAUGE_VALUES = [str(10 * step) for step in range(11)]
PLURALS = {"person": "people", "box": "boxes"}
SKIN = (224, 178, 140)


@dataclass(frozen=True)
class Thing:
    """One thing in a picture."""
    kind: str
    trait: str
    """Its colour; `on` or `off` of a lamp, the number of a gauge, the word of a sign; empty where there is none."""
    box: tuple
    """Left, top, right, bottom as shares of the picture."""

    @property
    def name(self) -> str:
        """With its colour, where it has one: `red cup`."""
        return f"{self.trait} {self.kind}" if self.trait in COLOURS else self.kind


class Brush:
    """A pen whose unit square is a box of the picture."""

    def __init__(self, pen: ImageDraw.ImageDraw, box: tuple, size: tuple) -> None:
        (width, height), (left, top, right, bottom) = size, box
        self.pen, self.x, self.y = pen, left * width, top * height
        self.width, self.height = (right - left) * width, (bottom - top) * height
        self.line = max(1, round(min(self.width, self.height) / 22))

    def at(self, *shares: float) -> list:
        """Pixels of alternating x and y shares."""
        return [self.y + self.height * share if index % 2 else self.x + self.width * share
                for index, share in enumerate(shares)]

    def rectangle(self, *shares: float, fill, outline=None) -> None:
        self.pen.rectangle(self.at(*shares), fill=fill, outline=outline, width=self.line)

    def ellipse(self, *shares: float, fill=None, outline=None) -> None:
        self.pen.ellipse(self.at(*shares), fill=fill, outline=outline, width=self.line)

    def polygon(self, *shares: float, fill) -> None:
        self.pen.polygon(self.at(*shares), fill=fill)

    def stroke(self, *shares: float, fill, wide: int = 1) -> None:
        self.pen.line(self.at(*shares), fill=fill, width=self.line * wide)


def shade(colour: tuple, factor: float) -> tuple:
    return tuple(min(255, int(part * factor)) for part in colour)


def ball(brush: Brush, trait: str) -> None:
    colour = COLOURS[trait]
    brush.ellipse(0, 0, 1, 1, fill=colour, outline=shade(colour, 0.7))
    brush.ellipse(0.22, 0.16, 0.42, 0.36, fill=shade(colour, 1.5))


def cup(brush: Brush, trait: str) -> None:
    colour = COLOURS[trait]
    brush.ellipse(0.55, 0.25, 1, 0.75, outline=shade(colour, 0.8))
    brush.polygon(0, 0.06, 0.76, 0.06, 0.66, 1, 0.1, 1, fill=colour)
    brush.ellipse(0, 0, 0.76, 0.16, fill=shade(colour, 0.6))


def book(brush: Brush, trait: str) -> None:
    colour = COLOURS[trait]
    brush.rectangle(0, 0, 1, 1, fill=colour, outline=shade(colour, 0.6))
    brush.rectangle(0, 0, 0.14, 1, fill=shade(colour, 0.6))
    brush.rectangle(0.3, 0.18, 0.85, 0.34, fill=(235, 230, 210))


def parcel(brush: Brush, trait: str) -> None:
    brush.rectangle(0, 0, 1, 1, fill=(201, 154, 91), outline=(138, 100, 52))
    brush.rectangle(0.43, 0, 0.57, 1, fill=(231, 211, 168))
    brush.rectangle(0.66, 0.6, 0.92, 0.88, fill=(245, 245, 240))


def chair(brush: Brush, trait: str) -> None:
    colour = COLOURS[trait]
    brush.rectangle(0, 0, 0.2, 0.6, fill=colour)
    brush.rectangle(0, 0.5, 1, 0.64, fill=colour)
    for left in (0, 0.86):
        brush.rectangle(left, 0.62, left + 0.14, 1, fill=shade(colour, 0.7))


def lamp(brush: Brush, trait: str) -> None:
    if trait == "on":
        brush.ellipse(0, 0, 1, 0.62, fill=(255, 246, 200))
    brush.rectangle(0.46, 0.4, 0.54, 0.95, fill=(90, 90, 95))
    brush.rectangle(0.25, 0.92, 0.75, 1, fill=(70, 70, 75))
    brush.polygon(0.3, 0.04, 0.7, 0.04, 0.92, 0.45, 0.08, 0.45, fill=(255, 214, 70) if trait == "on" else (84, 80, 72))


def plant(brush: Brush, trait: str) -> None:
    for left, top in ((0, 0.2), (0.3, 0), (0.55, 0.15), (0.2, 0.3)):
        brush.ellipse(left, top, left + 0.45, top + 0.42, fill=(48, 125 + int(80 * top), 60))
    brush.polygon(0.22, 0.66, 0.78, 0.66, 0.68, 1, 0.32, 1, fill=(170, 90, 60))


def person(brush: Brush, trait: str) -> None:
    brush.rectangle(0.3, 0.6, 0.48, 1, fill=(50, 55, 80))
    brush.rectangle(0.52, 0.6, 0.7, 1, fill=(50, 55, 80))
    brush.rectangle(0.22, 0.26, 0.78, 0.64, fill=COLOURS[trait])
    for left in (0, 0.8):
        brush.rectangle(left, 0.28, left + 0.2, 0.58, fill=shade(COLOURS[trait], 0.8))
    brush.ellipse(0.28, 0, 0.72, 0.26, fill=SKIN)
    brush.ellipse(0.28, 0, 0.72, 0.12, fill=(70, 45, 30))


def cat(brush: Brush, trait: str) -> None:
    colour = COLOURS[trait]
    brush.ellipse(0.2, 0.4, 1, 1, fill=colour)
    brush.ellipse(0, 0.1, 0.5, 0.66, fill=colour)
    brush.polygon(0.03, 0.3, 0.08, 0, 0.22, 0.16, fill=colour)
    brush.polygon(0.28, 0.16, 0.42, 0, 0.47, 0.3, fill=colour)
    for left in (0.12, 0.3):
        brush.ellipse(left, 0.3, left + 0.08, 0.4, fill=(120, 200, 90))


def bottle(brush: Brush, trait: str) -> None:
    colour = COLOURS[trait]
    brush.rectangle(0.34, 0, 0.66, 0.3, fill=shade(colour, 0.8))
    brush.rectangle(0, 0.28, 1, 1, fill=colour, outline=shade(colour, 0.7))
    brush.rectangle(0.08, 0.5, 0.92, 0.75, fill=(238, 234, 220))


def gauge(brush: Brush, trait: str) -> None:
    brush.ellipse(0, 0, 1, 1, fill=(250, 250, 248), outline=(40, 40, 44))
    angle = lambda value: pi * (value * 1.5 - 25) / 100
    spot = lambda value, far: (0.5 - far * cos(angle(value)), 0.5 - far * sin(angle(value)))
    for value in range(0, 101, 10):
        brush.stroke(*spot(value, 0.36), *spot(value, 0.44), fill=(40, 40, 44))
    brush.stroke(0.5, 0.5, *spot(int(trait), 0.4), fill=(200, 30, 30), wide=2)
    brush.ellipse(0.44, 0.44, 0.56, 0.56, fill=(40, 40, 44))


def sign(brush: Brush, trait: str) -> None:
    brush.rectangle(0, 0, 1, 1, fill=(245, 243, 235), outline=(30, 60, 120))
    font = ImageFont.load_default(size=max(8, min(brush.height * 0.6, 1.45 * brush.width / len(trait))))
    brush.pen.text(brush.at(0.5, 0.5), trait.upper(), fill=(20, 30, 60), font=font, anchor="mm")


DRAWN = {draw.__name__: draw for draw in
         (ball, cup, book, parcel, chair, lamp, plant, person, cat, bottle, gauge, sign)}
SHAPE = {"ball": 1.0, "cup": 1.1, "book": 1.3, "parcel": 0.8, "chair": 1.5, "lamp": 1.6, "plant": 1.4, "person": 2.3,
         "cat": 0.8, "bottle": 2.2, "gauge": 1.0, "sign": 0.45}
"""Height over width, about."""
TRAITS = {"parcel": [""], "plant": [""], "lamp": ["on", "off"], "gauge": GAUGE_VALUES, "sign": SIGN_WORDS}
"""What a kind can be, other than of some colour."""


def traits(kind: str) -> list:
    return TRAITS.get(kind, list(COLOURS))


def draw(thing: Thing, pen: ImageDraw.ImageDraw, size: tuple) -> None:
    """Draws a thing into its box of a picture of `size` pixels."""
    DRAWN[thing.kind](Brush(pen, thing.box, size), thing.trait)
