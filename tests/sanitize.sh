#!/usr/bin/env bash
# The op tests with kernels of the instruction sets named (baseline if none is) under the address and undefined-behaviour
# sanitizers, casts of floats too large for an integer among them. All sets: `tests/sanitize.sh baseline avx2 avx512`, whose
# kernels take most of an hour to compile on two cores. Needs g++, and PYTHON (.venv/bin/python) with thermokern's tests.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- baseline
sets=$([ "$*" = baseline ] && echo baseline || echo all)
python=${PYTHON:-.venv/bin/python}
op_tests=(test_math.py test_ops.py test_averages.py test_neighbours.py test_probability_flow.py test_stream_ops.py)
op_tests+=(test_trajectory_block.py test_trajectory_parts.py test_border.py)

# A second environment that sees the packages of the first, but not its editable thermokern.
python3 -m venv .venv-asan
packages=$("$python" -c "import sys; print(*(p for p in sys.path if p.endswith('site-packages')), sep='\n')")
echo "$packages" > "$(.venv-asan/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/shared.pth"
.venv-asan/bin/python -m pip install --quiet --no-deps --force-reinstall . \
    -Cbuild-dir=build/asan -Ccmake.build-type=RelWithDebInfo -Cinstall.strip=false \
    -Ccmake.define.CMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" -Ccmake.define.THERMOKERN_ISA_SETS="$sets" \
    -Ccmake.define.THERMOKERN_SANITIZE=address,undefined,float-cast-overflow -Ccmake.define.THERMOKERN_CUDA=OFF
cd tests
for isa; do
    export THERMOKERN_ISA=$isa
    echo "== op tests with the $isa kernels under the address and undefined-behaviour sanitizers"
    # Left out: torch's own checks, and bits that hang on which multiply-adds an optimised build fuses.
    LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        ../.venv-asan/bin/python -m pytest -q --hypothesis-profile=short -p no:cacheprovider -n auto --maxprocesses 8 --dist worksteal \
        -k "not opcheck and not compile_whole and not same_arithmetic" "${op_tests[@]}"
done
