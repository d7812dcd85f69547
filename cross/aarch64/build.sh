#!/usr/bin/env bash
# Compiles the daemon for 64-bit ARM boards and packs what a board needs into one archive.
#
# Result: gemmad-aarch64.tar.gz in $CARGO_TARGET_DIR (default: target); unpack it at the board's /.
set -euo pipefail
. "$(dirname "$0")/../setup/step.sh"
. "$(dirname "$0")/compiler.sh"
cd "$root"

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
