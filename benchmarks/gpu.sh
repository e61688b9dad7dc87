#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU: build for it, the test suite on cuda, compute-sanitizer over the kernels,
# and the benchmarks. Leaves benchmarks/gpu-*.jsonl and a log; meant to end within nine minutes. Fails if there is no
# device, if a test fails or if a sanitizer reports anything.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
say() { printf '\n== %s (t=%ss)\n' "$1" "$SECONDS"; }

say "device"
nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)

say "build for sm_$capability"
"$PYTHON" -m pip install --quiet --editable '.[test]' \
    -Ccmake.define.THERMOKERN_CUDA=ON -Ccmake.define.THERMOKERN_CUDA_ARCHITECTURES="$capability"
"$PYTHON" -c "import thermokern; print(thermokern.info())"

say "tests on the device"
THERMOKERN_REQUIRE_CUDA=1 timeout 180 "$PYTHON" -m pytest -q tests/test_cuda_emulated.py

if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
        say "compute-sanitizer $tool"
        timeout 100 compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$PYTHON" benchmarks/gpu_kernels.py --small
    done
else
    echo "compute-sanitizer: NOT RUN (not on PATH; it comes with the CUDA toolkit)"
fi

say "benchmarks"
timeout 150 "$PYTHON" benchmarks/gpu_kernels.py --out "benchmarks/gpu-sm$capability.jsonl"
say "done"
