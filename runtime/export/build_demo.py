"""Makes the demo model from nothing: three stages of training, export, verification, held-out set, selftest, card.

Usage: python build_demo.py [--work build] [--out ../demo-model] [--share 1.0] [--gemmad PROGRAM]
Stopped and called again, it goes on where it was. Both towers are trained at the same time, each on a core of its own.
`--share 0.01` makes a hundredth of the steps, to try the way through.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FOLDER = HERE.parent / "demo-model"
STEPS = {"hearing": (6000, 4500), "seeing": (6000, 3500), "answering": (13000,)}
"""Of each stage; of a tower before and after it grows."""
DTYPES = {"fp16": "fp16", "q8": "q8", "q4": "q4,vision=q8,audio=q8"}
"""Precisions that are measured, and how `gemmad --dtype` asks for them."""


def start(script: str, *arguments: object, threads: int = 2) -> subprocess.Popen:
    """One script of this folder, as a process of its own."""
    print(f"== {script}", flush=True)
    surroundings = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen([sys.executable, HERE / script, *map(str, arguments)], env=surroundings)


def finish(*processes: subprocess.Popen) -> None:
    """Waits for all; stops everything where one fails."""
    failed = [process.args[1].name for process in processes if process.wait()]
    if failed:
        sys.exit(f"{' and '.join(failed)} failed; call again to go on from the last checkpoint")


def run(script: str, *arguments: object) -> None:
    finish(start(script, *arguments))


def built() -> Path:
    """Where `make build` puts the program."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "gemmad"


def selftest(gemmad: Path, folder: Path, held_out: Path, checkpoint: Path) -> None:
    """Tests every precision of a folder on both engines; what misses a mark is seen in the card."""
    for precision, dtype in DTYPES.items():
        print(f"== gemmad selftest, {precision}", flush=True)
        report = checkpoint / f"selftest-{precision}.json"
        report.unlink(missing_ok=True)
        subprocess.run([gemmad, "selftest", folder, "--held-out", held_out, "--dtype", dtype, "--json", report])
        if not report.exists():
            sys.exit(f"gemmad selftest wrote no {report}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "build")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--gemmad", type=Path, default=built(), help="the program; make build makes it")
    options = parser.parse_args()
    if not options.gemmad.is_file():
        parser.error(f"no program {options.gemmad}: run make build, or name it with --gemmad")
    work, checkpoint = options.work, options.work / "checkpoint"
    work.mkdir(parents=True, exist_ok=True)
    steps = {stage: [max(1, int(options.share * count)) for count in counts] for stage, counts in STEPS.items()}
    towers = {stage: ("--first", steps[stage][0], "--steps", steps[stage][1]) for stage in ("hearing", "seeing")}
    finish(start("train_hearing.py", work, *towers["hearing"], threads=1),
           start("train_seeing.py", work, *towers["seeing"], threads=1))
    run("train_answering.py", work, "--steps", *steps["answering"])
    run("assemble.py", work)
    run("export_demo.py", checkpoint, "--out", options.out)
    run("verify.py", checkpoint, "--folder", options.out, "--save", checkpoint / "verification.json")
    if options.out == FOLDER:
        # The tests compare the model that is in the repository; a trial elsewhere leaves their data alone.
        run("references.py", checkpoint, "--folder", options.out)
    run("evaluate.py", "--folder", options.out, "--save", checkpoint / "evaluation.json")
    run("examine.py", "--folder", options.out, "--count", 40, "--save", checkpoint / "examined.json")
    held_out = HERE.parent / "held-out" if options.out == FOLDER else work / "held-out"
    run("held_out.py", held_out, "--model", options.out)
    run("precisions.py", checkpoint, work / "precisions", "--folder", options.out)
    selftest(options.gemmad, work / "precisions", held_out, checkpoint)
    run("card.py", checkpoint, "--folder", options.out)


if __name__ == "__main__":
    main()
