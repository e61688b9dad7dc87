#!/usr/bin/env bash
# The neighbour kernels, and after `tests/threads.sh all` every other kernel of the CPU too, with two threads under
# ThreadSanitizer; fails if it reports anything, or if two threads give other results than one. The rest takes some
# minutes to compile. Needs clang and its OpenMP, whose tool Archer tells the sanitizer what OpenMP orders: GCC's OpenMP
# does not, and every barrier would be a race (Debian: clang, libomp-dev).
set -euo pipefail
cd "$(dirname "$0")/.."
compiler=$(compgen -c clang++ | grep -E '^clang\+\+(-[0-9]+)?$' | sort -V | tail -n 1 || true)
archer=${compiler:+$(dirname "$(readlink -f "$(command -v "$compiler")")")/../lib/libarcher.so}
if [ ! -e "$archer" ]; then
    echo "kernels under ThreadSanitizer: NOT RUN (no clang with OpenMP and Archer)"
    exit 0
fi
folder=build/threads
mkdir -p "$folder"
flags=(-std=c++20 -O1 -g -fopenmp -fsanitize=thread -march=x86-64-v2 -DTK_ISA=baseline
    -Wno-psabi -Wno-macro-redefined -Wno-unknown-warning-option)

# run NAME SOURCES…: compiles the driver tests/NAME.cpp with these kernels, two files at a time, and runs it.
run() {
    local name=$1
    shift
    local sources=("$@" "tests/$name.cpp")
    printf '%s\n' "${sources[@]}" | xargs -P 2 -I{} sh -c '"$0" "$@" -c {} -o '"$folder"'/$(basename {} .cpp).o' \
        "$compiler" "${flags[@]}"
    local objects=("${sources[@]##*/}")
    objects=("${objects[@]/%.cpp/.o}")
    "$compiler" "${flags[@]}" "${objects[@]/#/$folder/}" -o "$folder/$name"
    # Addresses as the sanitizer wants them: not random.
    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive OMP_TOOL_LIBRARIES=$archer \
        TSAN_OPTIONS=ignore_noninstrumented_modules=1 setarch -R "$folder/$name"
    echo "$name under ThreadSanitizer: nothing reported"
}

run neighbours_threads csrc/cpu/neighbours_*.cpp
if [ "${1:-}" = all ]; then
    mapfile -t kernels < <(printf '%s\n' csrc/cpu/*.cpp | grep -v dispatch)
    run kernel_threads "${kernels[@]}"
fi
