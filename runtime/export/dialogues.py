"""Synthetic conversations in transformers' chat-messages form: requests, tool calls, results and answers."""

import random
from dataclasses import dataclass, field

import phrases
from skills import ROOMS, SKILLS, draw_error, error_sentence

HOUSE_SYSTEM = "You are the voice assistant of this house. Answer in one short sentence."
SYSTEMS = [HOUSE_SYSTEM, HOUSE_SYSTEM, HOUSE_SYSTEM, "You are a helpful assistant.", "Be brief.",
           "You run a small house. Use the tools.", "Answer in one short sentence.",
           "You are the voice of a smart home. Be kind and brief."]
NO_TOOL = "I have no tool for that."
DEMO_TOOLS = ["get_time", "set_light"]


@dataclass
class Request:
    """One user turn and what the model should do with it."""
    text: str
    tool: str | None = None
    slots: dict = field(default_factory=dict)
    answer: str = ""
    """The whole reply where no tool is called."""

    @property
    def arguments(self) -> dict:
        return SKILLS[self.tool].arguments(self.slots)


@dataclass
class Dialogue:
    """A conversation with the tools it declares, and the media of its turns."""
    messages: list
    tools: list
    thinking: bool = False
    media: list = field(default_factory=list)
    """`("image"|"audio", rows)` or `("video", [rows of a frame])` in order of the placeholders."""


def draw_sentence(patterns: list, slots: dict, rng: random.Random, held_out: bool) -> str | None:
    """A sentence of the wished side of the hash split, or None if none turned up."""
    for _ in range(200):
        sentence = phrases.expand(rng.choice(patterns), slots, rng)
        if phrases.is_held_out(sentence) == held_out:
            return sentence
    return None


def tool_request(tool: str, rng: random.Random, bank: dict = phrases.TRAINED, held_out: bool = False,
                 check_split: bool = True) -> Request:
    """A request that `tool` fulfils. `check_split` false takes any sentence (for held-out patterns)."""
    while True:
        kind = rng.choice(list(bank[tool]))
        slots = SKILLS[tool].draw(rng) | {"kind": kind} | phrases.KIND_SLOTS.get((tool, kind), {})
        if check_split:
            sentence = draw_sentence(bank[tool][kind], slots, rng, held_out)
        else:
            sentence = phrases.expand(rng.choice(bank[tool][kind]), slots, rng)
        if sentence:
            return Request(sentence, tool, slots)


def talk_request(rng: random.Random, held_out: bool = False) -> Request:
    """Small talk, or a wish that no tool of the house fulfils."""
    while True:
        slots = {"state": rng.choice(["on", "off"]), "room": rng.choice(ROOMS),
                 "thing": rng.choice(phrases.THINGS), "number": rng.randint(1, 99)}
        answer = rng.choice(list(phrases.SMALL_TALK) + [NO_TOOL] * 3)
        patterns = phrases.UNSUPPORTED if answer == NO_TOOL else phrases.SMALL_TALK[answer]
        sentence = draw_sentence(patterns, slots, rng, held_out)
        if sentence:
            return Request(sentence, answer=answer)


def follow_up(previous: Request, rng: random.Random, held_out: bool = False) -> Request | None:
    """A second request that leans on the first: the same light again, the other way."""
    if previous.tool != "set_light":
        return None
    slots = previous.slots | {"brightness": None, "kind": "switch"}
    if rng.random() < 0.5:
        slots["state"] = rng.choice(["on", "off"])
        patterns = ["turn it <state>", "turn it <state> again", "switch it <state>", "=and <state> again",
                    "=now <state> again", "=and now turn it <state>", "=<state> again", "put it back <state>"]
    else:
        slots["room"] = rng.choice(ROOMS)
        patterns = ["=and the <room>", "=and in the <room>", "=the <room> too", "=the same in the <room>",
                    "=also the <room>", "=now the <room>"]
    sentence = draw_sentence(patterns, slots, rng, held_out)
    return sentence and Request(sentence, "set_light", slots)


