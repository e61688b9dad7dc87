// Float32 numbers rounded to the formats that tensor cores multiply: TF32 with 11 significant bits and bfloat16 with 8,
// both with float32's exponents.
//
// A number of 24 bits is its TF32 plus the TF32 of what is left, to within 2⁻²³ of it:
//   |x − big| ≤ 2⁻¹¹ |x|,   |x − big − small| ≤ 2⁻²³ |x|,
// as long as `small` is a normal number, |x| > 2⁻¹⁰³. TF32 reaches infinity from (2 − 2⁻¹¹) 2¹²⁷ on.
#pragma once

#include "lanes.hpp"

TK_BEGIN_NAMESPACE

// To the nearest TF32, halves away from zero. What is not a number stays that.
TK_HD float round_to_tf32(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    std::uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bit_cast<float>(bits);
#else
    if (x != x) return x;
    return bit_cast<float>((bit_cast<std::uint32_t>(x) + 0x1000u) & 0xffffe000u);
#endif
}

// The nearest bfloat16, halves to even, as its sixteen bits.
TK_HD std::uint32_t bfloat16_bits(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    std::uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
#else
    const std::uint32_t bits = bit_cast<std::uint32_t>(x);
    if (x != x) return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
#endif
}

TK_END_NAMESPACE
