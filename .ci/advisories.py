#!/usr/bin/env python3
"""Writes .ci/advisories.tsv: a dated snapshot of the RustSec advisory database, one line each.

A machine that reaches only a package registry cannot clone the database; the snapshot is what it
checks Cargo.lock against. Run it now and then, and commit the result:

    git clone https://github.com/rustsec/advisory-db
    .ci/advisories.py advisory-db
"""

import pathlib
import subprocess
import sys
import tomllib

SNAPSHOT = pathlib.Path(__file__).with_name("advisories.tsv")
HEADER = """\
# RustSec advisory database, commit {commit} of {date}: {count} advisories that were not withdrawn.
# Written by .ci/advisories.py. The database is in the public domain (CC0-1.0), apart from those
# advisories that it took over from the GitHub Advisory Database (CC-BY-4.0); both are found under
# their id at rustsec.org. Here stand facts and titles only.
# crate, id, kind, patched versions, unaffected versions, title
"""


def git(repository, *arguments):
    """What a git command prints; works in a bare repository too."""
    command = ["git", "-C", repository, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def parts(text):
    """An advisory file: its TOML in a fence, then Markdown whose first heading is the title."""
    fenced, markdown = text.split("```toml\n", 1)[1].split("\n```", 1)
    title = next(line for line in markdown.splitlines() if line.startswith("# "))
    title = " ".join(title[2:].split()).replace("crates.io", "the registry")
    return tomllib.loads(fenced), title


def line(text):
    """One line of the snapshot, or None for an advisory that was withdrawn."""
    fields, title = parts(text)
    advisory, versions = fields["advisory"], fields["versions"]
    if "withdrawn" in advisory:
        return None
    return "\t".join((
        advisory["package"],
        advisory["id"],
        advisory.get("informational", "vulnerability"),
        "; ".join(versions.get("patched", [])),
        "; ".join(versions.get("unaffected", [])),
        title,
    ))


def main():
    """Reads the database's newest commit and writes the snapshot."""
    repository = sys.argv[1]
    names = git(repository, "ls-tree", "-r", "--name-only", "HEAD", "crates/").split()
    texts = (git(repository, "show", f"HEAD:{name}") for name in names if name.endswith(".md"))
    lines = sorted(found for found in map(line, texts) if found)
    commit, date = git(repository, "log", "-1", "--format=%h %cs").split()
    header = HEADER.format(commit=commit, date=date, count=len(lines))
    SNAPSHOT.write_text(header + "\n".join(lines) + "\n")
    print(f"{SNAPSHOT.name}: {len(lines)} advisories of {date}")


if __name__ == "__main__":
    main()