def draw_tools(rng: random.Random) -> list:
    """Names of the declared tools: often the demo's two, sometimes none, else one to five of all."""
    draw = rng.random()
    if draw < 0.06:
        return []
    if draw < 0.28:
        return rng.sample(DEMO_TOOLS, 2)
    return rng.sample(list(SKILLS), rng.choice([1, 1, 2, 2, 2, 3, 3, 4, 5]))


def draw_request(tools: list, previous: Request | None, rng: random.Random) -> Request:
    """One training request given what is declared and what came before."""
    draw = rng.random()
    if draw < 0.13:
        return talk_request(rng)
    if draw < 0.30 or not tools:
        return tool_request(rng.choice(list(SKILLS)), rng)
    if previous and draw < 0.40:
        leaning = follow_up(previous, rng)
        if leaning:
            return leaning
    return tool_request(rng.choice(tools), rng)


def thought_about(request: Request) -> str:
    """A short plan for the thinking mode."""
    return f"The user asks for {request.tool}. I call it."


def reply(request: Request, tools: list, rng: random.Random, thinking: bool = False, fails: bool = False) -> dict:
    """The assistant message, with the tool's call and response where one is declared."""
    if request.tool is None:
        return {"role": "assistant", "content": request.answer}
    if request.tool not in tools:
        return {"role": "assistant", "content": NO_TOOL}
    skill = SKILLS[request.tool]
    if fails or rng.random() < 0.1:
        error = draw_error(rng)
        result, sentence = {"error": error}, error_sentence(error)
    else:
        result = skill.result(rng, request.slots)
        sentence = skill.sentence(request.slots, result)
    call = {"type": "function", "function": {"name": request.tool, "arguments": request.arguments}}
    message = {"role": "assistant", "tool_calls": [call],
               "tool_responses": [{"name": request.tool, "response": result}], "content": sentence}
    if thinking:
        message["reasoning_content"] = thought_about(request)
    return message


def user_message(text: str, media: list) -> dict:
    """A user turn: media parts first, then the words."""
    if not media:
        return {"role": "user", "content": text}
    parts = [{"type": kind} for kind, _ in media]
    return {"role": "user", "content": parts + ([{"type": "text", "text": text}] if text else [])}


def several(tools: list, rng: random.Random, held_out: bool) -> tuple:
    """Two requests in one sentence, and the message that calls both tools and reports both results."""
    requests = [tool_request(tool, rng, held_out=held_out) for tool in tools]
    words = [request.text.rstrip(".?") for request in requests]
    joint = rng.choice([" and ", ", and ", " and then ", ", then ", ". "])
    parts = [reply(request, tools, rng) for request in requests]
    merged = {key: [entry for part in parts for entry in part[key]] for key in ("tool_calls", "tool_responses")}
    answer = {"role": "assistant", **merged, "content": " ".join(part["content"] for part in parts)}
    return f"{words[0]}{joint}{words[1][0].lower()}{words[1][1:]}", answer


def draw_turn(names: list, previous: Request | None, rng: random.Random, material) -> tuple:
    """A request and its media: typed, spoken, or with a picture that has nothing to do with it."""
    if rng.random() < 0.3:
        found = material.recording(rng, names)
        return found.request, [("audio", found.rows)]
    media = [("image", material.page(rng).rows)] if rng.random() < 0.05 else []
    return draw_request(names, previous, rng), media


def training_dialogue(rng: random.Random, material) -> Dialogue:
    """One conversation of one to four turns, with recordings and pictures of a `Material`."""
    names = draw_tools(rng)
    dialogue = Dialogue([], [SKILLS[name].spec for name in names])
    if rng.random() < 0.65:
        dialogue.messages.append({"role": "system", "content": rng.choice(SYSTEMS)})
    previous = None
    for _ in range(rng.choice([1, 2, 2, 3, 4])):
        request, media = draw_turn(names, previous, rng, material)
        spoken_words = "" if any(kind == "audio" for kind, _ in media) else request.text
        dialogue.messages += [user_message(spoken_words, media), reply(request, names, rng)]
        dialogue.media += media
        previous = request
    return dialogue
