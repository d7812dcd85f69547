#!/usr/bin/env bash
# What it takes to compile the bundled plugins to WebAssembly. A Rust toolchain that already has
# a wasm32 target needs nothing; otherwise Debian's compiler steps in beside it, for plugins only.
set -euo pipefail
. "$(dirname "$0")/step.sh"

if rust_target wasm32-unknown-unknown || rust_target wasm32-wasip2; then
  exit 0
fi
debian "a Rust compiler and its standard library's source, to build plugins for WebAssembly (your \
toolchain has no wasm32 target; with it, this is not needed)" \
  rustc-web cargo-web rust-web-src libstd-rust-web-dev
debian "the WebAssembly linker" lld-22
