// Moments and exponential sums by the CPU's own tree of halvings, so that the bits do not depend on the grid, and
// without floating-point atomics: each thread a subtree of at most four values, each block the tree over its threads,
// and again over blocks until one value is left.
#pragma once

#include "../core/statistics.hpp"
#include "device.cuh"

namespace tk::cuda {

constexpr int statistics_threads = 256, statistics_leaf_depth = 2;

// The tree over one value of each thread. The result is the first thread's.
template <class Statistic>
__device__ void merge_block(Statistic* partial, Statistic& own) {
    const int thread = static_cast<int>(threadIdx.x);
    partial[thread] = own;
    for (int step = 1; step < statistics_threads; step *= 2) {
        __syncthreads();
        if (thread % (2 * step) == 0) partial[thread] = merge(partial[thread], partial[thread + step]);
    }
    own = partial[thread];
}

// Subtrees of the tree that `depth` halvings make, one a thread, to one value a block.
template <class Statistic, class T>
__global__ void __launch_bounds__(statistics_threads)
    reduce_kernel(const T* values, std::int64_t n, double scale, int depth, Statistic* out) {
    TK_DYN_SHARED(Statistic, partial);
    const std::int64_t subtree = static_cast<std::int64_t>(blockIdx.x) * statistics_threads + threadIdx.x;
    Statistic own;
    if (subtree < std::int64_t(1) << depth) {
        std::int64_t begin, count;
        subtree_range(n, depth, subtree, begin, count);
        own = reduce_few<Statistic, statistics_leaf_depth>(values + begin, count, scale);
    }
    merge_block(partial, own);
    if (threadIdx.x == 0) out[blockIdx.x] = own;
}

// Values of blocks to fewer of them.
template <class Statistic>
__global__ void __launch_bounds__(statistics_threads)
    merge_kernel(const Statistic* in, std::int64_t count, Statistic* out) {
    TK_DYN_SHARED(Statistic, partial);
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * statistics_threads + threadIdx.x;
    Statistic own;
    if (at < count) own = in[at];
    merge_block(partial, own);
    if (threadIdx.x == 0) out[blockIdx.x] = own;
}

}  // namespace tk::cuda
