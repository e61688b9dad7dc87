// Numbers that are moved sixteen bytes at a time.
#pragma once

#include "device.cuh"

namespace tk::cuda {

// Sixteen bytes, moved by one instruction.
template <class S>
struct alignas(16) Pack {
    S numbers[16 / sizeof(S)];
};

template <int Count, class S>
TK_HD void load_packs(const S* from, S* to) {
    constexpr int size = 16 / sizeof(S);
    TK_UNROLL
    for (int p = 0; p < Count / size; ++p) {
        const Pack<S> pack = reinterpret_cast<const Pack<S>*>(from)[p];
        TK_UNROLL
        for (int i = 0; i < size; ++i) to[p * size + i] = pack.numbers[i];
    }
}

}  // namespace tk::cuda
