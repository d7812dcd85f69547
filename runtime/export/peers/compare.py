"""Measures gemmad and other runtimes side by side on the full-size E2B shape with random weights.

Usage: python compare.py --gemmad PROGRAM --folder DIR [--json FILE] [--repeats 3] [--threads 2] [--only NAME ...]

Builds what is missing in DIR (it says first how much disk that takes), lets gemmad write its fast graph, and runs one
runtime after the other on the same cores, each in a process of its own, again and again in turn. Prints medians with
the least and the largest, ratios, and whether the bars are held. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bars import verdicts
from table import summary

HERE = Path(__file__).parent
PROMPT, PAST = 512, [0, 512]
"""What is measured in every repeat."""
LONG, LONGEST = [2048], [4096, 8192]
"""What is processed once and measured from there several times: by every runtime, and by ours."""
ROUNDS = 3
PATIENCE_S = 900
READ_BYTES = 1 << 24


def numbers(values: list) -> str:
    return ",".join(str(value) for value in values)


class Runtime:
    """One column of the comparison: how it is run, and what it has been measured at."""

    def __init__(self, name: str, model: Path, command: list) -> None:
        self.name, self.model, self.command = name, model, command
        self.runs, self.failure = [], None

    def run(self, repeat: int, prompt: int, past: list) -> dict:
        """Measures once."""
        lengths = ["--prompt", str(prompt), "--past", numbers(past), "--repeat", str(repeat),
                   "--rounds", rounds(past)]
        return json.loads(said([*self.command, *lengths]).splitlines()[-1])

    def measure(self, repeat: int, prompt: int = PROMPT, past: list = PAST) -> None:
        """Measures once and keeps what came out; a failure ends this runtime's part."""
        warm(self.model)
        try:
            self.runs.append(self.run(repeat, prompt, past) | {"repeat": repeat})
        except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as error:
            self.failure = str(error)


class Ours(Runtime):
    """gemmad, whose report is read from its file."""

    def run(self, repeat: int, prompt: int, past: list) -> dict:
        lengths = ["--prompt", str(prompt), "--past", numbers(past), "--rounds", rounds(past)]
        if past != LONGEST:
            lengths.append("--speed-only")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.json"
            said([*self.command, *lengths, "--json", str(path)])
            report = json.loads(path.read_text())
        decode = {str(entry["past"]): entry for entry in report["decode"]}
        return {
            "load_s": report["load"]["first_s"], "version": report["version"],
            "prefill": {str(entry["tokens"]): entry["tokens_per_s"]["median"] for entry in report["prefill"]},
            "decode": {past: entry["tokens_per_s"]["median"] for past, entry in decode.items()},
            "memory": {past: entry["memory"] for past, entry in decode.items()},
            "bandwidth_share": {past: entry["bandwidth_share"] for past, entry in decode.items()},
            "overhead": {past: entry["overhead"] for past, entry in decode.items()},
            "first_word": report["first_word"], "machine": report["machine"], "decoder": decoder_file(report)}


def rounds(past: list) -> str:
    """How often tokens are made behind each prompt: several times where the prompt takes long."""
    return "1" if past == PAST else str(ROUNDS)


def said(command: list) -> str:
    """What a program prints.

    Raises RuntimeError with its last words when it fails.
    """
    made = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if made.returncode != 0:
        words = (made.stderr.strip() or made.stdout.strip() or f"status {made.returncode}").splitlines()
        raise RuntimeError(words[-1])
    return made.stdout.strip()


def decoder_file(report: dict) -> str:
    return next(Path(graph["file"]).name for graph in report["model"]["graphs"] if graph["role"] == "decoder")


def warm(model: Path) -> None:
    """Reads a model's files, so that every runtime finds them in the page cache."""
    for path in [model] if model.is_file() else sorted(path for path in model.rglob("*") if path.is_file()):
        with path.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                pass


