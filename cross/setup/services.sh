#!/usr/bin/env bash
# The real message bus and the real broker: the demo and the tests start private ones of their own.
set -euo pipefail
. "$(dirname "$0")/step.sh"

debian "dbus-daemon, for a private message bus" dbus-daemon
debian "mosquitto, for a private MQTT broker (where systemd runs, Debian also starts it as a \
service for this machine only; 'systemctl disable --now mosquitto' if you do not want that)" \
  mosquitto
