// The lane: the one template parameter of every core function.
//
// A lane type V is `float` in a scalar or CUDA thread, and a SIMD register of floats on the CPU (GCC and Clang vector
// extensions). Operators, comparisons and `mask ? a : b` read the same for both; this file adds what they lack.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define TK_HD __host__ __device__ __forceinline__
#define TK_HD_CALL TK_HD
#if defined(__CUDA_ARCH__)
#define TK_UNROLL _Pragma("unroll")
#else
#define TK_UNROLL  // nvcc's host code, which runs no kernel, knows no such pragma
#endif
#else
#define TK_HD inline __attribute__((always_inline))
#define TK_HD_CALL __attribute__((noinline))  // of templates that are large and long: one copy, quicker to compile
#define TK_UNROLL _Pragma("GCC unroll 16")
#if defined(__SSE2__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC bug 105593, in avx512fintrin.h
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#endif

// Loops over the components of a mixture: not unrolled on a device for points of many dimensions, whose arrays do not
// fit into registers anyway. Stands where the template parameter MaxDim is their bound.
#if defined(__CUDA_ARCH__)
#define TK_UNROLL_COMPONENTS _Pragma("unroll (MaxDim <= 4 ? 8 : 1)")
#else
#define TK_UNROLL_COMPONENTS TK_UNROLL
#endif

// Arithmetic is written with operators; -ffp-contract=fast (and nvcc by default) fuses a·b + c.

// Code that is compiled once per instruction set lives in an inline namespace of that set's name: without it the
// linker would merge equal templates, and a machine without AVX-512 could run into AVX-512 code.
#if defined(TK_ISA)
#define TK_BEGIN_NAMESPACE \
    namespace tk {         \
    inline namespace TK_ISA {
#define TK_END_NAMESPACE \
    }                    \
    }
#else
#define TK_BEGIN_NAMESPACE namespace tk {
#define TK_END_NAMESPACE }
#endif

TK_BEGIN_NAMESPACE

// What belongs to a lane: its scalar, the signed integers of the scalar's width (one: Index), and the 32-bit words of
// random numbers.
template <class V>
struct Lane;

template <>
struct Lane<float> {
    using Scalar = float;
    using Int = std::int32_t;
    using Index = std::int32_t;
    using Word = std::uint32_t;
    static constexpr int count = 1;
};
template <>
struct Lane<double> {
    using Scalar = double;
    using Int = std::int64_t;
    using Index = std::int64_t;
    using Word = std::uint32_t;
    static constexpr int count = 1;
};

#if !defined(__CUDACC__)
template <int N>
struct Vectors {
    typedef float Float __attribute__((vector_size(4 * N)));
    typedef double Double __attribute__((vector_size(8 * N)));
    typedef std::int32_t Int __attribute__((vector_size(4 * N)));
    typedef std::int64_t Long __attribute__((vector_size(8 * N)));
    typedef std::uint32_t Word __attribute__((vector_size(4 * N)));
    typedef std::uint64_t Pair __attribute__((vector_size(4 * N)));
};

template <int N>
struct FloatLane {
    using Scalar = float;
    using Int = typename Vectors<N>::Int;
    using Index = std::int32_t;
    using Word = typename Vectors<N>::Word;
    static constexpr int count = N;
};
template <int N>
struct DoubleLane {
    using Scalar = double;
    using Int = typename Vectors<N>::Long;
    using Index = std::int64_t;
    using Word = typename Vectors<N>::Word;
    static constexpr int count = N;
};
template <>
struct Lane<Vectors<4>::Float> : FloatLane<4> {};
template <>
struct Lane<Vectors<8>::Float> : FloatLane<8> {};
template <>
struct Lane<Vectors<16>::Float> : FloatLane<16> {};
template <>
struct Lane<Vectors<2>::Double> : DoubleLane<2> {};
template <>
struct Lane<Vectors<4>::Double> : DoubleLane<4> {};
template <>
struct Lane<Vectors<8>::Double> : DoubleLane<8> {};
#else
template <int N>
struct Vectors;  // named in branches that a thread's lane never takes
#endif

template <class V>
using ScalarOf = typename Lane<V>::Scalar;
template <class V>
using IntOf = typename Lane<V>::Int;
template <class V>
using WordOf = typename Lane<V>::Word;

