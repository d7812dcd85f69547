"""What was promised, held against what was measured."""

from table import median

MEGA = 1_000_000


def named(runtimes: list, part: str):
    """The runtime whose name holds a part, if it was measured."""
    return next((runtime for runtime in runtimes if part in runtime.name and runtime.runs), None)


def ratios(runtimes: list) -> list:
    """Ours against another: what, by which factor, and the factor that was promised."""
    fast, published = named(runtimes, "fast graph"), named(runtimes, "published graph")
    genai, llama = named(runtimes, "genai"), named(runtimes, "llama.cpp")
    return [
        ("prefill@512 against onnxruntime-genai", fast, genai, ("prefill", 512), 3.0),
        ("prefill@512 against llama.cpp", fast, llama, ("prefill", 512), 1.8),
        ("prefill@512 against our published graph", fast, published, ("prefill", 512), None),
        ("decode@0 against onnxruntime-genai", fast, genai, ("decode", 0), None),
        ("decode@0 against llama.cpp", fast, llama, ("decode", 0), None),
        ("decode@512 against onnxruntime-genai", fast, genai, ("decode", 512), 1.4),
        ("decode@512 against llama.cpp", fast, llama, ("decode", 512), 1.0),
        ("decode@2048 against onnxruntime-genai", fast, genai, ("decode", 2048), None),
        ("decode@2048 against llama.cpp", fast, llama, ("decode", 2048), 1.1),
        ("decode@8192 against our published graph", fast, published, ("decode", 8192), 2.0),
        ("published graph: decode@512 against onnxruntime-genai", published, genai, ("decode", 512), None),
    ]


def limits(runtimes: list) -> list:
    """Ours by itself: what, how much, the unit, the promise, and whether more is better."""
    fast = named(runtimes, "fast graph")
    if fast is None:
        return []
    kinds = [median(fast, "memory", 4096, f"{kind}_bytes") for kind in ("anonymous", "file")]
    anonymous, total = kinds[0], None if None in kinds else sum(kinds)
    share, wait = median(fast, "bandwidth_share", 512), median(fast, "first_word", "warm_share")
    return [("anonymous memory behind 4,096 tokens", anonymous and anonymous / MEGA, "MB", 250, False),
            ("all memory behind 4,096 tokens", total and total / MEGA, "MB", 1_700, False),
            ("first word of a second question, of the first's time", wait and wait * 100, "%", 3, False),
            ("load", median(fast, "load_s"), "s", 1.5, False),
            ("share of the read bandwidth, decode@512", share and share * 100, "%", 80, True)]


def verdict(is_held: bool | None) -> str:
    return "" if is_held is None else "pass" if is_held else "FAIL"


def verdicts(runtimes: list) -> str:
    """A line for each ratio and limit, with its bar and whether it is held."""
    lines = []
    for what, ours, theirs, path, bar in ratios(runtimes):
        mine, other = (median(one, *path) if one else None for one in (ours, theirs))
        if mine and other:
            ratio = mine / other
            promised = f"bar {bar:.1f} x" if bar else ""
            lines.append(f"{what:<55} {ratio:6.2f} x  {promised:<10} {verdict(ratio >= bar if bar else None)}".rstrip())
    for what, value, unit, bar, is_floor in limits(runtimes):
        if value is not None:
            held = value >= bar if is_floor else value <= bar
            lines.append(f"{what:<55} {value:6.1f} {unit:<2} bar {bar:<6} {verdict(held)}")
    return "\n".join(lines)
