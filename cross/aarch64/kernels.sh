#!/usr/bin/env bash
# Runs the tests of the kernels, compiled for ARM, in an emulator: as a Cortex-A72 (Raspberry Pi 4),
# which has the base instructions only, as a Neoverse N1, which has the dot product as the Raspberry
# Pi 5 has it, and as the newest that the emulator knows, which has products of matrices.
set -euo pipefail
. "$(dirname "$0")/../setup/step.sh"
. "$(dirname "$0")/compiler.sh"
cd "$root"

for processor in cortex-a72 neoverse-n1 max; do
  say "the tests of the kernels run on an emulated $processor"
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -cpu $processor" \
    compiler test --locked --release --target "$target" --package gemma-kernels --lib --tests
done
