#!/usr/bin/env bash
# What it takes to compile the workspace for this machine, besides git, make and Rust.
set -euo pipefail
. "$(dirname "$0")/step.sh"

command -v cargo >/dev/null ||
  fail "no cargo: install Rust 1.95 or newer (https://rustup.rs), then open a new shell"
debian "a C compiler and linker, for the crates that carry C (ring) and to link ours" \
  gcc libc6-dev
debian "ALSA's headers, to record from microphones" libasound2-dev pkg-config
debian "libclang and the kernel's headers, to read the camera interface (V4L2) from C headers" \
  libclang-dev linux-libc-dev
