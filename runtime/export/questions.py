"""What may be asked about a picture, and what is right to answer."""

import json
import random
from dataclasses import dataclass

from scenes import Film, Scene
from things import COLOURS, DRAWN, PLURALS, Thing
from transcript import number_words

PATTERNS = {
    "colour": ["what colour is the <kind>", "which colour has the <kind>", "tell me the colour of the <kind>"],
    "there": ["is there a <kind>", "do you see a <kind>", "can you see a <kind>", "is there a <kind> in the picture"],
    "count": ["how many <kinds> are there", "how many <kinds> do you see", "count the <kinds>"],
    "all": ["what do you see", "what is in the picture", "what is there", "describe the picture"],
    "lamp": ["is the lamp on", "is the lamp on or off", "does the lamp shine"],
    "who": ["who is at the door", "is anybody at the door", "is somebody there"],
    "parcel": ["is there a parcel at the door", "did a parcel come", "is my parcel there"],
    "gauge": ["what does the gauge show", "read the gauge", "how much does the gauge show"],
    "sign": ["what does the sign say", "read the sign", "what is written on the sign"],
    "where": ["where is the <kind>", "on which side is the <kind>"],
}
CAPTION = "Write a short caption for this image. Only output the caption."
"""As the runtime's captioning task asks."""
FILM_WORDS = ["Describe what happens in this video.", "What happens?", "What happens in the film?"]
FIELDS = {"parcel": {"type": "boolean"}, "people": {"type": "integer"}, "lamp": {"enum": ["on", "off", "none"]},
          "things": {"type": "array", "items": {"type": "string"}}, "gauge": {"type": "integer"},
          "sign": {"type": "string"}}


@dataclass(frozen=True)
class Question:
    """The words, as typed or spoken, and the one right answer."""
    words: str
    answer: str


def plural(kind: str) -> str:
    return PLURALS.get(kind, f"{kind}s")


def topics(scene: Scene) -> list:
    """What can be asked with one right answer."""
    found = ["there", "all"]
    alone = [thing for thing in scene.things if len(scene.of(thing.kind)) == 1]
    if scene.place == "room":
        found += ["count"]
    if scene.place == "door":
        found += ["who", "parcel"] * 2
    found += ["colour", "where"] if any(thing.trait in COLOURS for thing in alone) else []
    return found + [thing.kind for thing in alone if thing.kind in ("lamp", "gauge", "sign")] * 2


def ask(scene: Scene, rng: random.Random) -> Question:
    """A question about a scene."""
    topic = rng.choice(topics(scene))
    alone = [thing for thing in scene.things if len(scene.of(thing.kind)) == 1]
    coloured = [thing for thing in alone if thing.trait in COLOURS]
    here = sorted({thing.kind for thing in scene.things})
    kind = rng.choice(here) if here and rng.random() < 0.5 else rng.choice(list(DRAWN))
    kind = rng.choice(coloured).kind if topic in ("colour", "where") else kind
    thing = next((thing for thing in scene.things if thing.kind == (topic if topic in DRAWN else kind)), None)
    words = rng.choice(PATTERNS[topic]).replace("<kind>", kind).replace("<kinds>", plural(kind))
    return Question(words, answer(topic, kind, thing, scene))


def answer(topic: str, kind: str, thing: Thing | None, scene: Scene) -> str:
    """The answer to a topic; `thing` is the first of the kind."""
    if topic in ("colour", "gauge", "sign"):
        return f"{thing.trait.capitalize()}."
    if topic == "lamp":
        return "Yes, it is on." if thing.trait == "on" else "No, it is off."
    if topic == "there":
        return "Yes." if thing else "No."
    if topic == "count":
        return f"{' '.join(number_words(len(scene.of(kind)))).capitalize()}."
    if topic == "where":
        return place(thing)
    if topic == "who":
        return "A person." if scene.of("person") else "Nobody."
    if topic == "parcel":
        return "Yes, there is a parcel." if scene.of("parcel") else "No, there is no parcel."
    return caption(scene)


def place(thing: Thing) -> str:
    """Where a thing is, by the third of the picture that holds its middle."""
    middle = (thing.box[0] + thing.box[2]) / 2
    return "On the left." if middle < 0.36 else "On the right." if middle > 0.64 else "In the middle."


def named(thing: Thing) -> str:
    article = "an" if thing.name[0] in "aeiou" else "a"
    return f"{article} {thing.name}"


def caption(scene: Scene) -> str:
    """All things from left to right."""
    names = [named(thing) for thing in from_the_left(scene)]
    if not names:
        return "A door." if scene.place == "door" else "An empty room."
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{listed[0].upper()}{listed[1:]}."


def from_the_left(scene: Scene) -> list:
    return sorted(scene.things, key=lambda thing: thing.box[0] + thing.box[2])


def report(scene: Scene, rng: random.Random) -> Question:
    """A question that wants JSON, with the schema or with the fields' names."""
    fields = rng.sample(list(FIELDS), rng.randint(1, 3)) if scene.place == "room" else ["parcel", "people"]
    if scene.place == "wall":
        fields = [scene.things[0].kind]
    fits = {"gauge": bool(scene.of("gauge")), "sign": bool(scene.of("sign")), "lamp": len(scene.of("lamp")) < 2}
    fields = [name for name in fields if fits.get(name, True)] or ["things"]
    values = {"parcel": bool(scene.of("parcel")), "people": len(scene.of("person")),
              "lamp": next((thing.trait for thing in scene.of("lamp")), "none"),
              "things": [thing.kind for thing in from_the_left(scene)],
              "gauge": int(next((thing.trait for thing in scene.of("gauge")), 0)),
              "sign": next((thing.trait for thing in scene.of("sign")), "")}
    if rng.random() < 0.5:
        words = f"Report {', '.join(fields)} as JSON."
    else:
        words = f"Answer with JSON of this schema: {json.dumps(schema(fields))}"
    return Question(words, json.dumps({name: values[name] for name in fields}))


def schema(fields: list) -> dict:
    """The JSON schema of a report."""
    return {"type": "object", "properties": {name: FIELDS[name] for name in fields}, "required": fields}


def detect(scene: Scene, rng: random.Random) -> Question:
    """A question for boxes, as the runtime's task asks it; now and then for something that is not there."""
    kinds = sorted({thing.kind for thing in scene.things}, key=lambda kind: rng.random())[:3]
    if not kinds or rng.random() < 0.1:
        kinds.append(rng.choice([kind for kind in DRAWN if kind not in kinds]))
    listed = " and ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)
    found = [thing for kind in kinds for thing in from_the_left(scene) if thing.kind == kind]
    rows = ",\n".join(f"  {json.dumps({'box_2d': edges(thing), 'label': thing.kind})}" for thing in found)
    body = f"[\n{rows}\n]" if found else "[]"
    return Question(f"detect {listed}, output only ```json", f"```json\n{body}\n```")


def edges(thing: Thing) -> list:
    """Top, left, bottom, right in thousandths, to the nearest ten."""
    left, top, right, bottom = (10 * round(100 * share) for share in thing.box)
    return [top, left, bottom, right]


def about_film(film: Film, rng: random.Random) -> Question:
    return Question(rng.choice(FILM_WORDS), film.sentence)
