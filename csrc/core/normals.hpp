// Counter-based random numbers: Philox4x32-10 and the normals made from it.
//
// Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11.
#pragma once

#include "arguments.hpp"
#include "lanes.hpp"
#include "math.hpp"

TK_BEGIN_NAMESPACE

template <class Word>
struct Block {
    Word a, b, c, d;
};

// One round on words that may stand in the low halves of wider lanes, whose high halves may then hold anything: the
// high word of each product moves down, the low word stays where it is.
template <class Word, class Key>
TK_HD Block<Word> philox_round(const Block<Word>& counter, Key key_0, Key key_1) {
    const auto product_0 = low_product(counter.a, 0xD2511F53u), product_1 = low_product(counter.c, 0xCD9E8D57u);
    return {static_cast<Word>(product_1 >> 32) ^ counter.b ^ key_0, static_cast<Word>(product_1),
            static_cast<Word>(product_0 >> 32) ^ counter.d ^ key_1, static_cast<Word>(product_0)};
}

// Ten rounds of Philox4x32 on a block of counters. Registers go through the rounds as their even and their odd lanes,
// which meet again at the end: lanes of 64 bits hold products as they are made.
template <class Word>
TK_HD Block<Word> philox(Block<Word> counter, std::uint64_t seed) {
    std::uint32_t key_0 = static_cast<std::uint32_t>(seed);
    std::uint32_t key_1 = static_cast<std::uint32_t>(seed >> 32);
    using Parts = WordParts<Word>;
    Block<typename Parts::Type> part[Parts::count];
    TK_UNROLL
    for (int p = 0; p < Parts::count; ++p)
        part[p] = {Parts::take(counter.a, p), Parts::take(counter.b, p), Parts::take(counter.c, p),
                   Parts::take(counter.d, p)};
    TK_UNROLL
    for (int round = 0; round < 10; ++round) {
        TK_UNROLL
        for (int p = 0; p < Parts::count; ++p) part[p] = philox_round(part[p], key_0, key_1);
        key_0 += 0x9E3779B9u;
        key_1 += 0xBB67AE85u;
    }
    const auto &first = part[0], &last = part[Parts::count - 1];
    return {Parts::join(first.a, last.a), Parts::join(first.b, last.b), Parts::join(first.c, last.c),
            Parts::join(first.d, last.d)};
}

// Two independent standard normals from two words: r = √(−2 log u), u = (w + ½)/2^32, angle = 2π w'/2^32.
template <class V>
TK_HD void box_muller(WordOf<V> radius_word, WordOf<V> angle_word, V& first, V& second) {
    using S = ScalarOf<V>;
    const V uniform = to_float<V>(radius_word) * S(0x1p-32) + S(0x1p-33);
    const V radius = square_root(maximum(V(S(-2) * log(uniform)), splat<V>(0)));
    V sine, cosine;
    sincos_turn(angle_word, sine, cosine);
    first = radius * cosine;
    second = radius * sine;
}

// Paths, one per lane, by their global index.
template <class V>
struct PathIndex {
    WordOf<V> low, high;
};

// Normal numbers 4·block … 4·block + 3 of each path's stream; lanes may differ in path, in block or in both.
template <class V>
TK_HD void normal_blocks(std::uint64_t seed, Purpose purpose, PathIndex<V> path, WordOf<V> block, V* normals) {
    const Block<WordOf<V>> words =
        philox<WordOf<V>>({block, splat_word<V>(static_cast<std::uint32_t>(purpose)), path.low, path.high}, seed);
    box_muller<V>(words.a, words.b, normals[0], normals[1]);
    box_muller<V>(words.c, words.d, normals[2], normals[3]);
}

template <class V>
TK_HD void normal_block(std::uint64_t seed, Purpose purpose, PathIndex<V> path, std::uint32_t block, V* normals) {
    normal_blocks<V>(seed, purpose, path, splat_word<V>(block), normals);
}

TK_END_NAMESPACE
