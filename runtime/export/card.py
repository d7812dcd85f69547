"""Writes the model card of the folder from `card.md` and the measured figures.

Usage: python card.py CHECKPOINT_FOLDER [--folder ../demo-model]
Reads from the checkpoint folder `evaluation.json`, `examined.json` and `verification.json`, which evaluate.py,
examine.py and verify.py save, and every `selftest*.json`, one for each precision, as `gemmad selftest --json` writes it.
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


def table(figures: dict) -> str:
    """Figures as rows of Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in figures.items())])


def precision(report: dict) -> str:
    """The precision of a report's decoder, and that of its encoders where it is another."""
    found = {graph["role"]: graph["dtype"] for graph in report["graphs"]}
    text, tower = found["decoder"], found.get("vision", found["decoder"])
    return text if text == tower else f"{text}, encoders {tower}"


def shown(row: dict, engine: str) -> str:
    """A figure, and a cross where it misses its mark."""
    cell = row["engines"].get(engine) or {"figure": None, "passed": None}
    if cell["figure"] is None:
        return "-" if cell["passed"] is None else "✗"
    return f"{cell['figure']:.{row['digits']}f}{' ✗' if cell['passed'] is False else ''}"


def tested(reports: list) -> str:
    """One row for each task and measure, one column for each precision and engine."""
    columns = [(report, engine) for report in reports for engine in report["engines"]]
    head = ["task", "measure", "conversations", "mark", *(f"{precision(report)}, {engine}" for report, engine in columns)]
    lines = [head, ["---"] * len(head)]
    for row in reports[0]["rows"]:
        same = lambda report: next((other for other in report["rows"] if (other["name"], other["measure"]) ==
                                    (row["name"], row["measure"])), {"engines": {}, "digits": 0})
        # Of the checks that fit any model the card keeps those that compare.
        if not row["conversations"] and row["name"] != "engines":
            continue
        mark = "" if row["mark"] is None else f"{'≥' if row['at_least'] else '≤'} {row['mark']:g}"
        lines.append([row["title"], row["measure"], str(row["conversations"] or ""), mark,
                      *(shown(same(report), engine) for report, engine in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    read = lambda name: json.loads((options.checkpoint / name).read_text())
    evaluation, training, examined = read("evaluation.json"), read("training.json"), read("examined.json")
    size = sum(path.stat().st_size for path in options.folder.rglob("*") if path.is_file() and path.name != "README.md")
    reports = [json.loads(path.read_text()) for path in sorted(options.checkpoint.glob("selftest*.json"))]
    if not reports:
        parser.error(f"no selftest*.json in {options.checkpoint}: run gemmad selftest {options.folder} --json there")
    stages = [f"{stage} {done['step']} steps in {done['seconds'] / 60:.0f} core minutes"
              for stage, done in training["stages"].items()]
    fields = {"PARAMS": parameters(options.checkpoint), "COUNT": evaluation["count"],
              "TABLE": table(evaluation["figures"]), "EXAMINED": table(examined["figures"]),
              "EXAMINED_COUNT": examined["count"],
              "SELFTEST": tested(reports),
              "VERIFY": f"{max(read('verification.json').values()):.0e}",
              "VOCAB": json.loads((options.folder / "config.json").read_text())["text_config"]["vocab_size"],
              "STAGES": "; ".join(stages), "SEED": training["seed"], "SIZE": f"{size / 1e6:.1f}"}
    card = TEMPLATE.read_text()
    for name, value in fields.items():
        card = card.replace(f"@{name}@", str(value))
    (options.folder / "README.md").write_text(card)


if __name__ == "__main__":
    main()
