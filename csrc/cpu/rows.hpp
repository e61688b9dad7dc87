// Rows of memory, one path each: lanes run along a path's components, so that loads and stores are whole registers.
#pragma once

#include "schedule.hpp"

TK_BEGIN_NAMESPACE

constexpr int row_tile = 512;  // components worked on at once; their noise stays in the first cache

// Two registers to the register whose lanes alternate between their lower (upper) halves.
template <int Count>
struct Zip;
#define TK_ZIP(count, low_lanes, high_lanes)                          \
    template <>                                                       \
    struct Zip<count> {                                               \
        template <class V>                                            \
        static TK_HD V low(V a, V b) {                                \
            return __builtin_shufflevector(a, b, TK_LIST low_lanes);  \
        }                                                             \
        template <class V>                                            \
        static TK_HD V high(V a, V b) {                               \
            return __builtin_shufflevector(a, b, TK_LIST high_lanes); \
        }                                                             \
    };
#define TK_LIST(...) __VA_ARGS__
TK_ZIP(2, (0, 2), (1, 3))
TK_ZIP(4, (0, 4, 1, 5), (2, 6, 3, 7))
TK_ZIP(8, (0, 8, 1, 9, 2, 10, 3, 11), (4, 12, 5, 13, 6, 14, 7, 15))
TK_ZIP(16, (0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
       (8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31))
#undef TK_ZIP
#undef TK_LIST

// Memory that is not read again before the caches have forgotten it is written past them, which spares reading it
// first. `to` is aligned to the register's size. `end_stream` before another thread may read what was written so.
template <class V>
inline void store_past_caches(ScalarOf<V>* to, V value) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) return _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)value);
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(V) == 32) return _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)value);
#endif
#if defined(__SSE2__)
    if constexpr (sizeof(V) == 16) return _mm_stream_si128(reinterpret_cast<__m128i*>(to), (__m128i)value);
#endif
    store(to, value);
}
inline void end_stream() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// Rows that are read soon: their memory is asked for while something else is computed. Addresses past the end do no
// harm.
template <class S, int Count>
struct Soon {
    const S* rows[Count > 0 ? Count : 1];

    void ask(std::int64_t from) const {
        for (int i = 0; i < Count; ++i)
            for (int line = 0; line < register_bytes / 16; ++line)
                __builtin_prefetch(rows[i] + from + line * static_cast<std::int64_t>(64 / sizeof(S)));
    }
};

// One path's normals along its components.
template <class S>
class PathNormals {
 public:
    using V = Native<S>;
    static constexpr std::int64_t group = 4 * lanes<S>;  // numbers made at once

    PathNormals(std::uint64_t seed, Purpose purpose, std::uint64_t path)
        : seed_(seed),
          purpose_(purpose),
          path_{splat_word<V>(static_cast<std::uint32_t>(path)),
                splat_word<V>(static_cast<std::uint32_t>(path >> 32))} {
        for (int l = 0; l < lanes<S>; ++l) lane_[l] = static_cast<std::uint32_t>(l);
    }
    // Numbers first … first + group in order, in four registers; `first` is a multiple of four.
    TK_HD void draw(std::uint64_t first, V* z) const {
        V across[4];  // lanes run over blocks of four numbers
        normal_blocks<V>(seed_, purpose_, path_, WordOf<V>(static_cast<std::uint32_t>(first / 4) + lane_), across);
        const V even_low = Zip<lanes<S>>::low(across[0], across[2]),
                even_high = Zip<lanes<S>>::high(across[0], across[2]);
        const V odd_low = Zip<lanes<S>>::low(across[1], across[3]),
                odd_high = Zip<lanes<S>>::high(across[1], across[3]);
        z[0] = Zip<lanes<S>>::low(even_low, odd_low);
        z[1] = Zip<lanes<S>>::high(even_low, odd_low);
        z[2] = Zip<lanes<S>>::low(even_high, odd_high);
        z[3] = Zip<lanes<S>>::high(even_high, odd_high);
    }

 private:
    std::uint64_t seed_;
    Purpose purpose_;
    PathIndex<V> path_;
    WordOf<V> lane_;
};

// A stretch of them in memory.
template <class S>
class RowNormals {
 public:
    // Numbers first … first + count, count ≤ row_tile; valid until the next call. Drawing is arithmetic alone and
    // leaves memory idle, so it fetches as many numbers of rows that come next.
    template <int Count>
    const S* draw(const PathNormals<S>& path, std::uint64_t first, std::int64_t count, const Soon<S, Count>& soon) {
        const std::uint64_t end = first + static_cast<std::uint64_t>(count);
        std::uint64_t number = first / 4 * 4;
        const S* begin = numbers_ + (first - number);
        for (S* to = numbers_; number < end; number += PathNormals<S>::group, to += PathNormals<S>::group) {
            Native<S> z[4];
            soon.ask(to - numbers_);
            path.draw(number, z);
            for (int j = 0; j < 4; ++j) store(to + j * lanes<S>, z[j]);
        }
        return begin;
    }

 private:
    alignas(64) S numbers_[row_tile + 8 * lanes<S>];
};

// The lanes of a register, added in pairs.
template <class V>
inline ScalarOf<V> add_lanes(V value) {
    if constexpr (Lane<V>::count == 1) {
        return value;
    } else {
        ScalarOf<V> parts[Lane<V>::count];
        store(parts, value);
        for (int width = Lane<V>::count / 2; width > 0; width /= 2)
            for (int l = 0; l < width; ++l) parts[l] += parts[l + width];
        return parts[0];
    }
}

TK_END_NAMESPACE
