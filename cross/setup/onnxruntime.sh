#!/usr/bin/env bash
# The ONNX Runtime shared library, which the ort engine loads at run time. It lies inside the wheel
# that ONNX Runtime's authors put on PyPI: the wheel is checked against the sha256 below and only
# the library and its licence texts are unpacked. Nothing is installed into the system's Python.
#
# usage: onnxruntime.sh [x86_64|aarch64]     (default: this machine)
#   this machine's library: .setup/onnxruntime/, another CPU's: .setup/onnxruntime-CPU/
set -euo pipefail
. "$(dirname "$0")/step.sh"

version=1.31.1
declare -A sha256=(
  [x86_64]=1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536
  [aarch64]=0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc
)

# Debian's Python comes without pip, and without Python there is no client for PyPI at all.
need_pip() {
  python3 -m pip --version >/dev/null 2>&1 ||
    debian "pip fetches the ONNX Runtime wheel" python3 python3-pip
}

# download CPU FOLDER: the wheel of that CPU, whatever machine and Python this is.
download() {
  printf 'onnxruntime==%s --hash=sha256:%s\n' "$version" "${sha256[$1]}" >"$2/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --require-hashes --platform "manylinux_2_28_$1" --platform "manylinux_2_27_$1" \
    --python-version 3.12 --implementation cp --dest "$2" --requirement "$2/requirements.txt"
}

# unpack WHEEL FOLDER: each file appears whole or not at all.
unpack() {
  python3 - "$1" "$2" "$version" <<'PYTHON'
import os, shutil, sys, zipfile

wheel, folder, version = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
for name in (
    "onnxruntime/LICENSE",
    "onnxruntime/ThirdPartyNotices.txt",
    f"onnxruntime/capi/libonnxruntime.so.{version}",
):
    path = os.path.join(folder, os.path.basename(name))
    with zipfile.ZipFile(wheel).open(name) as source, open(path + ".part", "wb") as target:
        shutil.copyfileobj(source, target)
    os.replace(path + ".part", path)
PYTHON
}

cpu=${1:-$(uname -m)}
[ -n "${sha256[$cpu]:-}" ] ||
  fail "no ONNX Runtime known for '$cpu' (known: ${!sha256[*]}); set GEMMAD_ONNXRUNTIME to yours"
folder=$setup/onnxruntime
[ "$cpu" = "$(uname -m)" ] || folder=$setup/onnxruntime-$cpu
library=libonnxruntime.so.$version
if [ ! -e "$folder/$library" ]; then
  say "ONNX Runtime $version for $cpu from PyPI: the engine that runs the model (about 20 MB)"
  need_pip
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  download "$cpu" "$work"
  unpack "$work"/*.whl "$folder"
fi
ln -sfn "$library" "$folder/libonnxruntime.so.1"
ln -sfn libonnxruntime.so.1 "$folder/libonnxruntime.so"
