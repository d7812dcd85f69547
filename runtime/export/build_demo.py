"""Makes the demo model from nothing: train, export, verify, reference data, evaluation, card.

Usage: python build_demo.py [--steps N] [--work build]
Without --steps it repeats the number of steps of the committed model.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STEPS = 1720


def run(script: str, *arguments: object) -> None:
    """One script of this folder; stops everything where it fails."""
    print(f"== {script}", flush=True)
    subprocess.run([sys.executable, HERE / script, *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--work", type=Path, default=HERE / "build")
    options = parser.parse_args()
    run("train_demo.py", options.work, "--steps", options.steps)
    run("export_demo.py", options.work)
    run("verify.py", options.work, "--save", options.work / "verification.json")
    run("references.py", options.work)
    run("evaluate.py", "--save", options.work / "evaluation.json")
    run("card.py", options.work)


if __name__ == "__main__":
    main()
