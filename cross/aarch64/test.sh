#!/usr/bin/env bash
# Runs the program that was compiled for ARM in an emulator, as a user would on a board: it checks
# the machine (doctor), then starts the daemon on a private message bus and asks it something that
# takes the engine, the demo model and a plugin to answer.
set -euo pipefail
. "$(dirname "$0")/../setup/step.sh"

if [ -z "${GEMMAD_EMULATED:-}" ]; then
  GEMMAD_EMULATED=1 exec "$root/cross/aarch64/emulate.sh" "$0"
fi

program=${CARGO_TARGET_DIR:-$root/target}/aarch64-unknown-linux-gnu/release/gemmad
[ -x "$program" ] || fail "no $program: run make cross first"
work=$(mktemp -d)
trap clean_up EXIT
clean_up() {
  mapfile -t running < <(jobs -p)
  [ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}

cat >"$work/config.toml" <<TOML
[model]
folder = "$root/runtime/demo-model"
library = "$setup/onnxruntime-aarch64/libonnxruntime.so"
[assistant]
temperature = 0.0
[bus]
address = "unix:path=$work/bus"
[plugins]
folders = ["$setup/plugins"]
TOML

gemmad=(qemu-aarch64-static "$program" --config "$work/config.toml")

# until_true SECONDS COMMAND...: tries again until it succeeds.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 1
  done
}

ready() {
  "${gemmad[@]}" status --json 2>/dev/null | grep -q '"state": *"ready"'
}

dbus-daemon --config-file="$root/tests/fixtures/bus.conf" --address="unix:path=$work/bus" --nofork &
until_true 10 test -S "$work/bus" || fail "no message bus within 10 s"

say "the ARM program looks over this machine"
"${gemmad[@]}" doctor

say "the ARM program runs as the daemon"
"${gemmad[@]}" run >"$work/log" 2>&1 &
daemon=$!
until_true 300 ready || { cat "$work/log"; fail "the daemon is not ready after 300 s"; }
question="What time is it?"
answer=$("${gemmad[@]}" ask "$question") || { cat "$work/log"; fail "no answer"; }
printf '%s\n' "asked    $question" "answered $answer"
[[ $answer =~ [0-9]?[0-9]:[0-9][0-9] ]] || fail "there is no time of day in the answer"
kill "$daemon"
wait "$daemon" || { cat "$work/log"; fail "the daemon did not stop cleanly"; }
say "the ARM program answers, and stops when it is told to"
