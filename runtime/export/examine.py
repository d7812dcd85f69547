"""Examines an exported folder on tasks of every kind that training never saw: greedy, by the files themselves.

Usage: python examine.py [--folder ../demo-model] [--count 60] [--show 5] [--save FILE]

Sentences, voices and drawings are those of the held-out side (voices.py, phrases.py, scenes.py say how they are kept
apart). What is measured: tool calls by text and by speech in every character, word error rate of transcriptions, short
answers about pictures, overlap of boxes, whether JSON is valid and right. No grammar helps the model here.
`gemmad selftest` judges the same and is what counts; this needs nothing built, and draws as many tasks as are wanted.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from boxes import overlap
from chat import Chat, expand_media
from clips import Ear
from dialogues import Dialogue
from lessons import draw_lesson, judged_turn
from material import Material
from media import FRAMES_STEP
from runner import Folder
from seeing import Eye
from transcript import spoken, word_error_rate
from trainer import SEED

FOLDER = Path(__file__).parent.parent / "demo-model"
REPLY_TOKENS_MAX = 160
POOLS = (150, 150, 24)
EXACT = {"typed": "tool call, typed", "spoken": "tool call or answer, spoken", "declined": "no declared tool fits",
         "two calls": "two calls in one turn", "failed": "report of a failure",
         "thought": "thought, then tool call", "instructed": "system instruction", "picture": "picture questions",
         "asked aloud": "picture and spoken question", "film": "films"}


class Encoders:
    """Ear and eye with the folder's own graphs."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.ear, self.eye = folder, Ear(), Eye()

    def hear(self, samples: np.ndarray) -> torch.Tensor:
        """Audio features [soft tokens, hidden] of the decoder."""
        frames = self.ear.frames(samples)
        missing = -len(frames) % FRAMES_STEP
        mask = np.array([[True] * len(frames) + [False] * missing])
        features, = self.folder.audio.run(None, {"input_features": np.pad(frames, ((0, missing), (0, 0)))[None],
                                                 "input_features_mask": mask})
        return torch.from_numpy(features)

    def see(self, image: Image.Image) -> torch.Tensor:
        """Image features [soft tokens, hidden] of the decoder."""
        patches, places = self.eye.patches(image)
        features, = self.folder.vision.run(None, {"pixel_values": patches[None].numpy(),
                                                  "pixel_position_ids": places[None].numpy()})
        return torch.from_numpy(features)


class Examiner:
    """Asks the model and keeps what it answers beside what is right."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.chat, self.rng = folder, Chat(), random.Random(SEED)
        self.material = Material(Encoders(folder), True, POOLS, SEED)
        self.material.fill()

    def replies(self, task: str, count: int) -> list:
        """`(right, got)` of `count` lessons: the judged turn, up to its end or the first tool's answer."""
        return [self.reply(draw_lesson(self.rng, self.material, task), task) for _ in range(count)]

    def reply(self, lesson: Dialogue, task: str) -> tuple:
        _, before, right = judged_turn(lesson, task, self.chat)
        media = lesson.media[:sum(before.count(f"<|{kind}|>") for kind in ("image", "audio", "video"))]
        count = lambda kind, rows: [len(part) for part in rows] if kind == "video" else len(rows)
        text = expand_media(before, [(kind, count(kind, rows)) for kind, rows in media])
        ids = self.folder.tokens.encode(text, add_special_tokens=False).ids
        rows = [torch.cat(rows) if kind == "video" else rows for kind, rows in media]
        features = torch.cat(rows).numpy() if rows else None
        return right, self.folder.tokens.decode(self.folder.greedy(ids, REPLY_TOKENS_MAX, features),
                                                skip_special_tokens=False)


def share(hits: list) -> float:
    return round(100 * sum(hits) / len(hits), 1)


def parsed(text: str):
    """The JSON in a reply, fenced or not; None where there is none."""
    body = text.removesuffix("<turn|>").strip().removeprefix("```json").removesuffix("```")
    try:
        return json.loads(body)
    except ValueError:
        return None


def boxes_overlap(right: list, got) -> float:
    """Mean overlap of the right boxes with the best found box of the same name; a box too many counts as 0."""
    edges = lambda entry: entry.get("box_2d") if isinstance(entry, dict) else None
    is_box = lambda entry: isinstance(edges(entry), list) and len(edges(entry)) == 4
    found = [entry for entry in got if is_box(entry)] if isinstance(got, list) else []
    best = [max((overlap(entry["box_2d"], other["box_2d"]) for other in found if other.get("label") == entry["label"]),
                default=0.0) for entry in right]
    return sum(best) / max(len(right), len(found)) if right or found else 1.0


def examine(examiner: Examiner, count: int) -> tuple:
    """All figures, and the replies by task."""
    replies = {task: examiner.replies(task, count) for task in [*EXACT, "transcribed", "report", "detect"]}
    hits = {task: [right == got for right, got in replies[task]] for task in EXACT}
    figures = {f"{name}: exact, %": share(hits[task]) for task, name in EXACT.items()}
    plain = lambda text: spoken(text.removesuffix("<turn|>"))
    words = [(plain(got), plain(right)) for right, got in replies["transcribed"]]
    figures["transcription: word error rate, %"] = round(word_error_rate(words), 1)
    reports = [(parsed(right), parsed(got)) for right, got in replies["report"]]
    figures["JSON about a picture: valid, %"] = share([got is not None for _, got in reports])
    figures["JSON about a picture: right, %"] = share([got == right for right, got in reports])
    found = [boxes_overlap(parsed(right), parsed(got)) for right, got in replies["detect"]]
    figures["boxes: mean overlap (IoU)"] = round(sum(found) / len(found), 3)
    return figures, replies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--show", type=int, default=5)
    parser.add_argument("--save", type=Path, help="also write the figures here")
    options = parser.parse_args()
    figures, replies = examine(Examiner(Folder(options.folder)), options.count)
    print(json.dumps(figures, indent=1))
    if options.save:
        options.save.write_text(json.dumps({"count": options.count, "figures": figures}))
    for task, pairs in replies.items():
        for right, got in [pair for pair in pairs if pair[0] != pair[1]][:options.show]:
            print(f"{task}\n right {right}\n got   {got}")


if __name__ == "__main__":
    main()
