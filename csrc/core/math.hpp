// Elementary functions as branch-free polynomials, the same on every machine, in float32 and float64.
//
// Coefficients are minimax fits (float32) and Chebyshev interpolants (float64) on the reduced interval, lowest power
// first. The bounds stated here are for float32, approximation and rounding together, and tests/test_math.py holds the
// functions to them; in float64 all are below 1e-15 times the same scale.
#pragma once

#include "lanes.hpp"

TK_BEGIN_NAMESPACE

template <class S>
constexpr S log_2 = S(0.693147180559945309417);
template <class S>
constexpr S log2_e = S(1.44269504088896340736);

// Coefficients that a function returns: device code cannot refer to a static array of the host.
template <class S, int N>
struct Series {
    S c[N];
};

// c[0] + c[1] x + … + c[N−1] x^{N−1}
template <class V, int N>
TK_HD V polynomial(V x, const ScalarOf<V> (&c)[N]) {
    V p = splat<V>(c[N - 1]);
    TK_UNROLL
    for (int i = N - 2; i >= 0; --i) p = p * x + c[i];
    return p;
}

// How the bits of a scalar read, and the coefficients that its precision asks for.
template <class S>
struct Precision;

template <>
struct Precision<float> {
    static constexpr int mantissa_bits = 23;
    static constexpr float shifter =
        0x1.8p23f;  // x + shifter rounds x to an integer, which then stands in the low bits
    static constexpr float smallest_exponent = -126.f;
    static constexpr float sigmoid_floor = -80.f;
    static constexpr std::int32_t three_quarters = 0x3f400000;
    static TK_HD constexpr Series<float, 6> exp2() {
        return {{1.f, 6.93147004e-1f, 2.40222424e-1f, 5.55073358e-2f, 9.67151299e-3f, 1.32647273e-3f}};
    }
    static TK_HD constexpr Series<float, 4> sine() { return {{6.28318501f, -41.3416290f, 81.5881271f, -75.2400665f}}; }
    static TK_HD constexpr Series<float, 4> cosine() { return {{1.f, -19.7391682f, 64.9232254f, -83.6659241f}}; }
};

template <>
struct Precision<double> {
    static constexpr int mantissa_bits = 52;
    static constexpr double shifter = 0x1.8p52;
    static constexpr double smallest_exponent = -1022.0;
    static constexpr double sigmoid_floor = -700.0;
    static constexpr std::int64_t three_quarters = 0x3fe8000000000000;
    static TK_HD constexpr Series<double, 13> exp2() {
        return {{1.0, 0.6931471805599453, 0.24022650695910072, 0.055504108664821625, 0.00961812910762848,
                 0.001333355814640647, 0.00015403530393370734, 1.5252733841556773e-05, 1.3215486808705563e-06,
                 1.0178057087733941e-07, 7.0548973041554995e-09, 4.4558179083360645e-10, 2.5729324177362305e-11}};
    }
    static TK_HD constexpr Series<double, 8> sine() {
        return {{6.283185307179586, -41.34170224039976, 81.60524927607493, -76.70585975299812, 42.05869392898878,
                 -15.094640403891546, 3.8197881201632113, -0.7116358090781666}};
    }
    static TK_HD constexpr Series<double, 9> cosine() {
        return {{1.0, -19.739208802178716, 64.9393940226683, -85.45681720669369, 60.24464137185456, -26.4262567778174,
                 7.90353561233896, -1.714333269420992, 0.2797407860657504}};
    }
};

// 2^x for x ≤ 127 (float64: 1023), relative error below 2.5e-7; 2^−126 (2^−1022) for anything smaller.
template <class V>
TK_HD V exp2(V x) {
    using P = Precision<ScalarOf<V>>;
    x = maximum(splat<V>(P::smallest_exponent), x);  // NaN stays NaN
    const V shifted = x + P::shifter;
    const V p = polynomial(V(x - (shifted - P::shifter)), P::exp2().c);  // of a number in [−½, ½]
    return bit_cast<V>(bit_cast<IntOf<V>>(p) + (bit_cast<IntOf<V>>(shifted) << P::mantissa_bits));
}

// log(1 + f) for f in [−¼, ½).
template <class V>
TK_HD V log_one_plus(V f) {
    if constexpr (sizeof(ScalarOf<V>) == 4) {
        constexpr float c[] = {-0.5f,         0.333334506f, -0.249953851f, 0.199828163f,
                               -0.168128386f, 0.149208143f, -0.119686455f, 0.0535720177f};
        return polynomial(f, c) * f * f + f;
    } else {  // 2 artanh s
        constexpr double c[] = {1.0,
                                0.3333333333333333,
                                0.19999999999999954,
                                0.14285714285744625,
                                0.11111111103341054,
                                0.09090910086379395,
                                0.076922361942339,
                                0.06669673167297764,
                                0.05809148515944346,
                                0.062089529939574326};
        const V s = f / (f + 2.0);
        return 2.0 * s * polynomial(V(s * s), c);
    }
}

// Natural logarithm of a positive normal number, error below 1.5e-7 (1 + |log x|).
template <class V>
TK_HD V log(V x) {
    using P = Precision<ScalarOf<V>>;
    const IntOf<V> bits = bit_cast<IntOf<V>>(x);
    const IntOf<V> exponent = (bits - P::three_quarters) >> P::mantissa_bits;
    const V mantissa = bit_cast<V>(bits - (exponent << P::mantissa_bits));  // in [¾, 1½)
    return to_float<V>(exponent) * log_2<ScalarOf<V>> + log_one_plus(V(mantissa - ScalarOf<V>(1)));
}

// sin and cos of 2π w/2^32, absolute error below 1.5e-7. The two top bits of w + 2^29 are the quadrant.
template <class V>
TK_HD void sincos_turn(WordOf<V> w, V& sine, V& cosine) {
    using P = Precision<ScalarOf<V>>;
    using Word = WordOf<V>;
    const Word shifted = w + 0x20000000u;
    const V f = signed_to_float<V>(Word(w - (shifted & 0xC0000000u))) * ScalarOf<V>(0x1p-32);  // turns, in [−⅛, ⅛)
    const V y = f * f;
    const V s = polynomial(y, P::sine().c) * f;
    const V c = polynomial(y, P::cosine().c);
    const auto odd = widen<V>(Word(shifted & 0x40000000u)) != 0;
    const V swapped_sine = odd ? c : s;
    const V swapped_cosine = odd ? s : c;
    sine = flip_sign(swapped_sine, shifted);
    cosine = flip_sign(swapped_cosine, Word(shifted ^ (shifted << 1)));
}

// 1/(1 + e^−x), relative error below 4e-7 + 7.5e-8 |x| for x > −80 (float64: −700); constant below.
template <class V>
TK_HD V sigmoid(V x) {
    using S = ScalarOf<V>;
    return S(1) / (S(1) + exp2(V(maximum(splat<V>(Precision<S>::sigmoid_floor), x) * -log2_e<S>)));
}

// tanh x = 2 sigmoid(2x) − 1, absolute error below 2.5e-7.
template <class V>
TK_HD V tanh(V x) {
    using S = ScalarOf<V>;
    return S(2) * sigmoid(V(S(2) * x)) - S(1);
}

TK_END_NAMESPACE
