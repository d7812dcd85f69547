"""Everything that the decoder is taught, by task: conversations with the rows of their sounds and pictures."""

import random

import questions
from chat import Chat
from dialogues import (HOUSE_SYSTEM, SYSTEMS, Dialogue, draw_tools, follow_up, reply, several, talk_request,
                       tool_request, training_dialogue, user_message)
from material import Material
from skills import PEOPLE, SKILLS
from transcript import written

TRANSCRIBE = ("Transcribe the following speech segment {what}.\n\n"
              "Follow these specific instructions for formatting the answer:\n"
              "* Only output the transcription, with no newlines.\n"
              "* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, and write 3 "
              "instead of three.")
"""As the runtime's task asks."""
LANGUAGES = ["in English into English text", "in its original language"]


AFTER_RESULT = ("failed",)
"""Tasks that are judged by what the model says about a tool's result."""
AT_THE_END = ("second turn",)
"""Tasks that are judged by the last of several turns."""


def judged_turn(lesson: Dialogue, task: str, chat: Chat) -> tuple:
    """The messages before the turn that a task is judged by, the prompt, and what is right to write, with its end."""
    turns = [index for index, message in enumerate(lesson.messages) if message["role"] == "assistant"]
    until = turns[-1 if task in AT_THE_END else 0]
    messages, answer = lesson.messages[:until], lesson.messages[until]
    if task in AFTER_RESULT:
        messages = [*messages, answer | {"content": ""}]
    prompt = chat.render(messages, lesson.tools, prompt=True, thinking=lesson.thinking)
    whole = chat.render(lesson.messages[:until + 1], lesson.tools, prompt=False, thinking=lesson.thinking)
    right, found, _ = whole.removeprefix(prompt).rstrip("\n").partition("<|tool_response>")
    return messages, prompt, right + found


def opened(names: list, rng: random.Random, system: str | None = None) -> Dialogue:
    """A conversation that declares tools; with a system instruction, mostly."""
    dialogue = Dialogue([], [SKILLS[name].spec for name in names])
    if system or rng.random() < 0.65:
        dialogue.messages.append({"role": "system", "content": system or rng.choice(SYSTEMS)})
    return dialogue


def exchange(dialogue: Dialogue, media: list, words: str, answer: dict | str) -> Dialogue:
    """Adds a user's turn and what is right to answer."""
    answer = answer if isinstance(answer, dict) else {"role": "assistant", "content": answer}
    dialogue.messages += [user_message(words, media), answer]
    dialogue.media += media
    return dialogue


def declared(rng: random.Random, tool: str | None) -> list:
    """Declared tools with a certain one among them."""
    names = draw_tools(rng)
    if tool and tool not in names:
        names.insert(rng.randint(0, len(names)), tool)
    return names


def typed(rng: random.Random, material: Material) -> Dialogue:
    """A typed request that a declared tool serves."""
    request = tool_request(rng.choice(list(SKILLS)), rng, held_out=material.held_out)
    names = declared(rng, request.tool)
    return exchange(opened(names, rng), [], request.text, reply(request, names, rng))


def spoken(rng: random.Random, material: Material) -> Dialogue:
    """A spoken request that a declared tool serves; sometimes with what the camera saw just then."""
    found = material.recording(rng)
    names = declared(rng, found.request.tool)
    media = [("image", material.page(rng).rows)] if rng.random() < 0.15 else []
    return exchange(opened(names, rng), [*media, ("audio", found.rows)], "", reply(found.request, names, rng))


def declined(rng: random.Random, material: Material) -> Dialogue:
    """A request, typed or spoken, whose tool is not declared, or that no tool of the house serves."""
    found = material.recording(rng) if rng.random() < 0.5 else None
    request = found.request if found else tool_request(rng.choice(list(SKILLS)), rng, held_out=material.held_out)
    names = [name for name in draw_tools(rng) if name != request.tool]
    media, words = ([("audio", found.rows)], "") if found else ([], request.text)
    return exchange(opened(names, rng), media, words, reply(request, names, rng))


def talk(rng: random.Random, material: Material) -> Dialogue:
    """Typed small talk, or a wish that no tool fulfils."""
    request = talk_request(rng, material.held_out)
    names = draw_tools(rng)
    return exchange(opened(names, rng), [], request.text, reply(request, names, rng))


def two_calls(rng: random.Random, material: Material) -> Dialogue:
    """Two requests in one sentence, two calls in one turn."""
    names = rng.sample(list(SKILLS), rng.randint(2, 4))
    words, answer = several(names[:2], rng, material.held_out)
    rng.shuffle(names)
    return exchange(opened(names, rng), [], words, answer)


def failed(rng: random.Random, material: Material) -> Dialogue:
    """A request whose tool fails; the reason is told."""
    request = tool_request(rng.choice(list(SKILLS)), rng, held_out=material.held_out)
    names = declared(rng, request.tool)
    return exchange(opened(names, rng), [], request.text, reply(request, names, rng, fails=True))


