#!/usr/bin/env python3
"""Checks every dependency against deny.toml: licence, source, and known holes.

Licences and sources come from `cargo metadata`. Known holes come from cargo-deny where it is
installed and reaches the RustSec database, and from the dated snapshot beside this file otherwise;
the output says which. Exit status 1 when anything is found.
"""

import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT / ".ci" / "advisories.tsv"
MANIFESTS = ["Cargo.toml", "plugins/tools/Cargo.toml"]
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
SNAPSHOT_DAYS_MAX = 180


# -- licences, sources and bans

def packages(manifest, targets):
    """The packages that are built for any of our targets, and the names chosen by ourselves."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--manifest-path", manifest]
    command += [part for target in targets for part in ("--filter-platform", target)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    metadata = json.loads(done.stdout)
    built = {node["id"] for node in metadata["resolve"]["nodes"]}
    members = set(metadata["workspace_members"])
    found = [package for package in metadata["packages"] if package["id"] in built]
    chosen = {
        dependency["name"]
        for package in found if package["id"] in members
        for dependency in package["dependencies"]
    }
    return found, chosen


def licence_fits(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences: OR of ANDs, parentheses."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression)

    def either():
        fits = both()
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            fits = both() or fits
        return fits

    def both():
        fits = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            fits = one() and fits
        return fits

    def one():
        token = tokens.pop(0)
        if token == "(":
            fits = either()
            tokens.pop(0)
            return fits
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in allowed

    return either()


def check_packages(found, policy):
    """Yields what is wrong with the licence, the source or the mere presence of a package."""
    allowed = set(policy["licenses"]["allow"])
    banned = {entry["crate"]: entry["reason"] for entry in policy["bans"]["deny"]}
    for package in found:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if not licence or not licence_fits(licence, allowed):
            yield f"{name}: licence {licence or 'not given'} is not among those of deny.toml"
        if package["source"] not in (None, REGISTRY):
            yield f"{name}: comes from {package['source']}, not from the Rust crate registry"
        if package["name"] in banned:
            yield f"{name}: banned by deny.toml: {banned[package['name']]}"


# -- known holes, by the snapshot

def order(version):
    """A key that sorts versions as semver does: a pre-release before its release."""
    core, _, pre = version.split("+")[0].partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    numbers += (0,) * (3 - len(numbers))
    marks = tuple((0, int(m), "") if m.isdigit() else (1, 0, m) for m in pre.split(".") if m)
    return numbers, not pre, marks


def caret_end(version):
    """The first version that `^version` excludes."""
    given = [int(part) for part in version.split("-")[0].split(".")]
    place = next((i for i, part in enumerate(given) if part), len(given) - 1)
    return ".".join(str(part) for part in given[:place] + [given[place] + 1])


def meets(version, requirement):
    """Whether a version meets one requirement such as `>= 1.2, < 2` or `^0.4.3`."""
    for comparator in requirement.split(","):
        sign, bound = re.fullmatch(r"\s*(\^|>=|<=|>|<|=)?\s*(\S+)\s*", comparator).groups()
        here, there = order(version), order(bound)
        fits = {
            ">=": here >= there,
            "<=": here <= there,
            ">": here > there,
            "<": here < there,
            "=": here == there,
        }.get(sign, here >= there and here < order(caret_end(bound)))
        if not fits:
            return False
    return True


def advisories():
    """The snapshot: its date and its advisories as lists of fields."""
    lines = SNAPSHOT.read_text().splitlines()
    date = re.search(r"\d{4}-\d\d-\d\d", lines[0]).group()
    return date, [line.split("\t") for line in lines if not line.startswith("#")]


def check_snapshot(locked, chosen, policy, known):
    """Yields the advisories that concern a locked version and that deny.toml does not accept."""
    rules = policy["advisories"]
    ignored = {entry["id"] for entry in rules["ignore"]}
    for crate, identifier, kind, patched, unaffected, title in known:
        if identifier in ignored or crate not in locked:
            continue
        if kind == "notice" or kind == "unmaintained" and crate not in chosen:
            continue
        safe = [part for part in (patched + "; " + unaffected).split("; ") if part]
        for version in locked[crate]:
            if not any(meets(version, requirement) for requirement in safe):
                fix = f"fixed in {patched}" if patched else "no fixed version"
                yield f"{crate} {version}: {identifier} ({kind}): {title}; {fix}"


def locked_versions(manifest):
    """Every version of every crate in the lock file beside a manifest."""
    lock = tomllib.loads((ROOT / manifest).with_name("Cargo.lock").read_text())
    versions = {}
    for package in lock["package"]:
        versions.setdefault(package["name"], []).append(package["version"])
    return versions


# -- known holes, by cargo-deny

def database_reached():
    """Whether cargo-deny is here and could bring its database up to date."""
    if not shutil.which("cargo-deny"):
        return False
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(["cargo", "deny", "fetch", "db"], cwd=ROOT, **quiet).returncode == 0


def cargo_deny_finds(manifest):
    """Whether cargo-deny finds a known hole; it prints what it found."""
    command = ["cargo", "deny", "--manifest-path", manifest, "check", "--disable-fetch"]
    command += ["--config", os.fspath(ROOT / "deny.toml"), "advisories"]
    return subprocess.run(command, cwd=ROOT).returncode != 0


def main():
    """Checks both workspaces: the native one and the plugins'."""
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    fresh = database_reached()
    date, known = advisories()
    problems = []
    for manifest in MANIFESTS:
        found, chosen = packages(manifest, policy["graph"]["targets"])
        problems += check_packages(found, policy)
        if fresh:
            problems += ["cargo deny check advisories failed"] * cargo_deny_finds(manifest)
        else:
            problems += check_snapshot(locked_versions(manifest), chosen, policy, known)
        print(f"dependencies: {manifest}: licences, sources and bans of {len(found)} packages")
    if fresh:
        print("dependencies: known holes by cargo-deny with today's RustSec database")
    else:
        age = (datetime.date.today() - datetime.date.fromisoformat(date)).days
        late = "; it is old: refresh it with .ci/advisories.py" * (age > SNAPSHOT_DAYS_MAX)
        print(f"dependencies: known holes by the snapshot of {date}, {age} days old, as cargo-deny "
              f"or its database is not at hand ({len(known)} advisories){late}")
    for problem in problems:
        print(f"dependencies: {problem}", file=sys.stderr)
    print("dependencies: " + (f"{len(problems)} problems" if problems else "nothing found"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
