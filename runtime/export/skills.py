"""The twelve tools of the synthetic house: declaration, arguments, result and the sentence that reports it.

`get_time` and `set_light` are the two tools that the demo really offers; their declarations must stay
as they are. The other ten only exist so that the model learns to choose.
"""

import random
from dataclasses import dataclass
from typing import Callable

ROOMS = ["kitchen", "bedroom", "bathroom", "living room", "hall", "hallway", "office", "garage", "cellar",
         "attic", "dining room", "guest room", "nursery", "study", "garden", "balcony", "porch",
         "laundry room", "playroom", "kids room"]
DOORS = ["front door", "back door", "garage door", "garden gate", "cellar door", "balcony door"]
MUSIC = ["jazz", "rock", "classical music", "piano music", "pop", "the radio", "folk songs", "dance music",
         "quiet music", "the news", "blues", "christmas songs", "rain sounds", "opera", "guitar music"]
ITEMS = ["milk", "bread", "eggs", "butter", "apples", "coffee", "tea", "cheese", "rice", "soap", "bananas",
         "tomatoes", "onions", "paper towels", "batteries", "dog food", "sugar", "flour", "orange juice",
         "light bulbs", "salt", "pasta", "toothpaste", "yoghurt"]
PEOPLE = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Max", "Mia", "Paul", "Sara", "Tom",
          "Grandma", "Dad", "Mum", "Lisa"]
NOTES = ["dinner is ready", "i am late", "call me back", "the parcel is here", "please buy milk",
         "the train is late", "good night", "we leave at eight", "see you tomorrow", "feed the cat",
         "i am at home", "happy birthday"]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
SKIES = ["rain", "light rain", "sunny", "cloudy", "snow", "fog", "wind", "a clear sky", "showers", "storms"]
SPEEDS = ["low", "medium", "high"]


@dataclass(frozen=True)
class Skill:
    """One tool: its function spec and the rules that turn a request into a call, a result and a sentence."""
    spec: dict
    draw: Callable[[random.Random], dict]
    """Slot values that a phrase may use."""
    arguments: Callable[[dict], dict]
    """Slots to call arguments."""
    result: Callable[[random.Random, dict], dict]
    """Slots to a successful result."""
    sentence: Callable[[dict, dict], str]
    """Slots (only the kind of question is read) and result to the answer."""


def function_spec(name: str, description: str, properties: dict, required: list) -> dict:
    """An OpenAI-style function declaration."""
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def text(description: str) -> dict:
    return {"type": "string", "description": description}


def integer(description: str) -> dict:
    return {"type": "integer", "description": description}


def choice(*values: str) -> dict:
    return {"type": "string", "enum": list(values)}


def picked(slots: dict, *names: str) -> dict:
    """The named slots that have a value."""
    return {name: slots[name] for name in names if slots.get(name) is not None}


def clock_result(rng: random.Random, slots: dict) -> dict:
    date = f"20{rng.randint(24, 39)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    return {"date": date, "time": f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
            "weekday": rng.choice(WEEKDAYS)}


def clock_sentence(slots: dict, result: dict) -> str:
    if slots["kind"] == "time":
        return f"It is {result['time']}."
    return f"It is {result['weekday']}, {result['date']}."


def light_result(rng: random.Random, slots: dict) -> dict:
    result = picked(slots, "room", "state", "brightness")
    if rng.random() < 0.08:  # the sentence must report the result, not the wish
        result["state"] = rng.choice(["on", "off"])
    if "brightness" in result and rng.random() < 0.1:
        result["brightness"] = rng.randint(1, 100)
    return result


def light_sentence(slots: dict, result: dict) -> str:
    level = f" at {result['brightness']} percent" if "brightness" in result and result["state"] == "on" else ""
    return f"The {result['room']} light is {result['state']}{level}."


def heating_sentence(slots: dict, result: dict) -> str:
    where = f" in the {result['room']}" if "room" in result else ""
    return f"The heating{where} is set to {result['temperature']} degrees."


def draw_light(rng: random.Random) -> dict:
    brightness = rng.choice([rng.randint(1, 100), 10 * rng.randint(1, 10)])
    return {"room": rng.choice(ROOMS), "state": rng.choice(["on", "off"]), "brightness": brightness}


