"""Writes the model card of the folder from `card.md` and the measured figures.

Usage: python card.py CHECKPOINT_FOLDER [--folder ../demo-model]
Reads `evaluation.json` and `verification.json`, which evaluate.py and verify.py save, from the checkpoint folder.
"""

import argparse
import json
from pathlib import Path

from safetensors import safe_open

from export_demo import FOLDER

TEMPLATE = Path(__file__).parent / "card.md"


def parameters(checkpoint: Path) -> str:
    """The number of weights, in millions."""
    with safe_open(checkpoint / "model.safetensors", "np") as file:
        count = sum(file.get_tensor(name).size for name in file.keys())
    return f"{count / 1e6:.1f} million"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    read = lambda name: json.loads((options.checkpoint / name).read_text())
    evaluation, training = read("evaluation.json"), read("training.json")
    size = sum(path.stat().st_size for path in options.folder.rglob("*") if path.is_file() and path.name != "README.md")
    table = ["| | % |", "|---|---|", *(f"| {name} | {value} |" for name, value in evaluation["figures"].items())]
    fields = {"PARAMS": parameters(options.checkpoint), "COUNT": evaluation["count"], "TABLE": "\n".join(table),
              "VERIFY": f"{max(read('verification.json').values()):.0e}",
              "VOCAB": json.loads((options.folder / "config.json").read_text())["text_config"]["vocab_size"],
              "STEPS": training["steps"], "SIZE": f"{size / 1e6:.1f}"}
    card = TEMPLATE.read_text()
    for name, value in fields.items():
        card = card.replace(f"@{name}@", str(value))
    (options.folder / "README.md").write_text(card)


if __name__ == "__main__":
    main()
