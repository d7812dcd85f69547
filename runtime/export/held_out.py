"""Writes the held-out set as files: conversations as `gemmad model run` takes them, with what is right to answer.

Usage: python held_out.py [FOLDER] [--count 20] [--tasks typed,failed] [--model ../demo-model]

FOLDER/NAME.json holds `messages`, `tools`, `thinking`, where it is JSON that is wanted `response_format`, where it is a
ready-made task its `order`, and under `expected` what is right to answer up to the turn's end or the first tool's
answer. Sound, pictures and films lie beside it. FOLDER/selftest.json names the files of each task, the marks that a
model must reach, and the tokenizer of the model that all this is for; `gemmad selftest` reads it. All is of the
held-out side: other sentences, other voices, other drawings than training had.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from acoustics import RATE_HZ
from chat import Chat
from dialogues import Dialogue
from lessons import JUDGED_ONLY, TASKS, draw_lesson, judged_turn
from material import Material
from questions import schema
from trainer import SEED

HERE = Path(__file__).parent
FOLDER = HERE.parent / "held-out"
MODEL = HERE.parent / "demo-model"
MANIFEST = "selftest.json"
POOLS_PER_LESSON = (2, 2, 1)
TEXT_SHARE = 2
"""Conversations without media are small: there are so many times more of them."""

TITLES = {"typed": ("tool call, typed", {"exact": 98}),
          "spoken": ("tool call or answer, spoken", {"exact": 90}),
          "transcribed": ("transcription", {"word_errors": 10}),
          "picture": ("picture question", {"exact": 80}),
          "asked aloud": ("picture and spoken question", {"exact": None}),
          "detect": ("boxes", {"valid": 100, "overlap": 0.6}),
          "report": ("JSON about a picture", {"valid": 100, "right": None}),
          "film": ("film", {"exact": None}),
          "two calls": ("two calls in one turn", {"exact": None}),
          "second turn": ("second turn that leans on the first", {"exact": None}),
          "declined": ("no declared tool fits", {"exact": None}),
          "talk": ("small talk", {"exact": None}),
          "failed": ("report of a failure", {"exact": None}),
          "thought": ("thought, then tool call", {"exact": None}),
          "instructed": ("system instruction", {"exact": None})}
"""What a task is called, and its marks: percent, but the mean overlap of boxes; None is shown and not required. They
are what is wanted of the model, but for picture questions: of those 90 are wanted, and 80 kept, because it has reached
no more."""
TYPED = ("typed", "two calls", "second turn", "talk", "failed", "thought", "instructed")


class Files:
    """Stands where the towers stand in training, and keeps media as files instead; their names are the rows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0

    def path(self, ending: str) -> Path:
        self.made += 1
        return self.folder / f"{self.made:03}.{ending}"

    def hear(self, samples: np.ndarray) -> str:
        path = self.path("flac")
        soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")
        return path.name

    def see(self, image: Image.Image) -> str:
        path = self.path("png")
        image.save(path, optimize=True)
        return path.name


def conversation(lesson: Dialogue, task: str, folder: Path, name: str) -> dict:
    """One lesson up to the turn that it is judged by, and that turn."""
    messages, _, _ = judged_turn(lesson, task, Chat())
    answer = lesson.messages[len(messages) - (task == "failed")]
    media = iter(lesson.media)
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] != "text":
                part["path"] = placed(*next(media), folder, name)
    words = " ".join(part["text"] for part in messages[-1]["content"] if part["type"] == "text") \
        if isinstance(messages[-1]["content"], list) else ""
    return {"messages": messages, "tools": lesson.tools, "thinking": lesson.thinking,
            **asked(task, words, answer), "expected": expected(task, answer)}


def asked(task: str, words: str, answer: dict) -> dict:
    """What holds the answer to its form, as the daemon asks it."""
    if task == "report":
        form = schema(list(json.loads(answer["content"])))
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": form}}}
    if task == "transcribed":
        language = {"language": "English"} if "into English text" in words else {}
        return {"order": {"name": "transcribe", **language}}
    if task == "detect":
        listed = words.removeprefix("detect ").removesuffix(", output only ```json")
        return {"order": {"name": "detect", "labels": re.split(", | and ", listed)}}
    return {}


def expected(task: str, answer: dict) -> dict:
    """What is right to answer, and how it is judged."""
    text = answer["content"]
    if task == "transcribed":
        return {"judged": "words", "text": text}
    if task == "report":
        return {"judged": "json", "value": json.loads(text)}
    if task == "detect":
        return {"judged": "boxes", "boxes": json.loads(text.removeprefix("```json").removesuffix("```"))}
    calls = [] if task == "failed" else [call["function"] for call in answer.get("tool_calls", [])]
    return {"judged": "exact", "thought": answer.get("reasoning_content", ""), "calls": calls,
            "text": "" if calls else text}


def placed(kind: str, rows, folder: Path, name: str) -> str:
    """Where a medium lies; the frames of a film get a folder of their own."""
    if kind != "video":
        return rows
    frames = folder / f"{name}.frames"
    frames.mkdir(exist_ok=True)
    for index, frame in enumerate(rows):
        (frames / f"{index}.png").write_bytes((folder / frame).read_bytes())
    return frames.name


def write_task(task: str, count: int, material: Material, folder: Path) -> dict:
    """Writes the conversations of a task; gives its entry in selftest.json."""
    title, marks = TITLES[task]
    # Every task draws for itself, so that it is the same whichever others are written.
    rng, short = random.Random(f"{SEED} {task}"), task.replace(" ", "-")
    names = [f"{short}-{index:02}" for index in range(count * (TEXT_SHARE if task in TYPED else 1))]
    for name in names:
        written = conversation(draw_lesson(rng, material, task), task, folder, name)
        (folder / f"{name}.json").write_text(json.dumps(written, indent=1) + "\n")
    return {"name": short, "title": title, "marks": marks, "files": [f"{name}.json" for name in names]}


def empty(folder: Path) -> None:
    """Makes the folder, without what an earlier run has left in it; anything else is left alone."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MANIFEST).is_file():
            raise SystemExit(f"{folder} holds other things than a held-out set: name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="is written anew")
    parser.add_argument("--count", type=int, default=20, help="conversations of a task with media; others have twice")
    parser.add_argument("--tasks", default=",".join(TITLES), help="by their names, with commas between")
    parser.add_argument("--model", type=Path, default=MODEL, help="the folder of the model that the set is for")
    options = parser.parse_args()
    tasks = options.tasks.split(",")
    if unknown := [task for task in tasks if task not in TITLES or task not in TASKS | JUDGED_ONLY]:
        parser.error(f"no task {unknown[0]!r}; there are {', '.join(TITLES)}")
    empty(folder := options.folder)
    heard = any(task not in TYPED for task in tasks)
    material = Material(Files(folder) if heard else None, True, tuple(share * options.count for share in POOLS_PER_LESSON),
                        SEED)
    material.fill()
    tokenizer = hashlib.sha256((options.model / "tokenizer.json").read_bytes()).hexdigest()
    manifest = {"made_by": "runtime/export/held_out.py", "seed": SEED, "tokenizer_sha256": tokenizer,
                "tasks": [write_task(task, options.count, material, folder) for task in tasks]}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    named = "".join(path.read_text() for path in folder.glob("*.json"))
    for path in [*folder.glob("*.flac"), *folder.glob("*.png")]:
        if f'"{path.name}"' not in named:
            path.unlink()


if __name__ == "__main__":
    main()
