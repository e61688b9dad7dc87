#!/usr/bin/env bash
# Every CUDA kernel on the CPU under the sanitizers named, address (and undefined behaviour) and thread where none is;
# fails if one reports anything, or if a result depends on the order of threads.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- address thread
for sanitizer; do
    folder=build/cuda_emulator/$sanitizer
    mkdir -p "$folder"
    checks=$([ "$sanitizer" = thread ] && echo thread || echo address,undefined) # what is misaligned is undefined
    flags=(-std=c++20 -O1 -g1 "-fsanitize=$checks" -fno-sanitize-recover=undefined -Itests/cuda_emulator)
    flags+=(-Wall -Wextra -Werror -Wno-psabi)
    printf '%s\n' csrc/cuda/*.cu tests/cuda_emulator/run_kernels.cpp |
        xargs -P "$(nproc)" -I{} sh -c 'g++ "$@" -x c++ -c {} -o '"$folder"'/$(basename {}).o' sh "${flags[@]}"
    g++ "-fsanitize=$checks" "$folder"/*.o -o "$folder/run_kernels"
    run() { ASAN_OPTIONS=detect_leaks=0 "$folder/run_kernels" "$1" all > "$folder/$1.txt"; }
    if [ "$sanitizer" = thread ]; then # its shadow memory wants addresses that are not random; fewer problems, for time
        run() { setarch -R "$folder/run_kernels" "$1" few > "$folder/$1.txt"; }
    fi
    run forward &
    run random
    wait $!
    cmp "$folder/forward.txt" "$folder/random.txt"
    echo "$sanitizer: $(wc -l < "$folder/forward.txt") problems, nothing reported, same bits in both orders"
done
