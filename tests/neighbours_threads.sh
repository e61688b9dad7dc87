#!/usr/bin/env bash
# The neighbour kernels with two threads under ThreadSanitizer; fails if it reports anything, or if two threads give other
# results than one. Needs clang and its OpenMP, whose tool Archer tells the sanitizer what OpenMP orders: GCC's OpenMP
# does not, and every barrier would be a race (Debian: clang, libomp-dev).
set -euo pipefail
cd "$(dirname "$0")/.."
compiler=$(compgen -c clang++ | grep -E '^clang\+\+(-[0-9]+)?$' | sort -V | tail -n 1 || true)
archer=${compiler:+$(dirname "$(readlink -f "$(command -v "$compiler")")")/../lib/libarcher.so}
if [ ! -e "$archer" ]; then
    echo "neighbour kernels under ThreadSanitizer: NOT RUN (no clang with OpenMP and Archer)"
    exit 0
fi
folder=build/neighbours_threads
mkdir -p "$folder"
flags=(-std=c++20 -O1 -g -fopenmp -fsanitize=thread -march=x86-64-v2 -DTK_ISA=baseline
    -Wno-psabi -Wno-macro-redefined -Wno-unknown-warning-option)
"$compiler" "${flags[@]}" csrc/cpu/neighbours_*.cpp tests/neighbours_threads.cpp -o "$folder/neighbours_threads"
# Addresses as the sanitizer wants them: not random.
OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive OMP_TOOL_LIBRARIES=$archer TSAN_OPTIONS=ignore_noninstrumented_modules=1 \
    setarch -R "$folder/neighbours_threads"
echo "neighbour kernels under ThreadSanitizer: nothing reported"
