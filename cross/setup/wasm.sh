#!/usr/bin/env bash
# What it takes to compile the bundled plugins to WebAssembly. A Rust toolchain that already has
# the wasm32-unknown-unknown target needs nothing; otherwise Debian's compiler steps in beside it,
# for plugins only.
set -euo pipefail
. "$(dirname "$0")/step.sh"

if rust_target wasm32-unknown-unknown; then
  exit 0
fi
debian "a Rust compiler and its standard library's source, to build plugins for WebAssembly (your \
toolchain has no wasm32-unknown-unknown target; with it, this is not needed)" \
  rustc-web cargo-web rust-web-src libstd-rust-web-dev
debian "the WebAssembly linker" lld-22
