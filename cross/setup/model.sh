#!/usr/bin/env bash
# What it takes to train the demo model again: a speech synthesiser that speaks the sentences, and
# Python packages in an environment of their own. Nobody needs this to use or to test gemmad.
set -euo pipefail
. "$(dirname "$0")/step.sh"

debian "espeak-ng speaks the sentences" espeak-ng
python3 -c 'import venv, ensurepip' 2>/dev/null ||
  debian "Python and its environments" python3 python3-venv
list=$root/runtime/export/requirements.txt
environment=$setup/export
if ! cmp -s "$list" "$environment/requirements.txt"; then
  say "PyTorch and friends into .setup/export: they train and export the model (several GB)"
  python3 -m venv --clear "$environment"
  "$environment/bin/pip" install --disable-pip-version-check --requirement "$list"
  cp "$list" "$environment/"
fi
