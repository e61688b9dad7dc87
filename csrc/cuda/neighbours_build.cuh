// The tree over a set of points, level by level: boxes of the leaves as the points stand, boxes of the level's nodes
// from them, and for every point the node and its coordinate along the longest side of the node's box, by which a sort
// puts the points in their places for the next level. Leaves are those of core/neighbours.hpp; which points they hold
// is not what the CPU's hold where coordinates tie or agree in 24 bits, and no result depends on it.
#pragma once

#include "../core/arguments.hpp"
#include "../core/neighbours.hpp"
#include "neighbours_walk.cuh"

namespace tk::cuda {

constexpr int build_threads = 256, box_threads = 64;

// The first item of a thread that strides over the grid, and how far.
__device__ inline std::int64_t first_item() {
    return static_cast<std::int64_t>(blockIdx.x) * build_threads + threadIdx.x;
}
__device__ inline std::int64_t item_stride() { return static_cast<std::int64_t>(gridDim.x) * build_threads; }

template <class S>
TK_HD S coordinate(const NeighboursBuildArguments<S>& a, std::int64_t point, std::int64_t axis) {
    return a.x[point * a.dim + axis] * a.scale;
}

static __global__ void __launch_bounds__(build_threads) number_kernel(std::int64_t n, std::int32_t* order) {
    for (std::int64_t i = first_item(); i < n; i += item_stride()) order[i] = static_cast<std::int32_t>(i);
}

// Points to leaves, each place by one thread.
template <class S>
__global__ void __launch_bounds__(build_threads)
    arrange_kernel(const __grid_constant__ NeighboursBuildArguments<S> a, std::int64_t places) {
    for (std::int64_t i = first_item(); i < places; i += item_stride()) {
        const std::int64_t column = i % a.leaf, axis = i / a.leaf % a.dim, place = i / a.leaf / a.dim * a.leaf + column;
        a.points[i] = place < a.n ? coordinate(a, a.order[place], axis) : infinite<S>;
    }
}

// The box of every leaf to (leaves, 2, dim), each axis by one thread.
template <class S>
__global__ void __launch_bounds__(build_threads)
    leaf_box_kernel(const __grid_constant__ NeighboursBuildArguments<S> a, const std::int32_t* order, S* boxes) {
    const std::int64_t items = leaf_count(a.n, a.leaf) * a.dim;
    for (std::int64_t item = first_item(); item < items; item += item_stride()) {
        const std::int64_t axis = item % a.dim, leaf = item / a.dim;
        const std::int64_t end = minimum((leaf + 1) * a.leaf, a.n);
        S low = infinite<S>, high = -low;
        for (std::int64_t place = leaf * a.leaf; place < end; ++place) {
            const S x = coordinate(a, order[place], axis);
            low = minimum(low, x);
            high = maximum(high, x);
        }
        boxes[leaf * 2 * a.dim + axis] = low;
        boxes[(leaf * 2 + 1) * a.dim + axis] = high;
    }
}

// The boxes of a level's nodes from those of their leaves, each axis of each by one block.
template <class S>
__global__ void __launch_bounds__(box_threads)
    node_box_kernel(const __grid_constant__ NeighboursBuildArguments<S> a, int level, const S* boxes) {
    TK_SHARED(S[2][box_threads], ends);
    const TreeNode node = node_of_level(leaf_count(a.n, a.leaf), level, blockIdx.x / a.dim);
    if (node.last == 0) return;
    const std::int64_t axis = blockIdx.x % a.dim;
    const int thread = static_cast<int>(threadIdx.x);
    S low = infinite<S>, high = -low;
    for (std::int64_t leaf = node.first + thread; leaf < node.last; leaf += box_threads) {
        low = minimum(low, boxes[leaf * 2 * a.dim + axis]);
        high = maximum(high, boxes[(leaf * 2 + 1) * a.dim + axis]);
    }
    ends[0][thread] = low;
    ends[1][thread] = high;
    for (int half = box_threads / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread >= half) continue;
        ends[0][thread] = minimum(ends[0][thread], ends[0][thread + half]);
        ends[1][thread] = maximum(ends[1][thread], ends[1][thread + half]);
    }
    if (thread == 0) {
        a.bounds[node.index * 2 * a.dim + axis] = ends[0][0];
        a.bounds[(node.index * 2 + 1) * a.dim + axis] = ends[1][0];
    }
}

// A number's bits as an integer that is ordered as the number is.
TK_HD std::uint32_t ordered_bits(float x) {
    const std::uint32_t bits = bit_cast<std::uint32_t>(x);
    return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

// For every place, its node's first leaf, and behind it the point's coordinate along the longest side of the node's
// box, rounded to float32: a split needs no more.
template <class S>
__global__ void __launch_bounds__(build_threads) key_kernel(const __grid_constant__ NeighboursBuildArguments<S> a,
                                                            int level, const std::int32_t* order, std::uint64_t* keys) {
    const std::int64_t leaves = leaf_count(a.n, a.leaf);
    for (std::int64_t place = first_item(); place < a.n; place += item_stride()) {
        const TreeNode node = node_above(leaves, level, place / a.leaf);
        const std::int64_t axis = longest_side(a.bounds + node.index * 2 * a.dim, a.dim);
        const std::uint32_t behind =
            is_leaf(node) ? 0 : ordered_bits(static_cast<float>(coordinate(a, order[place], axis)));
        keys[place] = static_cast<std::uint64_t>(node.first) << 32 | behind;
    }
}

}  // namespace tk::cuda
