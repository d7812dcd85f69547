"""What every peer measures, in the same way as `gemmad bench`: a prompt at once, then tokens one by one behind it."""

import json
import random
import time
from pathlib import Path
from statistics import median

REPLY_TOKENS = 24
BOS = 2
WORDS = range(1_000, 200_000)


def prompt(tokens: int, number: int) -> list:
    """Random ids of ordinary tokens behind the first; others for each number."""
    draw = random.Random(number * 100_003 + tokens)
    return [BOS] + [draw.choice(WORDS) for _ in range(tokens - 1)]


def memory() -> dict:
    """What this process occupies now, in bytes by kind."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    size = lambda name: int(lines[name].split()[0]) * 1024
    return {"anonymous_bytes": size("RssAnon"), "file_bytes": size("RssFile") + size("RssShmem")}


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(load, options) -> dict:
    """Loads a peer and measures it at each length.

    `load()` gives a peer with `begin(tokens)`, which forgets everything and processes a prompt, and `step()`, which
    makes one token behind what it holds. Prefill includes what it takes to choose the first token.
    """
    lengths, past, repeat, rounds = options.prompt, options.past, options.repeat, options.rounds
    peer, found = None, {"prefill": {}, "decode": {}, "memory": {}}

    def opened():
        nonlocal peer
        peer = load()

    found["load_s"] = timed(opened)
    peer.begin(prompt(32, 10_000 + repeat))
    peer.step()
    for tokens in sorted({*(length for length in lengths if length), *past}):
        taken = timed(lambda: peer.begin(prompt(max(tokens, 1), repeat)))
        if tokens in lengths:
            found["prefill"][tokens] = tokens / taken
        if tokens in past:
            taken = [timed(lambda: [peer.step() for _ in range(REPLY_TOKENS)]) for _ in range(rounds)]
            found["decode"][tokens] = REPLY_TOKENS / median(taken)
            found["memory"][tokens] = memory()
    return found


def arguments(parser) -> None:
    """What every peer is told."""
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=numbers, default=[512])
    parser.add_argument("--past", type=numbers, default=[0, 512, 2048])
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1, help="how often tokens are made behind each prompt")


def tell(found: dict) -> None:
    print(json.dumps(found), flush=True)
