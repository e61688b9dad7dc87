#!/usr/bin/env bash
# The CPU kernels compiled for a machine and run there against stored references, without Python:
#
#     tests/portable/run.sh                                           # this machine, the path without intrinsics
#     CXX=aarch64-linux-gnu-g++ RUN=qemu-aarch64 tests/portable/run.sh # 64-bit ARM under emulation
#
# CXX: a GCC with OpenMP (Debian: g++-aarch64-linux-gnu); RUN: what starts its programs (Debian: qemu-user); FLAGS: more
# of the compiler's, such as -march=. `tests/portable/record.py` wrote problems.bin.
set -euo pipefail
cd "$(dirname "$0")/../.."
CXX=${CXX:-g++}
folder=build/portable/$("$CXX" -dumpmachine)
mkdir -p "$folder"
# TK_ISA names the set that dispatch.cpp always has. -O2 takes half the time of -O3 to compile.
flags=(-std=c++20 -O2 -fopenmp -fno-math-errno -fno-trapping-math -fno-signed-zeros -ffp-contract=fast -DTK_ISA=baseline)
read -r -a more <<< "${FLAGS:-}"
flags+=(-Wall -Wextra -Wno-psabi "${more[@]}")
printf '%s\n' csrc/cpu/*.cpp tests/portable/run_kernels.cpp |
    xargs -P "$(nproc)" -I{} sh -c '"$@" -c {} -o '"$folder"'/$(basename {}).o' sh "$CXX" "${flags[@]}"
"$CXX" -static -fopenmp "$folder"/*.o -o "$folder/run_kernels"
echo "$("$CXX" -dumpmachine), $("$CXX" -dumpversion), ${RUN:-run here}"
${RUN:-} "$folder/run_kernels" tests/portable/problems.bin
