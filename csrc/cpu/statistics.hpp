// Moments and exponential sums by threads: the tree of core/statistics.hpp, its subtrees dealt to threads.
#pragma once

#include "../core/statistics.hpp"
#include "denormals.hpp"

TK_BEGIN_NAMESPACE

constexpr int dealt_depth = 6;                 // 64 subtrees
constexpr std::int64_t least_dealt = 1 << 16;  // values: fewer take less time than threads may take to wake

// reduce() with the same bits, whatever the number of threads.
template <class Statistic, class T>
Statistic reduce_dealt(const T* values, std::int64_t n, double scale, int threads) {
    constexpr int subtrees = 1 << dealt_depth;
    if (threads == 1 || n < least_dealt) {
        const DenormalScope kept(Denormals::kept);
        return reduce<Statistic>(values, n, scale);
    }
    Statistic parts[subtrees];
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int subtree = 0; subtree < subtrees; ++subtree) {
        const DenormalScope kept(Denormals::kept);
        std::int64_t begin, count;
        subtree_range(n, dealt_depth, subtree, begin, count);
        parts[subtree] = reduce<Statistic>(values + begin, count, scale);
    }
    const DenormalScope kept(Denormals::kept);
    for (int step = 1; step < subtrees; step *= 2)
        for (int at = 0; at < subtrees; at += 2 * step) parts[at] = merge(parts[at], parts[at + step]);
    return parts[0];
}

TK_END_NAMESPACE