SKILLS = {
    "get_time": Skill(
        spec=function_spec("get_time", "Tell the time and date.", {}, []),
        draw=lambda rng: {},
        arguments=lambda slots: {},
        result=clock_result, sentence=clock_sentence),
    "set_light": Skill(
        spec=function_spec("set_light", "Switch a light.",
                           {"room": text("Room name"), "state": choice("on", "off"),
                            "brightness": integer("Percent")}, ["room", "state"]),
        draw=draw_light,
        arguments=lambda slots: picked(slots, "room", "state", "brightness"),
        result=light_result, sentence=light_sentence),
    "set_thermostat": Skill(
        spec=function_spec("set_thermostat", "Set the heating.",
                           {"temperature": integer("Degrees Celsius"), "room": text("Room name")},
                           ["temperature"]),
        draw=lambda rng: {"temperature": rng.randint(12, 28), "room": rng.choice(ROOMS)},
        arguments=lambda slots: picked(slots, "temperature", "room"),
        result=lambda rng, slots: picked(slots, "temperature", "room"),
        sentence=heating_sentence),
    "lock_door": Skill(
        spec=function_spec("lock_door", "Lock or unlock a door.",
                           {"door": text("Which door"), "action": choice("lock", "unlock")}, ["door", "action"]),
        draw=lambda rng: {"door": rng.choice(DOORS), "action": rng.choice(["lock", "unlock"])},
        arguments=lambda slots: picked(slots, "door", "action"),
        result=lambda rng, slots: {"door": slots["door"], "state": slots["action"] + "ed"},
        sentence=lambda slots, result: f"The {result['door']} is {result['state']}."),
    "play_music": Skill(
        spec=function_spec("play_music", "Play music.", {"what": text("Style or station")}, ["what"]),
        draw=lambda rng: {"what": rng.choice(MUSIC)},
        arguments=lambda slots: picked(slots, "what"),
        result=lambda rng, slots: {"playing": slots["what"]},
        sentence=lambda slots, result: f"Now playing {result['playing']}."),
    "set_timer": Skill(
        spec=function_spec("set_timer", "Start a timer.", {"minutes": integer("Minutes")}, ["minutes"]),
        draw=lambda rng: {"minutes": rng.choice([rng.randint(1, 20), rng.randint(1, 90)])},
        arguments=lambda slots: picked(slots, "minutes"),
        result=lambda rng, slots: {"minutes": slots["minutes"]},
        sentence=lambda slots, result: f"The timer is set for {result['minutes']} minutes."),
    "get_weather": Skill(
        spec=function_spec("get_weather", "Look up the weather.", {"day": choice("today", "tomorrow")}, ["day"]),
        draw=lambda rng: {"day": rng.choice(["today", "tomorrow"])},
        arguments=lambda slots: picked(slots, "day"),
        result=lambda rng, slots: {"day": slots["day"], "sky": rng.choice(SKIES), "high": rng.randint(1, 35)},
        sentence=lambda slots, result:
            f"The weather {result['day']}: {result['sky']}, up to {result['high']} degrees."),
    "move_blinds": Skill(
        spec=function_spec("move_blinds", "Open or close blinds.",
                           {"room": text("Room name"), "position": choice("open", "closed")},
                           ["room", "position"]),
        draw=lambda rng: {"room": rng.choice(ROOMS), "position": rng.choice(["open", "closed"])},
        arguments=lambda slots: picked(slots, "room", "position"),
        result=lambda rng, slots: picked(slots, "room", "position"),
        sentence=lambda slots, result: f"The {result['room']} blinds are {result['position']}."),
    "add_to_list": Skill(
        spec=function_spec("add_to_list", "Add to the shopping list.", {"item": text("What to buy")}, ["item"]),
        draw=lambda rng: {"item": rng.choice(ITEMS)},
        arguments=lambda slots: picked(slots, "item"),
        result=lambda rng, slots: {"item": slots["item"], "count": rng.randint(1, 30)},
        sentence=lambda slots, result: f"I added {result['item']} to the list."),
    "send_note": Skill(
        spec=function_spec("send_note", "Send a note to a person.",
                           {"to": text("Person"), "text": text("The note")}, ["to", "text"]),
        draw=lambda rng: {"to": rng.choice(PEOPLE), "text": rng.choice(NOTES)},
        arguments=lambda slots: picked(slots, "to", "text"),
        result=lambda rng, slots: {"sent": True, "to": slots["to"]},
        sentence=lambda slots, result: f"I sent the note to {result['to']}."),
    "set_fan": Skill(
        spec=function_spec("set_fan", "Set a fan.",
                           {"room": text("Room name"), "speed": choice("off", "low", "medium", "high")},
                           ["room", "speed"]),
        draw=lambda rng: {"room": rng.choice(ROOMS), "speed": rng.choice(SPEEDS)},
        arguments=lambda slots: picked(slots, "room", "speed"),
        result=lambda rng, slots: picked(slots, "room", "speed"),
        sentence=lambda slots, result: f"The {result['room']} fan is set to {result['speed']}."),
    "find_phone": Skill(
        spec=function_spec("find_phone", "Ring a lost phone.", {"owner": text("Whose phone")}, []),
        draw=lambda rng: {"owner": rng.choice(PEOPLE)},
        arguments=lambda slots: picked(slots, "owner"),
        result=lambda rng, slots: {"ringing": True, **picked(slots, "owner")},
        sentence=lambda slots, result:
            f"The phone of {result['owner']} is ringing." if "owner" in result else "Your phone is ringing."),
}


def values() -> str:
    """Every value that a slot can take, as words."""
    lists = (ROOMS, DOORS, MUSIC, ITEMS, PEOPLE, NOTES, SPEEDS, ["on", "off", "lock", "unlock", "today", "tomorrow"])
    return " ".join(" ".join(names) for names in lists)


def draw_error(rng: random.Random) -> str:
    """A failure message as a tool might report it."""
    thing = rng.choice(["light", "door", "lamp", "fan", "heating", "radio", "phone", "bridge", "sensor", "hub"])
    return rng.choice([
        f"no {thing} in the {rng.choice(ROOMS)}", f"the {thing} does not answer", f"unknown room {rng.choice(ROOMS)}",
        f"the {thing} is broken", "no network", "timed out", f"timed out after {rng.randint(1, 60)} seconds",
        "not allowed at night", f"the {thing} is locked", f"the {rng.choice(ROOMS)} {thing} is offline",
        f"no {thing} found", "the battery is empty", "device busy", f"code {rng.randint(100, 599)}"])


def error_sentence(error: str) -> str:
    return f"Sorry, that did not work: {error}."
