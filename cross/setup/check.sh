#!/usr/bin/env bash
# What 'make check' needs: rustfmt, clippy, a shell linter, and systemd's own verdict on our unit.
set -euo pipefail
. "$(dirname "$0")/step.sh"

cargo fmt --version >/dev/null 2>&1 || fail "no rustfmt: rustup component add rustfmt"
cargo clippy --version >/dev/null 2>&1 || fail "no clippy: rustup component add clippy"
command -v python3 >/dev/null || debian "Python reads the licences and advisories" python3
command -v shellcheck >/dev/null || debian "shellcheck reads our shell scripts" shellcheck
command -v systemd-analyze >/dev/null || debian "systemd-analyze reads our unit" systemd
