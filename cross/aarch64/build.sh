#!/usr/bin/env bash
# Compiles the daemon for 64-bit ARM boards and packs what a board needs into one archive.
# A Rust toolchain that has the target is used; otherwise Debian's compiler.
#
# Result: gemmad-aarch64.tar.gz in $CARGO_TARGET_DIR (default: target); unpack it at the board's /.
set -euo pipefail
. "$(dirname "$0")/../setup/step.sh"
cd "$root"

target=aarch64-unknown-linux-gnu
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export PKG_CONFIG_aarch64_unknown_linux_gnu=aarch64-linux-gnu-pkg-config

compiler() {
  if rust_target "$target"; then
    cargo "$@"
  else
    env -u RUSTUP_TOOLCHAIN RUSTC=/usr/bin/rustc /usr/bin/cargo "$@"
  fi
}

# The newest C library that the program asks of the board.
needs() {
  aarch64-linux-gnu-objdump --dynamic-syms "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1
}

say "compiling for $target: the first time takes half an hour or more on two cores"
compiler build --locked --release --target "$target" --package gemmad
program=$CARGO_TARGET_DIR/$target/release/gemmad
say "$program: $(wc -c <"$program") bytes, needs $(needs "$program") or newer"

plugins/build.sh
cross/setup/onnxruntime.sh aarch64
board=$(mktemp -d)
trap 'rm -rf "$board"' EXIT
aarch64-linux-gnu-objcopy --strip-debug "$program" "$board/gemmad"
systemd/install.sh "$board/gemmad" "$setup/onnxruntime-aarch64/libonnxruntime.so" \
  "$board/root" /usr >/dev/null
archive=$CARGO_TARGET_DIR/gemmad-aarch64.tar.gz
tar --create --gzip --file "$archive" --directory "$board/root" --owner=0 --group=0 .
say "$archive: $(wc -c <"$archive") bytes"
