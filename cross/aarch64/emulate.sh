#!/usr/bin/env bash
# Runs a command, and whatever it starts, where /proc/cpuinfo is that of an ARM board: the engine
# reads the processor's features there, which the emulator does not translate. ARM programs are
# run by qemu-aarch64-static as a Cortex-A72, the core of a Raspberry Pi 4; what works on it works
# on the newer boards. Needs no root: the view is that of a namespace of our own.
#
# usage: emulate.sh COMMAND...     for example: emulate.sh qemu-aarch64-static PROGRAM
set -euo pipefail

# One entry for each processor that the kernel shows, with the identity of a Cortex-A72.
cpuinfo() {
  local number
  for ((number = 0; number < $(nproc --all); number++)); do
    printf '%s\n' "processor : $number" "BogoMIPS : 108.00" \
      "Features : fp asimd evtstrm crc32 cpuid" "CPU implementer : 0x41" \
      "CPU architecture: 8" "CPU variant : 0x0" "CPU part : 0xd08" "CPU revision : 3" ""
  done
}

view=$(mktemp)
trap 'rm -f "$view"' EXIT
cpuinfo >"$view"
# shellcheck disable=SC2016 # $0 and $@ are those of the inner shell
unshare --map-root-user --mount --propagation private \
  sh -c 'mount --bind "$0" /proc/cpuinfo && exec "$@"' "$view" env QEMU_CPU=cortex-a72 "$@"
