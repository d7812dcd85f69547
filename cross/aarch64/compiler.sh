# shellcheck shell=bash
# Compiles for 64-bit ARM: a Rust toolchain that has the target is used; otherwise Debian's compiler.
# Sourced after step.sh, never run.

target=aarch64-unknown-linux-gnu
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export PKG_CONFIG_aarch64_unknown_linux_gnu=aarch64-linux-gnu-pkg-config

# compiler COMMAND...: cargo, for the target.
compiler() {
  if rust_target "$target"; then
    cargo "$@"
  else
    env -u RUSTUP_TOOLCHAIN RUSTC=/usr/bin/rustc /usr/bin/cargo "$@"
  fi
}
