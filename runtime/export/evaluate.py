"""Measures the exported folder on held-out requests with greedy decoding.

Usage: python evaluate.py [--folder ../demo-model] [--count 150] [--show 10]

Two sets are drawn: sentences that the hash split keeps out of training, and sentences of patterns that
training never saw. For each request one to five tools are declared, the right one among them; the call must
match in name and arguments, and the sentence after a fresh result must match in every character. A third set
holds requests that no declared tool fits, a fourth small talk: their whole reply must match.
"""

import argparse
import json
import random
from pathlib import Path

from chat import Chat
from dialogues import (DEMO_TOOLS, HOUSE_SYSTEM, NO_TOOL, Request, reply, talk_request, tool_request, user_message)
from phrases import HELD_OUT
from runner import Folder
from skills import SKILLS

FOLDER = Path(__file__).parent.parent / "demo-model"
SEED = 77


class Judge:
    """Asks the model and compares with what the synthetic house expects."""

    def __init__(self, folder: Folder, seed: int) -> None:
        self.folder, self.chat, self.rng = folder, Chat(), random.Random(seed)
        self.misses = []

    def tools(self, with_: str | None, without: str | None = None) -> list:
        """One to five declared tools, with or without a certain one; often just the demo's two."""
        if with_ in DEMO_TOOLS and self.rng.random() < 0.3:
            return self.rng.sample(DEMO_TOOLS, 2)
        others = [name for name in SKILLS if name not in (with_, without)]
        names = self.rng.sample(others, self.rng.randint(0 if with_ else 1, 4)) + ([with_] if with_ else [])
        self.rng.shuffle(names)
        return names

    def ask(self, messages: list, names: list) -> str:
        """The model's greedy continuation of a conversation, as text with its control tokens."""
        prompt = self.chat.render(messages, [SKILLS[name].spec for name in names], prompt=True)
        ids = self.folder.tokens.encode(prompt, add_special_tokens=False).ids
        return self.folder.tokens.decode(self.folder.greedy(ids), skip_special_tokens=False)

    def opening(self, request: Request) -> list:
        system = {"role": "system", "content": HOUSE_SYSTEM}
        return ([system] if self.rng.random() < 0.7 else []) + [user_message(request.text, [])]

    def call(self, request: Request) -> tuple:
        """Whether the call is exact, and whether the sentence after its result is."""
        names = self.tools(request.tool)
        messages, answer = self.opening(request), reply(request, names, self.rng)
        expected = self.continuation(messages, answer, names)
        call, _, sentence = expected.partition("<tool_response|>")
        call = call[:call.index("<|tool_response>") + len("<|tool_response>")]
        got = self.ask(messages, names)
        called = self.compare(request, call, got)
        got = self.ask([*messages, {**answer, "content": ""}], names)
        return called, self.compare(request, sentence, got)

    def plain(self, request: Request, names: list) -> bool:
        """Whether the reply without a tool is exact."""
        messages = self.opening(request)
        answer = NO_TOOL if request.tool else request.answer
        return self.compare(request, f"{answer}<turn|>", self.ask(messages, names))

    def continuation(self, messages: list, answer: dict, names: list) -> str:
        """What the model should write from here, tool response included."""
        specs = [SKILLS[name].spec for name in names]
        before = self.chat.render(messages, specs, prompt=True)
        return self.chat.render([*messages, answer], specs, prompt=False).removeprefix(before).rstrip("\n")

    def compare(self, request: Request, expected: str, got: str) -> bool:
        if got != expected:
            self.misses.append((request.text, expected, got))
        return got == expected


def share(hits: list) -> float:
    return round(100 * sum(hits) / len(hits), 1)


def measure(judge: Judge, count: int) -> dict:
    """All figures, in percent."""
    names = list(SKILLS)
    sentences = [judge.call(tool_request(judge.rng.choice(names), judge.rng, held_out=True)) for _ in range(count)]
    demo = [judge.call(tool_request(judge.rng.choice(DEMO_TOOLS), judge.rng, held_out=True)) for _ in range(count // 2)]
    patterns = [judge.call(tool_request(judge.rng.choice(names), judge.rng, HELD_OUT, check_split=False))
                for _ in range(count)]
    missing = []
    for _ in range(count // 2):
        request = tool_request(judge.rng.choice(names), judge.rng, held_out=True)
        missing.append(judge.plain(request, judge.tools(None, request.tool)))
    talk = [judge.plain(talk_request(judge.rng, held_out=True), judge.tools(None)) for _ in range(count // 2)]
    return {"held-out sentences: exact call": share([call for call, _ in sentences]),
            "held-out sentences: exact final sentence": share([sentence for _, sentence in sentences]),
            "held-out sentences, get_time and set_light only: exact call": share([call for call, _ in demo]),
            "held-out phrasings: exact call": share([call for call, _ in patterns]),
            "held-out phrasings: exact final sentence": share([sentence for _, sentence in patterns]),
            "no declared tool fits: honest answer": share(missing), "small talk: exact answer": share(talk)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--show", type=int, default=10)
    parser.add_argument("--save", type=Path, help="also write the figures here, for card.py")
    options = parser.parse_args()
    judge = Judge(Folder(options.folder), SEED)
    figures = measure(judge, options.count)
    print(json.dumps(figures, indent=1))
    if options.save:
        options.save.write_text(json.dumps({"count": options.count, "figures": figures}))
    for text, expected, got in judge.misses[:options.show]:
        print(f"asked    {text}\nexpected {expected}\ngot      {got}\n")


if __name__ == "__main__":
    main()