template <class To, class From>
TK_HD To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "bit_cast: sizes differ");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}

template <class V>
TK_HD V splat(ScalarOf<V> value) {
    return V{} + value;
}

template <class V>
TK_HD WordOf<V> splat_word(std::uint32_t value) {
    return WordOf<V>{} + value;
}

// The larger of two numbers; b where one is NaN.
template <class V>
TK_HD V maximum(V a, V b) {
    return a > b ? a : b;
}
template <class V>
TK_HD V minimum(V a, V b) {
    return a < b ? a : b;
}

// Its sign bit cleared: zero is +0, whatever a compiler makes of max(a, −a).
template <class V>
TK_HD V magnitude(V a) {
    if constexpr (Lane<V>::count == 1)
        return std::fabs(a);
    else
        return bit_cast<V>(bit_cast<IntOf<V>>(a) &
                           static_cast<typename Lane<V>::Index>(~std::uint64_t{0} >> (65 - 8 * sizeof(ScalarOf<V>))));
}

// A value that is what it is: what made it is not fused with what follows.
template <class V>
TK_HD V rounded(V a) {
#if defined(__CUDACC__)  // on a device products are rounded where they are made, on the host no kernel runs
#elif defined(__AVX512F__)
    asm("" : "+v"(a));
#elif defined(__x86_64__)
    asm("" : "+x"(a));
#else
    asm("" : "+w"(a));
#endif
    return a;
}

// A product, rounded before it is used: a difference of two equal products is then zero, which fusing would spoil.
template <class V>
TK_HD V product(V a, V b) {
#if defined(__CUDA_ARCH__)
    if constexpr (sizeof(V) == 4)
        return __fmul_rn(a, b);
    else
        return __dmul_rn(a, b);
#else
    return rounded(V(a * b));
#endif
}

template <class V>
TK_HD V square_root(V a) {
    if constexpr (Lane<V>::count == 1) {
        return std::sqrt(a);
    } else {
        V root;
        for (int i = 0; i < Lane<V>::count; ++i) {
            if constexpr (sizeof(ScalarOf<V>) == 4)
                root[i] = __builtin_sqrtf(a[i]);
            else
                root[i] = __builtin_sqrt(a[i]);
        }
        return root;
    }
}

// Integers to the nearest floats.
template <class V, class Integers>
TK_HD V to_float(Integers a) {
    if constexpr (Lane<V>::count == 1)
        return static_cast<V>(a);
    else
        return __builtin_convertvector(a, V);
}

// Words read as signed integers, to floats.
template <class V>
TK_HD V signed_to_float(WordOf<V> words) {
    if constexpr (Lane<V>::count == 1)
        return static_cast<V>(static_cast<std::int32_t>(words));
    else
        return __builtin_convertvector(bit_cast<typename Vectors<Lane<V>::count>::Int>(words), V);
}

// Words as integers of the scalar's width.
template <class V>
TK_HD IntOf<V> widen(WordOf<V> words) {
    if constexpr (sizeof(IntOf<V>) == sizeof(WordOf<V>))
        return bit_cast<IntOf<V>>(words);
    else if constexpr (Lane<V>::count == 1)
        return static_cast<IntOf<V>>(words);
    else
        return __builtin_convertvector(words, IntOf<V>);
}

// The sign of `value` turned where the top bit of a word is set.
template <class V>
TK_HD V flip_sign(V value, WordOf<V> words) {
    const IntOf<V> sign = widen<V>(WordOf<V>(words & 0x80000000u));
    return bit_cast<V>(bit_cast<IntOf<V>>(value) ^ (sign << (8 * sizeof(ScalarOf<V>) - 32)));
}

// One number of a lane.
template <class V>
TK_HD ScalarOf<V> get_lane(const V& value, int lane) {
    if constexpr (Lane<V>::count == 1)
        return value;
    else
        return value[lane];
}
template <class V>
TK_HD void set_lane(V& value, int lane, ScalarOf<V> number) {
    if constexpr (Lane<V>::count == 1)
        value = number;
    else
        value[lane] = number;
}

// Memory need not be aligned.
template <class V>
TK_HD V load(const ScalarOf<V>* from) {
    V value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}