def built(options) -> tuple:
    """The folders and the file that are measured."""
    command = [sys.executable, str(HERE.parent / "full_size.py"), str(options.folder), "--layouts", "a", "b", "gguf"]
    subprocess.run(command, check=True)
    return tuple(options.folder / name for name in ("e2b-a", "e2b-b", "e2b.gguf"))


def optimised(gemmad: str, folder: Path) -> bool:
    """Whether the folder has a fast graph, which is written anew: the program may know better ones."""
    made = subprocess.run([gemmad, "model", "optimize", str(folder)], capture_output=True, text=True)
    if made.returncode != 0:
        print("no fast graph:", (made.stderr.strip().splitlines() or ["no reason"])[-1], flush=True)
    return made.returncode == 0


def runtimes(options) -> list:
    """Everything that is compared."""
    merged, split, gguf = built(options)
    threads = ["--threads", str(options.threads)]
    ours = lambda graph: [options.gemmad, "bench", str(merged), "--graph", graph, *threads]
    python = lambda script, model: [sys.executable, str(HERE / script), str(model), *threads]
    found = [Ours("ours, published graph", merged, ours("published"))]
    if optimised(options.gemmad, merged):
        found.append(Ours("ours, fast graph", merged, ours("fast")))
    found.append(Runtime("onnxruntime-genai", split, python("genai.py", split)))
    for flash in ("on", "off"):
        command = python("llama.py", gguf) + ["--flash", flash]
        found.append(Runtime(f"llama.cpp, flash attention {flash}", gguf, command))
    wanted = options.only or [""]
    return [runtime for runtime in found if any(part in runtime.name for part in wanted)]


def faster_flash(found: list) -> list:
    """Without the slower of two settings of one peer, by time for a prompt of 512 and 128 tokens behind it."""
    def seconds(runtime: Runtime) -> float:
        run = runtime.runs[0]
        return PROMPT / run["prefill"][str(PROMPT)] + 128 / run["decode"][str(PROMPT)]
    llama = [runtime for runtime in found if runtime.name.startswith("llama.cpp") and runtime.runs]
    slower = sorted(llama, key=seconds)[1:]
    for runtime in slower:
        print(f"{runtime.name}: slower, left out after one run", flush=True)
    return [runtime for runtime in found if runtime not in slower]


def measure(options) -> list:
    """All runs, interleaved; each repeat begins with another runtime."""
    found = runtimes(options)
    for repeat in range(options.repeats):
        start = repeat % max(len(found), 1)
        for runtime in found[start:] + found[:start]:
            if not runtime.failure:
                print(f"repeat {repeat + 1} of {options.repeats}: {runtime.name}", flush=True)
                runtime.measure(repeat)
        if repeat == 0:
            found = faster_flash(found)
    for runtime, past in [] if options.short else long_runs(found):
        if not runtime.failure:
            print(f"behind {numbers(past)} tokens: {runtime.name}", flush=True)
            runtime.measure(options.repeats, 0, past)
    return found


def long_runs(found: list) -> list:
    """The runs behind long contexts: all behind 2,048, ours farther, and only the fast graph with all there is."""
    ours = [(one, LONGEST if "fast" in one.name else LONGEST[-1:]) for one in found if isinstance(one, Ours)]
    return [(one, LONG) for one in found] + ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gemmad", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="runtimes whose name holds one of these")
    parser.add_argument("--short", action="store_true", help="leave out the contexts beyond 512 tokens")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.threads])
    found = measure(options)
    text = summary(found, PROMPT, [*PAST, *LONG, *LONGEST]) + "\n" + verdicts(found)
    if options.json:
        kept = {"threads": options.threads, "repeats": options.repeats,
                "load_average": os.getloadavg(),
                "runtimes": [{"name": one.name, "failure": one.failure, "runs": one.runs} for one in found]}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(kept, indent=1) + "\n")
    print(text, flush=True)


if __name__ == "__main__":
    main()
