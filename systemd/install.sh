#!/usr/bin/env bash
# Puts the daemon and all that a system service needs where the system looks for it. Nothing that
# the owner has written is replaced.
#
# usage: install.sh PROGRAM LIBRARY DESTDIR PREFIX     (make install)
#
# The bus and polkit read /usr/share alone, so those two files go there under every PREFIX.
set -euo pipefail
program=$1 library=$2 destdir=$3 prefix=$4
here=$(cd "$(dirname "$0")" && pwd)
setup=$here/../.setup

for file in "$program" "$library" "$setup/plugins"; do
  [ -e "$file" ] || { echo "install: no $file yet: run make build first" >&2; exit 1; }
done

# put MODE SOURCE TARGET
put() {
  install -D --mode="$1" "$2" "$destdir$3"
  echo "install: $destdir$3"
}

# The program lies beside the engine's library, where it looks for it first.
put 755 "$program" "$prefix/lib/gemmad/gemmad"
put 644 "$library" "$prefix/lib/gemmad/libonnxruntime.so"
mkdir -p "$destdir$prefix/bin"
ln -sfn ../lib/gemmad/gemmad "$destdir$prefix/bin/gemmad"
for manifest in "$setup"/plugins/*/plugin.toml; do
  name=$(basename "$(dirname "$manifest")")
  put 644 "$manifest" "$prefix/lib/gemmad/plugins/$name/plugin.toml"
  put 644 "${manifest%/*}/$name.wasm" "$prefix/lib/gemmad/plugins/$name/$name.wasm"
done

put 644 "$here/gemmad.service" "$prefix/lib/systemd/system/gemmad.service"
put 644 "$here/gemmad.sysusers" "$prefix/lib/sysusers.d/gemmad.conf"
put 644 "$here/gemmad.tmpfiles" "$prefix/lib/tmpfiles.d/gemmad.conf"
put 644 "$here/gemmad.rules" "$prefix/lib/udev/rules.d/70-gemmad.rules"
put 644 "$here/org.gemmad.Gemmad1.service" \
  "$prefix/share/dbus-1/system-services/org.gemmad.Gemmad1.service"
put 644 "$here/org.gemmad.Gemmad1.conf" /usr/share/dbus-1/system.d/org.gemmad.Gemmad1.conf
put 644 "$here/org.gemmad.Gemmad1.policy" \
  /usr/share/polkit-1/actions/org.gemmad.Gemmad1.policy
for text in README.md LICENSE NOTICE; do
  put 644 "$here/../$text" "$prefix/share/doc/gemmad/$text"
done
for text in LICENSE ThirdPartyNotices.txt; do
  put 644 "${library%/*}/$text" "$prefix/share/doc/gemmad/onnxruntime/$text"
done
sed -i "s#/usr/bin/gemmad#$prefix/bin/gemmad#; s#/usr/share/doc#$prefix/share/doc#" \
  "$destdir$prefix/lib/systemd/system/gemmad.service"
config=/etc/gemmad/config.toml
if [ ! -e "$destdir$config" ]; then
  put 644 "$here/config.toml" "$config"
  sed -i "s#\"/usr/lib/gemmad/#\"$prefix/lib/gemmad/#g" "$destdir$config"
fi

[ -z "$destdir" ] || exit 0
cat <<'TEXT'
install: next
  systemd-sysusers && systemd-tmpfiles --create && udevadm control --reload
  put a model folder at /var/lib/gemmad/models/default and look over /etc/gemmad/config.toml
  systemctl reload dbus && systemctl enable --now gemmad && gemmad doctor
TEXT