def thought(rng: random.Random, material: Material) -> Dialogue:
    """A request with thinking on: a short plan before the call."""
    request = tool_request(rng.choice(list(SKILLS)), rng, held_out=material.held_out)
    names = declared(rng, request.tool)
    dialogue = opened(names, rng)
    dialogue.thinking = True
    return exchange(dialogue, [], request.text, reply(request, names, rng, thinking=True))


def instructed(rng: random.Random, material: Material) -> Dialogue:
    """A system instruction that changes the answer: the user is to be called by a name."""
    name = rng.choice(PEOPLE)
    request = (talk_request if rng.random() < 0.4 else typed_request)(rng, material.held_out)
    names = declared(rng, request.tool)
    answer = reply(request, names, rng)
    words, mark = answer["content"][:-1], answer["content"][-1]
    dialogue = opened(names, rng, f"{rng.choice([HOUSE_SYSTEM, 'Be brief.'])} Call the user {name}.")
    return exchange(dialogue, [], request.text, answer | {"content": f"{words}, {name}{mark}"})


def second_turn(rng: random.Random, material: Material) -> Dialogue:
    """A request, what came of it, and a second request that leans on it."""
    request = second = None
    while second is None:
        request = tool_request("set_light", rng, held_out=material.held_out)
        second = follow_up(request, rng, material.held_out)
    names = declared(rng, "set_light")
    dialogue = exchange(opened(names, rng), [], request.text, reply(request, names, rng))
    return exchange(dialogue, [], second.text, reply(second, names, rng))


def typed_request(rng: random.Random, held_out: bool):
    return tool_request(rng.choice(list(SKILLS)), rng, held_out=held_out)


def transcribe(rng: random.Random, material: Material) -> Dialogue:
    """Speech to text, in the words of the runtime's task."""
    if rng.random() < 0.2:
        page = material.page(rng)
        rows, sentence = page.aloud_rows, page.aloud.words
    else:
        found = material.recording(rng)
        rows, sentence = found.rows, found.request.text
    words = TRANSCRIBE.format(what=rng.choice(LANGUAGES))
    return exchange(Dialogue([], []), [("audio", rows)], words, written(sentence))


def watching(rng: random.Random) -> Dialogue:
    """The beginning of a talk about a picture, mostly without tools."""
    return opened(draw_tools(rng), rng) if rng.random() < 0.3 else Dialogue([], [])


def picture(rng: random.Random, material: Material) -> Dialogue:
    """One to three questions about a picture; sometimes its caption."""
    page = material.page(rng)
    if rng.random() < 0.12:
        return exchange(Dialogue([], []), [("image", page.rows)], questions.CAPTION, questions.caption(page.scene))
    dialogue, media = watching(rng), [("image", page.rows)]
    for _ in range(rng.choice([1, 2, 3])):
        asked = questions.ask(page.scene, rng)
        words = f"{asked.words[0].upper()}{asked.words[1:]}" if rng.random() < 0.6 else asked.words
        exchange(dialogue, media, words + ("?" if rng.random() < 0.6 else ""), asked.answer)
        media = []
    return dialogue


def report(rng: random.Random, material: Material) -> Dialogue:
    """JSON about a picture."""
    page = material.page(rng)
    asked = questions.report(page.scene, rng)
    return exchange(Dialogue([], []), [("image", page.rows)], asked.words, asked.answer)


def detect(rng: random.Random, material: Material) -> Dialogue:
    """Boxes in a picture."""
    page = material.page(rng)
    asked = questions.detect(page.scene, rng)
    return exchange(Dialogue([], []), [("image", page.rows)], asked.words, asked.answer)


def aloud(rng: random.Random, material: Material) -> Dialogue:
    """A spoken question about a picture."""
    page = material.page(rng)
    return exchange(watching(rng), [("image", page.rows), ("audio", page.aloud_rows)], "", page.aloud.answer)


def film(rng: random.Random, material: Material) -> Dialogue:
    """What happens in a film."""
    reel = material.reel(rng)
    asked = questions.about_film(reel.film, rng)
    return exchange(Dialogue([], []), [("video", reel.rows)], asked.words, asked.answer)


TASKS = {"typed": (typed, 6), "spoken": (spoken, 20), "declined": (declined, 8), "talk": (talk, 4),
         "two calls": (two_calls, 6), "failed": (failed, 2), "thought": (thought, 2), "instructed": (instructed, 3),
         "transcribed": (transcribe, 18), "picture": (picture, 17), "report": (report, 6), "detect": (detect, 12),
         "asked aloud": (aloud, 7), "film": (film, 3), "dialogue": (training_dialogue, 12)}
"""How each task is drawn, and its share of the training."""
JUDGED_ONLY = {"second turn": second_turn}
"""What training has inside of whole conversations, drawn alone to be judged."""


def draw_lesson(rng: random.Random, material: Material, task: str | None = None) -> Dialogue:
    """A lesson of a task, or of any by its share."""
    task = task or rng.choices(list(TASKS), [share for _, share in TASKS.values()])[0]
    draw = JUDGED_ONLY.get(task) or TASKS[task][0]
    return draw(rng, material)
