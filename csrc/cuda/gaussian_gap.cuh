// Differences of the scores of two Gaussians: one thread a point, whose numbers stand in shared memory, one row an
// axis.
#pragma once

#include "../core/gaussian_gap.hpp"
#include "normals.cuh"

namespace tk::cuda {

constexpr int gap_rows = 4;  // of a product, summed together
constexpr std::int64_t gap_shared = 48 << 10;

// Threads of a block: as many warps, up to four, as have room for three rows of numbers an axis.
template <class S>
int gap_threads(std::int64_t dim) {
    int threads = 128;
    while (threads > 32 && 3 * dim * threads * static_cast<std::int64_t>(sizeof(S)) > gap_shared) threads /= 2;
    return threads;
}

// out = M in, for matrices whose entry (r, c) stands at r row_stride + c column_stride.
template <class S>
__device__ __forceinline__ void multiply_point(const S* matrix, int row_stride, int column_stride, int dim, const S* in,
                                               S* out, int stride) {
    for (int row = 0; row < dim; row += gap_rows) {
        S sums[gap_rows] = {};
        for (int column = 0; column < dim; ++column) {
            const S value = in[column * stride];
            TK_UNROLL
            for (int r = 0; r < gap_rows; ++r)
                if (row + r < dim) sums[r] = sums[r] + matrix[(row + r) * row_stride + column * column_stride] * value;
        }
        TK_UNROLL
        for (int r = 0; r < gap_rows; ++r)
            if (row + r < dim) out[(row + r) * stride] = sums[r];
    }
}

template <class S>
__global__ void __launch_bounds__(128) gaussian_gap_kernel(const __grid_constant__ GaussianGapArguments<S> a) {
    TK_DYN_SHARED(S, numbers);
    const int stride = static_cast<int>(blockDim.x), dim = static_cast<int>(a.dim);
    const std::int64_t point = static_cast<std::int64_t>(blockIdx.x) * stride + threadIdx.x;
    if (point >= a.n) return;
    S* const noise = numbers + threadIdx.x;
    S* const before = noise + dim * stride;
    S* const after = before + dim * stride;
    const std::int64_t which = a.levels == 0 ? 0 : point;
    const GapLevel<S> level(a.mean_scale[which], a.root[which]);
    const PathIndex<S> path = path_index<S>(a.path_offset + static_cast<std::uint64_t>(point));
    for (int i = 0; i < dim; i += 4) {
        S drawn[4];
        if (a.noise == nullptr) normal_block<S>(a.seed, Purpose::noise, path, static_cast<std::uint32_t>(i / 4), drawn);
        TK_UNROLL
        for (int j = 0; j < 4; ++j) {
            if (i + j >= dim) continue;
            const std::int64_t place = (i + j) * a.n + point;
            const S z = a.noise == nullptr ? drawn[j] : a.noise[place];
            noise[(i + j) * stride] = z;
            before[(i + j) * stride] = level.noisy(a.from_second[place], z);
        }
    }
    multiply_point(a.rotation, dim, 1, dim, before, after, stride);
    for (int i = 0; i < dim; ++i) after[i * stride] = level.gain(a.second[i]) * after[i * stride];
    multiply_point(a.rotation, 1, dim, dim, after, before, stride);
    const S reference = level.gain(a.reference);
    GapSums<S> sums;
    for (int i = 0; i < dim; ++i) {
        const S z = noise[i * stride], apart = level.noisy(a.from_second[i * a.n + point], z);
        add_axis(level, a.from_first[i * a.n + point], apart, a.centre[i], z, level.gain(a.first[i]), reference,
                 before[i * stride], sums);
    }
    a.out[point] = sums.gap();
    a.out[a.n + point] = sums.loss();
    a.out[2 * a.n + point] = sums.difference();
}

}  // namespace tk::cuda
