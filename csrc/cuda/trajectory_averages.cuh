// Averages over paths at every node, and integrals along each: a block takes a stretch of paths, tile after tile.
//
// At a node the observables of a tile's paths meet in shared memory, where sixteen threads add each up in float64. A
// stretch's sums are relative to its first value; stretches, whose size depends on the number of paths alone, are
// merged by a fixed tree. So the bits do not depend on the device.
#pragma once

#include "../core/trajectory_averages.hpp"
#include "network.cuh"
#include "statistics.cuh"
#include "trajectory.cuh"

namespace tk::cuda {

constexpr int adding_lanes = 16;  // threads that add up one observable: half a warp
constexpr int adding_threads = 128;
static_assert(observables * adding_lanes <= adding_threads && adding_threads % 32 == 0, "whole warps add");

// Σ (x − shift) and Σ (x − shift)² over the paths of a stretch.
struct StretchSums {
    double shift, first, second;
};

template <class S>
struct Stretches {
    const RateNode<S>* rates;  // (nodes,)
    StretchSums* sums;         // (stretches, nodes, observables)
    S* integrals;              // (n, observables)
    std::int64_t size;         // of a stretch, in paths
    int tile_paths;
    int values;  // where the observables of a tile begin in shared memory
};

template <class S>
struct BlockAverager {
    const RateNode<S>* rates;
    StretchSums* sums;  // (nodes, observables), of the block's stretch
    S* values;          // (observables, paths), shared
    int paths, present;
    bool owned, fresh;  // fresh: the first tile of its stretch
    S integrals[observables];

    TK_HD void look(std::int64_t k, int dim, const Visit<S>& visit) {
#if TK_ON_DEVICE
        const int thread = static_cast<int>(threadIdx.x);
        S seen[observables];
        observe(rates[k], dim, visit.x, visit.model, visit.model_divergence, visit.reference, seen);
        TK_UNROLL
        for (int i = 0; i < observables; ++i) {
            integrals[i] = integrals[i] + integral_weight(rates[k], i) * seen[i];
            if (owned) values[i * paths + thread] = seen[i];
        }
        __syncthreads();
        if (thread < adding_threads) add_tile(sums + k * observables);
        __syncthreads();
#endif
    }

 private:
#if TK_ON_DEVICE
    __device__ __forceinline__ void add_tile(StretchSums* cells) const {
        const int observable = static_cast<int>(threadIdx.x) / adding_lanes;
        const int lane = static_cast<int>(threadIdx.x) % adding_lanes;
        const bool busy = observable < observables;
        double shift = 0, first = 0, second = 0;
        if (busy) {
            const S* row = values + observable * paths;
            shift = fresh ? static_cast<double>(row[0]) : cells[observable].shift;
            for (int path = lane; path < present; path += adding_lanes) {
                const double x = static_cast<double>(row[path]) - shift;
                first += x;
                second += x * x;
            }
        }
        for (int by = adding_lanes / 2; by > 0; by /= 2) {
            first += __shfl_down_sync(0xffffffffu, first, static_cast<unsigned>(by), adding_lanes);
            second += __shfl_down_sync(0xffffffffu, second, static_cast<unsigned>(by), adding_lanes);
        }
        if (!busy || lane != 0) return;
        StretchSums& cell = cells[observable];
        cell = fresh ? StretchSums{shift, first, second} : StretchSums{shift, cell.first + first, cell.second + second};
    }
#endif
};

// Blocks that a multiprocessor should hold at once: with four of float64 in many dimensions registers spill.
template <class S, int D, int Threads>
constexpr int averages_blocks = Threads == network_threads ? network_blocks<S>
                                : D == 0 && sizeof(S) == 8 ? 3
                                                           : blocks_at_once<D>;

template <class S, class Scores, int D, int Threads>
__global__ void __launch_bounds__(Threads, averages_blocks<S, D, Threads>)
    averages_kernel(const __grid_constant__ TrajectorySettings<S> settings, const __grid_constant__ Scores scores,
                    const __grid_constant__ PathArrays<S> paths, const __grid_constant__ Stretches<S> stretches) {
    TK_DYN_SHARED(S, shared);
    const int dim = Dim<D>::value(paths.dim), thread = static_cast<int>(threadIdx.x);
    const std::int64_t begin = blockIdx.x * stretches.size;
    const std::int64_t end = begin + stretches.size < paths.n ? begin + stretches.size : paths.n;
    StretchSums* const sums = stretches.sums + blockIdx.x * settings.n_nodes * observables;
    for (std::int64_t first = begin; first < end; first += stretches.tile_paths) {
        const std::int64_t left = end - first;
        const int present = static_cast<int>(left < stretches.tile_paths ? left : stretches.tile_paths);
        const bool owned = thread < present;
        const std::int64_t path = owned ? first + thread : first;  // threads without one follow the tile's first
        BlockAverager<S> averager{
            stretches.rates, sums, shared + stretches.values, stretches.tile_paths, present, owned, first == begin, {}};
        S x[Dim<D>::bound];
        for (int i = 0; i < dim; ++i) x[i] = paths.x[path * dim + i];
        const PathIndex<S> index = path_index<S>(paths.offset + static_cast<std::uint64_t>(path));
        run_path(settings, scores, averager, dim, index, static_cast<S*>(nullptr), x);
        if (!owned) continue;
        for (int i = 0; i < observables; ++i) stretches.integrals[path * observables + i] = averager.integrals[i];
        for (int i = 0; i < dim; ++i) paths.x_last[path * dim + i] = x[i];
    }
}

// One block a cell: its sums over all stretches to a mean and Σ (x − mean)².
static __global__ void __launch_bounds__(statistics_threads)
    merge_stretches_kernel(const StretchSums* sums, std::int64_t n, std::int64_t size, std::int64_t count, double* mean,
                           double* m2) {
    TK_DYN_SHARED(Moments, partial);
    const std::int64_t each = (count + statistics_threads - 1) / statistics_threads, cells = gridDim.x;
    Moments own;
    for (std::int64_t i = 0, part = threadIdx.x * each; i < each && part < count; ++i, ++part) {
        const std::int64_t left = n - part * size;
        const StretchSums& of_part = sums[part * cells + blockIdx.x];
        own = merge(own, from_shifted_sums(static_cast<double>(left < size ? left : size), of_part.shift, of_part.first,
                                           of_part.second));
    }
    merge_block(partial, own);
    if (threadIdx.x != 0) return;
    mean[blockIdx.x] = own.mean;
    m2[blockIdx.x] = own.m2;
}

}  // namespace tk::cuda
