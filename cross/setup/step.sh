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

# as_root COMMAND...: runs it as root: as it is for root, through sudo for everybody else.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "this needs root and there is no sudo; as root run: $*"
  fi
}

# installed PACKAGE: whether Debian's package is there in full.
installed() {
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# debian WHY PACKAGE...: installs those that are missing; says nothing when none is.
debian() {
  local why=$1 package missing=()
  shift
  command -v apt-get >/dev/null ||
    fail "no apt-get here; install these in your system's own way: $* ($why)"
  for package; do
    installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Debian packages ${missing[*]}: $why"
  refresh_lists
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet \
    --no-install-recommends "${missing[@]}"
}

# refresh_lists: apt's package lists, at most once an hour.
refresh_lists() {
  local stamp=$setup/apt-lists
  [ -z "$(find "$stamp" -mmin -60 2>/dev/null)" ] || return 0
  as_root apt-get update --quiet
  mkdir -p "$setup"
  touch "$stamp"
}
