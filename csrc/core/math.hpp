// Elementary functions as branch-free polynomials, the same on every machine.
//
// Coefficients are minimax fits on the reduced interval. The bounds stated here, approximation and float32 rounding
// together, are what tests/test_math.py holds them to.
#pragma once

#include "lanes.hpp"

TK_BEGIN_NAMESPACE

constexpr float log_2 = 0.693147180559945f;
constexpr float log2_e = 1.44269504088896f;

// 2^x for x ≤ 127, relative error below 2.5e-7; 2^−126 for anything smaller than −126.
template <class V>
TK_HD V exp2(V x) {
    constexpr float shifter = 0x1.8p23f;  // x + shifter rounds x to an integer, which then stands in the low bits
    x = maximum(splat<V>(-126.f), x);     // NaN stays NaN
    const V shifted = x + shifter;
    const V f = x - (shifted - shifter);  // in [−½, ½]
    V p = f * 1.32647273e-3f + 9.67151299e-3f;
    p = p * f + 5.55073358e-2f;
    p = p * f + 2.40222424e-1f;
    p = p * f + 6.93147004e-1f;
    p = p * f + 1.f;
    return bit_cast<V>(bit_cast<IntOf<V>>(p) + (bit_cast<IntOf<V>>(shifted) << 23));
}

// Natural logarithm of a positive normal number, error below 1.5e-7 (1 + |log x|).
template <class V>
TK_HD V log(V x) {
    const IntOf<V> bits = bit_cast<IntOf<V>>(x);
    const IntOf<V> exponent = (bits - 0x3f400000) >> 23;
    const V f = bit_cast<V>(bits - (exponent << 23)) - 1.f;  // in [−¼, ½)
    V p = f * 0.0535720177f - 0.119686455f;
    p = p * f + 0.149208143f;
    p = p * f - 0.168128386f;
    p = p * f + 0.199828163f;
    p = p * f - 0.249953851f;
    p = p * f + 0.333334506f;
    p = p * f - 0.5f;
    return to_float<V>(exponent) * log_2 + (p * f * f + f);
}

// sin and cos of 2π w/2^32, absolute error below 1.5e-7. The two top bits of w + 2^29 are the quadrant.
template <class V>
TK_HD void sincos_turn(WordOf<V> w, V& sine, V& cosine) {
    using Word = WordOf<V>;
    const Word shifted = w + 0x20000000u;
    const V f = to_float<V>(bit_cast<IntOf<V>>(w - (shifted & 0xC0000000u))) * 0x1p-32f;  // turns, in [−⅛, ⅛)
    const V y = f * f;
    V s = y * -75.2400665f + 81.5881271f;
    s = s * y - 41.3416290f;
    s = (s * y + 6.28318501f) * f;
    V c = y * -83.6659241f + 64.9232254f;
    c = c * y - 19.7391682f;
    c = c * y + 1.f;
    const auto odd = bit_cast<IntOf<V>>(shifted & 0x40000000u) != 0;
    const V swapped_sine = odd ? c : s;
    const V swapped_cosine = odd ? s : c;
    const Word sine_sign = shifted & 0x80000000u;
    const Word cosine_sign = (shifted ^ (shifted << 1)) & 0x80000000u;
    sine = bit_cast<V>(bit_cast<Word>(swapped_sine) ^ sine_sign);
    cosine = bit_cast<V>(bit_cast<Word>(swapped_cosine) ^ cosine_sign);
}

// 1/(1 + e^−x), relative error below 4e-7 + 7.5e-8 |x| for x > −80; constant below.
template <class V>
TK_HD V sigmoid(V x) {
    return 1.f / (1.f + exp2(V(maximum(splat<V>(-80.f), x) * -log2_e)));
}

// tanh x = 2 sigmoid(2x) − 1, absolute error below 2.5e-7.
template <class V>
TK_HD V tanh(V x) {
    return 2.f * sigmoid(2.f * x) - 1.f;
}

TK_END_NAMESPACE
