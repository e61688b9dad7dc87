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

// A path's normals, in order, from memory of its own.
template <class S>
class RowNormals {
 public:
    // Numbers first … first + count of a path, count ≤ row_tile; valid until the next call. Drawing is arithmetic alone
    // and leaves memory idle, so it fetches as many numbers of rows that come next.
    template <int Count>
    const S* draw(std::uint64_t seed, Purpose purpose, std::uint64_t path, std::uint64_t first, std::int64_t count,
                  const Soon<S, Count>& soon) {
        using V = Native<S>;
        const PathIndex<V> index{splat_word<V>(static_cast<std::uint32_t>(path)),
                                 splat_word<V>(static_cast<std::uint32_t>(path >> 32))};
        WordOf<V> lane;
        for (int l = 0; l < lanes<S>; ++l) lane[l] = static_cast<std::uint32_t>(l);
        const std::uint64_t end = first + static_cast<std::uint64_t>(count);
        std::uint64_t number = first / 4 * 4;
        const S* begin = numbers_ + (first - number);
        for (S* to = numbers_; number < end; number += 4 * lanes<S>, to += 4 * lanes<S>) {
            V z[4];
            soon.ask(to - numbers_);
            normal_blocks<V>(seed, purpose, index, WordOf<V>(static_cast<std::uint32_t>(number / 4) + lane), z);
            const V even_low = Zip<lanes<S>>::low(z[0], z[2]), even_high = Zip<lanes<S>>::high(z[0], z[2]);
            const V odd_low = Zip<lanes<S>>::low(z[1], z[3]), odd_high = Zip<lanes<S>>::high(z[1], z[3]);
            store(to, Zip<lanes<S>>::low(even_low, odd_low));
            store(to + lanes<S>, Zip<lanes<S>>::high(even_low, odd_low));
            store(to + 2 * lanes<S>, Zip<lanes<S>>::low(even_high, odd_high));
            store(to + 3 * lanes<S>, Zip<lanes<S>>::high(even_high, odd_high));
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
