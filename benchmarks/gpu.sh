#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU, nvcc and PyTorch, and without a network:
#
#     benchmarks/gpu.sh                # everything, in nine minutes
#     DEVICE=cpu benchmarks/gpu.sh     # the same script where there is no GPU
#
# Nothing is fetched and nothing is installed: CMake builds for this GPU's architecture in build/gpu, the modules are put
# into thermokern/, and the package runs from here. Parts run in order of worth, each with its own limit; one that fails or runs out of time does not
# stop the next. After each part the table and OUT/gpu.json (default build/gpu/results) are written anew. The exit
# status is that of the parts. PYTHON chooses the interpreter (default python3); it needs torch, pybind11, pytest with
# pytest-xdist and pytest-timeout, hypothesis, SciPy, scikit-learn and safetensors.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda}
OUT=$(mkdir -p "${OUT:-build/gpu/results}" && cd "${OUT:-build/gpu/results}" && pwd)
rm -f "$OUT"/*.log "$OUT"/parts.tsv "$OUT"/rows.jsonl
cores=$(nproc) failed=0
export PYTHONPATH=$root OMP_WAIT_POLICY=passive

# part NAME LIMIT COMMAND…: runs it for LIMIT seconds at most, keeps its output, and writes the results so far.
part() {
    local name=$1 limit=$2 started=$SECONDS state
    shift 2
    printf '\n== %s (t=%ss, limit %ss)\n' "$name" "$SECONDS" "$limit"
    timeout --kill-after=5 "$limit" "$@" 2>&1 | tee "$OUT/$name.log" | tail -n 12
    case ${PIPESTATUS[0]} in
        0) state=passed ;;
        77) state='NOT RUN' ;;
        124 | 137) state='out of time' failed=1 ;;
        *) state=FAILED failed=1 ;;
    esac
    printf '%s\t%s\t%s\t%s\n' "$name" "$state" $((SECONDS - started)) "$limit" >> "$OUT/parts.tsv"
    "$PYTHON" benchmarks/gpu_report.py "$OUT" > "$OUT/table.txt"
}

build() {
    local cmake=(cmake) defines=(-DCMAKE_BUILD_TYPE=Release "-DPython_EXECUTABLE=$("$PYTHON" -c 'import sys; print(sys.executable)')")
    command -v cmake > /dev/null || cmake=("$PYTHON" -m cmake)
    command -v ninja > /dev/null && defines+=(-G Ninja)
    defines+=("-Dpybind11_DIR=$("$PYTHON" -m pybind11 --cmakedir)")
    if [ "$DEVICE" = cuda ]; then
        nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv || return 1
        local architecture
        architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
        defines+=(-DTHERMOKERN_CUDA=ON "-DTHERMOKERN_CUDA_ARCHITECTURES=$architecture-real")
    else
        defines+=(-DTHERMOKERN_CUDA=OFF)
    fi
    "${cmake[@]}" -S . -B build/gpu/cmake "${defines[@]}" && "${cmake[@]}" --build build/gpu/cmake -j "$cores" || return 1
    rm -f thermokern/_c*.so && cp build/gpu/cmake/_c*.so thermokern/ || return 1
    "$PYTHON" -c 'import thermokern; print(thermokern.info())'
}

tests() {
    local workers=$((cores < 12 ? cores : 12))
    [ "$DEVICE" = cuda ] && export THERMOKERN_REQUIRE_CUDA=1
    "$PYTHON" -m pytest -q -n "$workers" --dist worksteal -p no:cacheprovider "$@"
}

sanitizer() {
    command -v compute-sanitizer > /dev/null && [ "$DEVICE" = cuda ] || { echo "compute-sanitizer: NOT RUN"; return 77; }
    compute-sanitizer --tool "$1" --error-exitcode 9 "$PYTHON" benchmarks/gpu_kernels.py --small
}

export -f build tests sanitizer
export PYTHON DEVICE OUT cores
on_device=(tests/test_ops.py tests/test_stream_ops.py tests/test_averages.py tests/test_probability_flow.py)
on_device+=(tests/test_neighbours.py)
rows=(--device "$DEVICE" --out "$OUT/rows.jsonl")
[ "$DEVICE" = cpu ] && rows+=(--small)

part build 130 bash -c build
part references 110 bash -c 'tests "$@"' tests tests/test_cuda_*.py "${on_device[@]}"
part rows 120 "$PYTHON" benchmarks/gpu_kernels.py "${rows[@]}"
part memcheck 45 bash -c 'sanitizer memcheck'
part racecheck 45 bash -c 'sanitizer racecheck'
ignored=(tests/test_cuda_*.py "${on_device[@]}")
part suite $((535 - SECONDS > 30 ? 535 - SECONDS : 30)) bash -c 'tests "$@"' tests "${ignored[@]/#/--ignore=}"
printf '\n'
cat "$OUT/table.txt"
exit "$failed"
