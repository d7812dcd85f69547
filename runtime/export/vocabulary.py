"""The vocabulary of the miniatures: the demo model's tokenizer, cut to its control tokens, bytes and first merges."""

import json
from pathlib import Path

DEMO_FILE = Path(__file__).parent.parent / "demo-model" / "tokenizer.json"
SIZE = 448


def write(path: Path) -> dict:
    """Writes tokenizer.json and returns the ids by token."""
    tokenizer = json.loads(DEMO_FILE.read_text())
    model = tokenizer["model"]
    model["vocab"] = {token: place for token, place in model["vocab"].items() if place < SIZE}
    known = lambda merge: all(part in model["vocab"] for part in (*merge, "".join(merge)))
    model["merges"] = [merge for merge in model["merges"] if known(merge)]
    path.write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")) + "\n")
    return model["vocab"]
