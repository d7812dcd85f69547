"""The comparison as lines: medians with the least and the largest."""

from statistics import median as middle


def values(runtime, *path) -> list:
    """What all runs of a runtime say at a place."""
    found = []
    for run in runtime.runs:
        for key in path:
            run = run.get(str(key)) if isinstance(run, dict) else None
        if run is not None:
            found.append(run)
    return found


def median(runtime, *path) -> float | None:
    """The median at a place; None where nothing was measured."""
    found = values(runtime, *path)
    return middle(found) if found else None


def cell(runtime, *path) -> str:
    found = values(runtime, *path)
    if not found:
        return "-"
    if len(found) == 1:
        return f"{found[0]:.1f}"
    return f"{middle(found):.1f} ({min(found):.1f}-{max(found):.1f})"


def megabytes(runtime, past: int) -> str:
    """Memory behind some tokens, anonymous and of files."""
    kinds = [median(runtime, "memory", past, f"{kind}_bytes") for kind in ("anonymous", "file")]
    return " + ".join("-" if size is None else f"{size / 1e6:.0f}" for size in kinds)


def summary(runtimes: list, prompt: int, pasts: list) -> str:
    """A table in Markdown."""
    heads = ["runtime", f"prefill@{prompt}", *(f"decode@{past}" for past in pasts), "anonymous + file MB @2048",
             "load s"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for runtime in runtimes:
        cells = [runtime.name, cell(runtime, "prefill", prompt), *(cell(runtime, "decode", past) for past in pasts),
                 megabytes(runtime, 2048), cell(runtime, "load_s")]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [f"{runtime.name} failed: {runtime.failure}" for runtime in runtimes if runtime.failure]
    return "\n".join(lines) + "\n"