template <class V>
TK_HD void store(ScalarOf<V>* to, V value) {
    __builtin_memcpy(to, &value, sizeof value);
}

// What holds 32-bit words while they are multiplied: a word itself, or the even and the odd lanes of a register of
// them, each in the low half of a lane of 64 bits.
template <class Word>
struct WordParts {
    static constexpr int count = 2;
    using Type = typename Vectors<sizeof(Word) / 4>::Pair;
    static TK_HD Type take(Word words, int part) {
        const Type pairs = bit_cast<Type>(words);
        return part == 0 ? pairs : pairs >> 32;
    }
    static TK_HD Word join(Type even, Type odd) { return bit_cast<Word>((even & 0xffffffffu) | (odd << 32)); }
};
template <>
struct WordParts<std::uint32_t> {
    static constexpr int count = 1;
    using Type = std::uint32_t;
    static TK_HD std::uint32_t take(std::uint32_t word, int) { return word; }
    static TK_HD std::uint32_t join(std::uint32_t word, std::uint32_t) { return word; }
};
TK_HD std::uint64_t low_product(std::uint32_t a, std::uint32_t factor) {
    return static_cast<std::uint64_t>(a) * factor;
}

#if !defined(__CUDACC__)
// Bit i is set where a[i] < b[i] (OrEqual: ≤); compilers do not find the instruction from the vector of a comparison.
template <bool OrEqual, class V>
TK_HD std::uint32_t less_bits(V a, V b) {
    constexpr bool is_float = sizeof(ScalarOf<V>) == 4;
#if defined(__AVX512F__)
    constexpr int predicate = OrEqual ? _CMP_LE_OQ : _CMP_LT_OQ;
    if constexpr (sizeof(V) == 64 && is_float) return _mm512_cmp_ps_mask((__m512)a, (__m512)b, predicate);
    if constexpr (sizeof(V) == 64 && !is_float) return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, predicate);
#endif
    const IntOf<V> mask = OrEqual ? a <= b : a < b;
#if defined(__AVX2__)
    if constexpr (sizeof(V) == 32 && is_float) return static_cast<std::uint32_t>(_mm256_movemask_ps((__m256)mask));
    if constexpr (sizeof(V) == 32 && !is_float) return static_cast<std::uint32_t>(_mm256_movemask_pd((__m256d)mask));
#endif
#if defined(__SSE2__)
    if constexpr (sizeof(V) == 16 && is_float) return static_cast<std::uint32_t>(_mm_movemask_ps((__m128)mask));
    if constexpr (sizeof(V) == 16 && !is_float) return static_cast<std::uint32_t>(_mm_movemask_pd((__m128d)mask));
#endif
    std::uint32_t bits = 0;
    for (int i = 0; i < Lane<V>::count; ++i) bits |= mask[i] != 0 ? 1u << i : 0u;
    return bits;
}

// [first, v_0, v_1, …]: every element one place up, the last dropped. Of numbers or integers.
template <class V, class S>
TK_HD V shift_in(V v, S first) {
    const V other = V{} + first;
    constexpr int count = sizeof(V) / sizeof(S);
    if constexpr (count == 2)
        return __builtin_shufflevector(v, other, 2, 0);
    else if constexpr (count == 4)
        return __builtin_shufflevector(v, other, 4, 0, 1, 2);
    else if constexpr (count == 8)
        return __builtin_shufflevector(v, other, 8, 0, 1, 2, 3, 4, 5, 6);
    else
        return __builtin_shufflevector(v, other, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
}

// Products of the low halves; compilers do not find this instruction from 64-bit multiplication.
template <class Pair>
TK_HD Pair low_product(const Pair& a, std::uint32_t factor) {
#if defined(__AVX512F__)
    if constexpr (sizeof(Pair) == 64) return (Pair)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(factor));
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(Pair) == 32) return (Pair)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(factor));
#endif
#if defined(__SSE2__)
    if constexpr (sizeof(Pair) == 16) return (Pair)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(factor));
#endif
#if defined(__ARM_NEON)
    if constexpr (sizeof(Pair) == 16) return (Pair)vmull_u32(vmovn_u64((uint64x2_t)a), vdup_n_u32(factor));
#endif
    return (a & 0xffffffffu) * factor;
}
#endif

TK_END_NAMESPACE
