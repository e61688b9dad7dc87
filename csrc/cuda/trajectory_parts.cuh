// Where Δs arises: a block takes a stretch of paths, tile after tile, as it does for averages.
//
// At a node the forms of a tile's paths meet in shared memory, where sixteen threads add each up in float64. What each
// path adds in a stretch of time is kept, for its product with the path's total needs that; a second kernel adds it up
// over paths. Stretches of paths, whose size depends on their number alone, are added in their order. So the bits do
// not depend on the device.
#pragma once

#include "../core/trajectory_parts.hpp"
#include "network.cuh"
#include "statistics.cuh"
#include "trajectory.cuh"

namespace tk::cuda {

constexpr int splitting_lanes = 16;  // threads that add up one form: half a warp
constexpr int splitting_threads = split_forms * splitting_lanes;
static_assert(splitting_threads % 32 == 0 && splitting_threads <= 128, "whole warps add");

template <class S>
struct SplitStretches {
    const PartNode<S>* parts;  // (nodes,)
    double* nodes;             // (stretches of paths, nodes, split_forms, 2)
    S* cells;                  // (stretches of time, columns, split_forms, n)
    S* totals;                 // (split_forms, n)
    std::int64_t size;         // of a stretch of paths
    std::int64_t time_stretches;
    int columns, tile_paths;
    int values;  // where the forms of a tile begin in shared memory
};

template <class S, int MaxDim>
struct BlockSplitter {
    const TrajectorySettings<S>& settings;
    const SplitStretches<S>& stretches;
    double* nodes;  // (nodes, split_forms, 2), of the block's stretch of paths
    S* values;      // (split_forms, paths), shared
    S* cells;       // of the path, `n` apart
    std::int64_t n, stretch;
    int present;
    bool owned, fresh;  // fresh: the first tile of its stretch of paths
    S* totals;          // of the path, `n` apart
    S cell[MaxDim][split_forms];

    TK_HD void look(std::int64_t k, int dim, const Visit<S>& visit) {
#if TK_ON_DEVICE
        const PartNode<S>& part = stretches.parts[k];
        if (static_cast<std::int64_t>(part.stretch) != stretch) {
            keep();
            stretch = static_cast<std::int64_t>(part.stretch);
        }
        const Node<S>& node = settings.nodes[k];
        const bool by_component = stretches.columns > 1;
        S here[split_forms] = {};
        here[0] = node.energy * settings.divergence_weight * (visit.model_divergence - visit.reference_divergence);
        TK_UNROLL_COMPONENTS
        for (int i = 0; i < MaxDim; ++i) {
            if (i >= dim) continue;
            S forms[split_forms];
            split_component(node, part, settings.sampler, visit.model[i], visit.reference[i], visit.carried[i],
                            visit.noise[i], visit.previous[i], forms);
            TK_UNROLL
            for (int f = 0; f < split_forms; ++f) {
                here[f] = here[f] + forms[f];
                if (by_component) cell[i][f] = cell[i][f] + forms[f];
            }
        }
        const int thread = static_cast<int>(threadIdx.x);
        TK_UNROLL
        for (int f = 0; f < split_forms; ++f) {
            if (!by_component) cell[0][f] = cell[0][f] + here[f];
            if (owned) values[f * stretches.tile_paths + thread] = here[f];
        }
        __syncthreads();
        if (thread < splitting_threads) add_tile(nodes + k * split_forms * 2);
        __syncthreads();
#endif
    }

#if TK_ON_DEVICE
    // What the path has added in its stretch of time.
    __device__ __forceinline__ void keep() {
        TK_UNROLL_COMPONENTS
        for (int i = 0; i < MaxDim; ++i) {
            if (i >= stretches.columns) continue;
            TK_UNROLL
            for (int f = 0; f < split_forms; ++f) {
                S& kept = cells[((stretch * stretches.columns + i) * split_forms + f) * n];
                if (owned) {
                    kept = kept + cell[i][f];
                    totals[f * n] = totals[f * n] + cell[i][f];
                }
                cell[i][f] = S(0);
            }
        }
    }

