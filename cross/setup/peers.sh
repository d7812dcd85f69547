#!/usr/bin/env bash
# The runtimes that `make bench-peers` measures us against, in an environment of their own. Nobody
# needs this to build, use or test gemmad.
set -euo pipefail
. "$(dirname "$0")/step.sh"

python3 -c 'import venv, ensurepip' 2>/dev/null ||
  debian "Python and its environments" python3 python3-venv
command -v g++ >/dev/null || debian "a C++ compiler builds llama.cpp for this processor" g++
list=$root/runtime/export/peers/requirements.txt
environment=$setup/peers
if ! cmp -s "$list" "$environment/requirements.txt"; then
  say "onnxruntime-genai and llama.cpp into .setup/peers: they are measured beside gemmad (400 MB;" \
    "llama.cpp is compiled for this processor, which takes half an hour on two cores)"
  python3 -m venv --clear "$environment"
  # Published builds of llama.cpp are for any processor, and would be slower than it is.
  CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) \
    "$environment/bin/pip" install --disable-pip-version-check --no-binary llama-cpp-python \
    --requirement "$list"
  cp "$list" "$environment/"
fi
