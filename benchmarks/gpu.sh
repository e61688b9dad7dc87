#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU: build for it, the whole test suite with its cases on cuda,
# compute-sanitizer over every kernel, and the benchmarks. Leaves benchmarks/gpu-*.jsonl. Its limits add up to nine
# minutes. Fails if there is no device, if a test fails or if a sanitizer reports anything.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
say() { printf '\n== %s (t=%ss)\n' "$1" "$SECONDS"; }

say "device"
nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)

say "build for sm_$capability"
timeout 130 "$PYTHON" -m pip install --quiet --editable '.[test]' \
    -Ccmake.define.THERMOKERN_CUDA=ON -Ccmake.define.THERMOKERN_CUDA_ARCHITECTURES="$capability"
"$PYTHON" -c "import thermokern; print(thermokern.info())"

# Each kernel against its reference first; then all the rest, in the time that is left for it.
say "tests on the device"
export THERMOKERN_REQUIRE_CUDA=1
tests() { timeout "$1" "$PYTHON" -m pytest -q -n auto --maxprocesses 12 --dist worksteal "${@:2}"; }
on_device=(tests/test_ops.py tests/test_stream_ops.py tests/test_averages.py tests/test_probability_flow.py)
tests 110 tests/test_cuda_*.py "${on_device[@]}"

if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
        say "compute-sanitizer $tool"
        timeout 50 compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$PYTHON" benchmarks/gpu_kernels.py --small
    done
else
    echo "compute-sanitizer: NOT RUN (not on PATH; it comes with the CUDA toolkit)"
fi

say "benchmarks"
timeout 90 "$PYTHON" benchmarks/gpu_kernels.py --out "benchmarks/gpu-sm$capability.jsonl"

say "the rest of the test suite"
ignored=(tests/test_cuda_*.py "${on_device[@]}")
tests $((530 - SECONDS > 10 ? 530 - SECONDS : 10)) "${ignored[@]/#/--ignore=}"
say "done"
