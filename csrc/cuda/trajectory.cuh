// Whole trajectories: one thread a path, in registers from its first node to its last; with networks, a tile of paths a
// block.
#pragma once

#include "network.cuh"
#include "normals.cuh"

namespace tk::cuda {

template <class S>
struct PathArrays {
    std::int64_t n;
    int dim;
    std::uint64_t offset;
    const S* x;   // (n, dim)
    S* value;     // (n,)
    S* mismatch;  // (n,)
    S* x_last;    // (n, dim)
    S* coarse;    // (n, 2) or null
};

template <class S>
__device__ __forceinline__ void keep_path(const PathArrays<S>& paths, std::int64_t path, int dim,
                                          const PathSums<S>& sums, const S* x) {
    paths.value[path] = sums.value;
    paths.mismatch[path] = sums.mismatch;
    for (int i = 0; i < dim; ++i) paths.x_last[path * dim + i] = x[i];
    if (paths.coarse == nullptr) return;
    paths.coarse[2 * path] = sums.two;
    paths.coarse[2 * path + 1] = sums.four;
}

template <int D, class S, class Scores>
__device__ __forceinline__ void take_path(const TrajectorySettings<S>& settings, const Scores& scores,
                                          const PathArrays<S>& paths, std::int64_t path, bool owned) {
    const int dim = Dim<D>::value(paths.dim);
    S x[Dim<D>::bound];
    for (int i = 0; i < dim; ++i) x[i] = paths.x[path * dim + i];
    const PathIndex<S> index = path_index<S>(paths.offset + static_cast<std::uint64_t>(path));
    const PathSums<S> sums = run_path(settings, scores, NoObserver{}, dim, index, static_cast<S*>(nullptr), x);
    if (owned) keep_path(paths, path, dim, sums, x);
}

template <class S, class Scores, int D>
__global__ void __launch_bounds__(mixture_threads, blocks_at_once<D>)
    mixture_trajectory_kernel(const __grid_constant__ TrajectorySettings<S> settings,
                              const __grid_constant__ Scores scores, const __grid_constant__ PathArrays<S> paths) {
    const std::int64_t path = static_cast<std::int64_t>(blockIdx.x) * mixture_threads + threadIdx.x;
    if (path < paths.n) take_path<D>(settings, scores, paths, path, true);
}

template <class S, class Scores, int D>
__global__ void __launch_bounds__(network_threads, network_blocks<S>)
    network_trajectory_kernel(const __grid_constant__ TrajectorySettings<S> settings,
                              const __grid_constant__ Scores scores, const __grid_constant__ PathArrays<S> paths,
                              int tile_paths) {
    const TilePath path = tile_path(tile_paths, paths.n);
    take_path<D>(settings, scores, paths, path.index, path.owned);
}

}  // namespace tk::cuda
