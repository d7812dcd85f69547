#!/usr/bin/env bash
# Puts the files of this folder before the programs that will read them: systemd's own verdict on
# the unit, users and folders made in an empty root, and a bus that starts with our policy.
#
# usage: check.sh [PROGRAM]     the daemon's program, if it is built
set -euo pipefail
cd "$(dirname "$0")"

# Exposure as systemd counts it, 0.0 to 10.0 times ten: a change that raises it should be deliberate.
exposure_max=25

work=$(mktemp -d)
bus=
trap '[ -z "$bus" ] || kill "$bus"; rm -rf "$work"' EXIT

# The unit, with a program that exists here in the place of the installed one. A misspelt key is
# only a remark to systemd; here every remark about our unit is an error.
unit() {
  sed "s#^ExecStart=/usr/bin/gemmad#ExecStart=$1#; /^Documentation=/d" gemmad.service \
    >"$work/gemmad.service"
  systemd-analyze verify --man=no "$work/gemmad.service" 2>"$work/remarks"
  ! grep gemmad "$work/remarks" >&2 || return 1
  systemd-analyze security --offline=true --no-pager --threshold="$exposure_max" \
    "$work/gemmad.service" | tail -n 1
}

users_and_folders() {
  local root=$work/root
  mkdir -p "$root"/{etc,usr/lib/{sysusers,tmpfiles}.d,var}
  cp gemmad.sysusers "$root/usr/lib/sysusers.d/gemmad.conf"
  cp gemmad.tmpfiles "$root/usr/lib/tmpfiles.d/gemmad.conf"
  systemd-sysusers --root="$root" 2>&1
  systemd-tmpfiles --root="$root" --create
  grep -q '^gemmad:' "$root/etc/passwd"
  [ -d "$root/var/lib/gemmad/models" ]
  echo "user, groups and folders: made in an empty root"
}

# dbus-daemon refuses to start on a policy that it does not understand.
policy() {
  cat >"$work/bus.conf" <<XML
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=$work/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow user="*"/></policy>
  <include>$PWD/org.gemmad.Gemmad1.conf</include>
</busconfig>
XML
  dbus-daemon --config-file="$work/bus.conf" --nofork --print-address=1 \
    >"$work/address" 2>"$work/bus.log" &
  bus=$!
  # The address appears when the bus is up; a bus that gave up leaves the reason.
  until [ -s "$work/address" ]; do
    kill -0 "$bus" 2>/dev/null || { cat "$work/bus.log" >&2; bus=; return 1; }
    read -rt 0.1 <> <(:) || true
  done
  echo "bus policy: a bus started with it"
}

# The rights file is read by polkit, which need not be here: at least it is XML with our actions.
rights() {
  python3 - <<'PYTHON'
import xml.etree.ElementTree as tree

actions = [action.get("id") for action in tree.parse("org.gemmad.Gemmad1.policy").iter("action")]
verbs = ["ask", "listen", "capture", "tool", "mute", "plugins"]
assert actions == ["org.gemmad.Gemmad1." + verb for verb in verbs], actions
print("polkit actions:", ", ".join(verbs))
PYTHON
}

program=${1:-/bin/true}
[ -x "$program" ] || program=/bin/true
unit "$(realpath "$program")"
users_and_folders
policy
rights
