# shellcheck shell=bash
# What every set-up step shares: saying what it does and why, becoming root only where it must,
# and installing only those Debian packages that are missing. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
setup=$root/.setup

# say WHAT AND WHY...: one line about the work that starts now.
say() {
  printf 'setup: %s\n' "$*"
}

# fail WHAT AND WHAT WOULD BE RIGHT...: ends the step.
fail() {
  printf 'setup: failed: %s\n' "$*" >&2
  exit 1
}

# as_root COMMAND...: as it is for root, through sudo for everybody else.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "this needs root and there is no sudo; as root run: $*"
  fi
}

# installed PACKAGE: whether Debian has it installed in full.
installed() {
  dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# debian WHY PACKAGE...: installs those that are missing; silent when none is. A system without
# apt is left alone: the build names what it lacks.
debian() {
  local why=$1 package wanted=()
  shift
  if ! command -v apt-get >/dev/null; then
    say "no apt-get here: expecting your system's counterparts of $* ($why)"
    return 0
  fi
  for package; do
    installed "$package" || wanted+=("$package")
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  say "Debian packages ${wanted[*]}: $why"
  refresh_lists
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet \
    --no-install-recommends "${wanted[@]}"
}

# refresh_lists: apt's package lists, at most once an hour.
refresh_lists() {
  local stamp=$setup/apt-lists
  [ -z "$(find "$stamp" -mmin -60 2>/dev/null)" ] || return 0
  as_root apt-get update --quiet
  mkdir -p "$setup"
  touch "$stamp"
}

# rust_target TARGET: whether the Rust toolchain in use brings that target's standard library.
rust_target() {
  [ -n "$(find "$(rustc --print sysroot)/lib/rustlib/$1/lib" -name 'libstd-*' 2>/dev/null)" ]
}
