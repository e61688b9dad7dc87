// Tensor cores: the instruction that a warp issues together, by its arithmetic.
//
// What the hardware does was measured, not published (Fasi, Higham, Mikaitis and Pranesh, PeerJ Computer Science
// 7:e330, 2021): products of the rounded operands are exact; all of them and the number that they are added to are
// aligned to the largest, cut off below its last places and added, and the sum is cut off to float32. Devices keep one
// or more places below the 24 of float32; the emulator keeps none, which is the worst that is known. With
// `Sums::nearest` the sum is rounded once to the nearest float32, which is the best that there could be.
#pragma once

#include <cmath>

#include "block.hpp"

namespace tk::emulator {

enum class Sums { truncated, nearest };
inline thread_local Sums sums = Sums::truncated;

// Toward zero, to as many places as float32 has below the first place of `largest`.
inline double cut(double value, double largest) {
    std::uint64_t bits;
    std::memcpy(&bits, &largest, sizeof bits);
    bits &= 0x7ff0000000000000u;  // the power of two
    double unit;
    std::memcpy(&unit, &bits, sizeof unit);
    unit *= 0x1p-23;
    return std::trunc(value / unit) * unit;
}

inline float add_up(const double* terms, int count) {
    double largest = 0, total = 0;
    for (int i = 0; i < count; ++i) {
        const double size = terms[i] < 0 ? -terms[i] : terms[i];
        largest = size > largest ? size : largest;
        total += terms[i];
    }
    if (sums == Sums::nearest || largest == 0 || !std::isfinite(total)) return static_cast<float>(total);
    total = 0;
    for (int i = 0; i < count; ++i) total += cut(terms[i], largest);
    return total == 0 ? 0.0f : static_cast<float>(cut(total, total));
}

// What a lane brings: its words of A and of B.
struct Operands {
    const std::uint32_t *a, *b;
};
TK_UNCHECKED inline Operands operands_of(int lane) {
    Operands operands;
    const std::uint64_t word = block->current().inbox[lane];
    std::memcpy(&operands, reinterpret_cast<const void*>(static_cast<std::uintptr_t>(word)), sizeof operands);
    return operands;
}

// Number i of a word that holds one float32, or two bfloat16.
template <int PerWord>
double number(std::uint32_t word, int i) {
    const std::uint32_t bits = PerWord == 1 ? word : (i == 0 ? word << 16 : word & 0xffff0000u);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<double>(value);
}

// C ← A B + C, in the layout that csrc/cuda/tensor_cores.cuh says. The lanes go on once all have read.
template <int PerWord>
TK_UNCHECKED void multiply_add(const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], float (&c)[4],
                               const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    constexpr unsigned all = 0xffffffffu;
    const Operands own{a, b};
    block->wait_at_collective(all, reinterpret_cast<std::uintptr_t>(&own), {file, line});
    const int lane = static_cast<int>(block->lane()), group = lane / 4, place = lane % 4;
    for (int r = 0; r < 4; ++r) {
        double terms[8 * PerWord + 1];
        int count = 0;
        for (int k = 0; k < 8; ++k) {
            const std::uint32_t left = operands_of(4 * group + k % 4).a[r / 2 + 2 * (k / 4)];
            const std::uint32_t right = operands_of(4 * (2 * place + r % 2) + k % 4).b[k / 4];
            for (int i = 0; i < PerWord; ++i) terms[count++] = number<PerWord>(left, i) * number<PerWord>(right, i);
        }
        terms[count++] = static_cast<double>(c[r]);
        c[r] = add_up(terms, count);
    }
    block->wait_at_collective(all, 0, {file, line});
}

}  // namespace tk::emulator
