#!/usr/bin/env bash
# What it takes to compile the workspace for 64-bit ARM boards and to try the result here.
# A Rust toolchain that already has the target is used; otherwise Debian's compiler steps in.
set -euo pipefail
. "$(dirname "$0")/step.sh"

if ! dpkg --print-foreign-architectures | grep -qx arm64; then
  say "Debian's arm64 packages beside this machine's: the board's libraries to link with"
  as_root dpkg --add-architecture arm64
  rm -f "$setup/apt-lists"
fi
debian "a C compiler and linker for arm64" gcc-aarch64-linux-gnu libc6-dev-arm64-cross
debian "ALSA for arm64, and a pkg-config that finds it" libasound2-dev:arm64 pkgconf:arm64 \
  pkgconf-bin
debian "libclang, to read the camera interface (V4L2) from C headers" libclang-dev
if ! rust_target aarch64-unknown-linux-gnu; then
  debian "a Rust compiler with the arm64 standard library (your toolchain lacks the target)" \
    rustc-web cargo-web libstd-rust-web-dev libstd-rust-web-dev:arm64
fi
debian "an emulator, to run the arm64 program here" qemu-user-static
