// The CUDA that thermokern's kernels use, for g++: the same .cuh and .cu files run on the CPU. See README.md beside it.
#pragma once

#include "runtime.hpp"
#include "tensor_cores.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict

#define threadIdx tk::emulator::thread_index
#define blockIdx tk::emulator::block_index
#define blockDim tk::emulator::block_size
#define gridDim tk::emulator::grid_size
constexpr int warpSize = 32;

// One variable for the block, and memory whose size the launch gives.
#define TK_SHARED(T, name)                               \
    static const char tk_key_of_##name = 0;              \
    auto& name = *static_cast<std::type_identity_t<T>*>( \
        tk::emulator::block->shared(&tk_key_of_##name, #name, sizeof(std::type_identity_t<T>)))
#define TK_DYN_SHARED(T, name) T* const name = static_cast<T*>(tk::emulator::block->dynamic_shared())
#define TK_LAUNCH(grid, size, dynamic_bytes, stream, kernel, ...) \
    (static_cast<void>(stream), tk::emulator::launch(grid, size, dynamic_bytes, kernel, __VA_ARGS__))

// The place of a call, for reports.
#define TK_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define TK_HERE \
    tk::emulator::Site { file, line }

inline void __syncthreads(TK_SITE) { tk::emulator::block->wait_at_barrier(TK_HERE); }
inline void __syncwarp(unsigned mask = 0xffffffffu, TK_SITE) {
    tk::emulator::block->wait_at_collective(mask, 0, TK_HERE);
}

namespace tk::emulator {

// What lane `source` brought to a collective of the mask.
template <class T>
TK_UNCHECKED T exchange(unsigned mask, T value, unsigned source, Site site) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t), "shuffles move at most eight bytes");
    std::uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    block->wait_at_collective(mask, word, site);
    if ((mask >> source & 1) == 0) block->fail("a shuffle reads a lane outside its mask");
    T received;
    std::memcpy(&received, &block->current().inbox[source], sizeof received);
    return received;
}

}  // namespace tk::emulator

// Shuffles within segments of `width` lanes; a source outside the segment is the lane itself.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, TK_SITE) {
    const unsigned w = static_cast<unsigned>(width), base = tk::emulator::block->lane() & ~(w - 1);
    return tk::emulator::exchange(mask, value, base | (static_cast<unsigned>(source) & (w - 1)), TK_HERE);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, TK_SITE) {
    const unsigned w = static_cast<unsigned>(width), lane = tk::emulator::block->lane();
    const unsigned source = lane ^ static_cast<unsigned>(bits);
    return tk::emulator::exchange(mask, value, source > (lane | (w - 1)) ? lane : source, TK_HERE);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, TK_SITE) {
    const unsigned w = static_cast<unsigned>(width), lane = tk::emulator::block->lane();
    return tk::emulator::exchange(mask, value, (lane & (w - 1)) + by >= w ? lane : lane + by, TK_HERE);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, TK_SITE) {
    const unsigned w = static_cast<unsigned>(width), lane = tk::emulator::block->lane();
    return tk::emulator::exchange(mask, value, (lane & (w - 1)) < by ? lane : lane - by, TK_HERE);
}

// The lanes of the mask whose predicate holds.
TK_UNCHECKED inline unsigned __ballot_sync(unsigned mask, int predicate, TK_SITE) {
    tk::emulator::block->wait_at_collective(mask, predicate != 0, TK_HERE);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1) votes |= static_cast<unsigned>(tk::emulator::block->current().inbox[lane]) << lane;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate, TK_SITE) { return __ballot_sync(mask, predicate, file, line) != 0; }
inline int __all_sync(unsigned mask, int predicate, TK_SITE) {
    return __ballot_sync(mask, predicate, file, line) == mask;
}

// Integer atomics; results are made without floating-point ones. Threads are switched at waits alone, so a plain
// read and write is atomic here, and the emulator hides it from ThreadSanitizer, which checks everything else.
#define TK_ATOMIC(name, expression)                       \
    template <class T>                                    \
    TK_UNCHECKED T name(T* address, T value) {            \
        static_assert(std::is_integral_v<T>, "integers"); \
        const T old = *address;                           \
        *address = (expression);                          \
        return old;                                       \
    }
TK_ATOMIC(atomicAdd, old + value)
TK_ATOMIC(atomicMax, old > value ? old : value)
TK_ATOMIC(atomicMin, old < value ? old : value)
TK_ATOMIC(atomicOr, old | value)
TK_ATOMIC(atomicExch, value)
template <class T>
TK_UNCHECKED T atomicCAS(T* address, T expected, T value) {
    const T old = *address;
    if (old == expected) *address = value;
    return old;
}

template <class T>
T __ldg(const T* address) {
    return *address;
}
inline int __popc(unsigned word) { return __builtin_popcount(word); }
inline int __ffs(int word) { return __builtin_ffs(word); }