 private:
    __device__ __forceinline__ void add_tile(double* sums) const {
        const int form = static_cast<int>(threadIdx.x) / splitting_lanes;
        const int lane = static_cast<int>(threadIdx.x) % splitting_lanes;
        const S* row = values + form * stretches.tile_paths;
        double first = 0, second = 0;
        for (int path = lane; path < present; path += splitting_lanes) {
            const double x = static_cast<double>(row[path]);
            first += x;
            second += x * x;
        }
        for (int by = splitting_lanes / 2; by > 0; by /= 2) {
            first += __shfl_down_sync(0xffffffffu, first, static_cast<unsigned>(by), splitting_lanes);
            second += __shfl_down_sync(0xffffffffu, second, static_cast<unsigned>(by), splitting_lanes);
        }
        if (lane != 0) return;
        sums[2 * form] = fresh ? first : sums[2 * form] + first;
        sums[2 * form + 1] = fresh ? second : sums[2 * form + 1] + second;
    }
#endif
};

template <class S, class Scores, int D, int Threads>
__global__ void __launch_bounds__(Threads, Threads == network_threads ? network_blocks<S> : blocks_at_once<D>)
    parts_kernel(const __grid_constant__ TrajectorySettings<S> settings, const __grid_constant__ Scores scores,
                 const __grid_constant__ PathArrays<S> paths, const __grid_constant__ SplitStretches<S> stretches) {
    TK_DYN_SHARED(S, shared);
    const int dim = Dim<D>::value(paths.dim), thread = static_cast<int>(threadIdx.x);
    const std::int64_t begin = blockIdx.x * stretches.size;
    const std::int64_t end = begin + stretches.size < paths.n ? begin + stretches.size : paths.n;
    double* const nodes = stretches.nodes + blockIdx.x * settings.n_nodes * split_forms * 2;
    for (std::int64_t first = begin; first < end; first += stretches.tile_paths) {
        const std::int64_t left = end - first;
        const int present = static_cast<int>(left < stretches.tile_paths ? left : stretches.tile_paths);
        const bool owned = thread < present;
        const std::int64_t path = owned ? first + thread : first;  // threads without one follow the tile's first
        BlockSplitter<S, Dim<D>::bound> splitter{settings,
                                                 stretches,
                                                 nodes,
                                                 shared + stretches.values,
                                                 stretches.cells + path,
                                                 paths.n,
                                                 0,
                                                 present,
                                                 owned,
                                                 first == begin,
                                                 stretches.totals + path,
                                                 {}};
        if (owned) {
            for (std::int64_t i = 0; i < stretches.time_stretches * stretches.columns * split_forms; ++i)
                splitter.cells[i * paths.n] = S(0);
            for (int f = 0; f < split_forms; ++f) splitter.totals[f * paths.n] = S(0);
        }
        S x[Dim<D>::bound];
        for (int i = 0; i < dim; ++i) x[i] = paths.x[path * dim + i];
        const PathIndex<S> index = path_index<S>(paths.offset + static_cast<std::uint64_t>(path));
        const PathSums<S> sums = run_path(settings, scores, splitter, dim, index, static_cast<S*>(nullptr), x);
#if TK_ON_DEVICE
        splitter.keep();
#endif
        if (owned) keep_path(paths, path, dim, sums, x);
    }
}

struct PairSums {
    double first = 0, second = 0;
};
TK_HD PairSums merge(const PairSums& a, const PairSums& b) { return {a.first + b.first, a.second + b.second}; }

// One block an output: first Σ A and Σ A total of each cell, then Σ A² of each column.
template <class S>
__global__ void __launch_bounds__(statistics_threads)
    sum_cells_kernel(const __grid_constant__ SplitStretches<S> from, std::int64_t n, double* cells, double* squares) {
    TK_DYN_SHARED(PairSums, partial);
    const std::int64_t columns = from.columns, each = from.time_stretches * columns, block = blockIdx.x;
    PairSums own;
    if (block < each * split_forms) {
        const std::int64_t form = block / each, row = (block % each * split_forms + form) * n;
        for (std::int64_t path = threadIdx.x; path < n; path += statistics_threads) {
            const double value = static_cast<double>(from.cells[row + path]);
            own.first += value;
            own.second += value * static_cast<double>(from.totals[form * n + path]);
        }
    } else {
        const std::int64_t form = (block - each * split_forms) / columns, column = block % columns;
        for (std::int64_t path = threadIdx.x; path < n; path += statistics_threads) {
            S along{};
            for (std::int64_t stretch = 0; stretch < from.time_stretches; ++stretch)
                along = along + from.cells[((stretch * columns + column) * split_forms + form) * n + path];
            own.first += static_cast<double>(along) * static_cast<double>(along);
        }
    }
    merge_block(partial, own);
    if (threadIdx.x != 0) return;
    if (block < each * split_forms) {
        cells[2 * block] = own.first;
        cells[2 * block + 1] = own.second;
    } else {
        squares[block - each * split_forms] = own.first;
    }
}

// One thread a number: its sum over `count` stretches of paths.
static __global__ void __launch_bounds__(statistics_threads)
    sum_stretches_kernel(const double* parts, std::int64_t count, std::int64_t numbers, double* out) {
    const std::int64_t number = static_cast<std::int64_t>(blockIdx.x) * statistics_threads + threadIdx.x;
    if (number >= numbers) return;
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) sum += parts[i * numbers + number];
    out[number] = sum;
}

}  // namespace tk::cuda
