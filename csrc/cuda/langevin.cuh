// Linear Langevin paths: one thread a path.
#pragma once

#include "../core/langevin.hpp"
#include "trajectory.cuh"

namespace tk::cuda {

template <class S, int D>
__global__ void __launch_bounds__(mixture_threads, blocks_at_once<D>)
    langevin_kernel(const __grid_constant__ LinearLangevin<S> system, const __grid_constant__ PathArrays<S> paths) {
    const std::int64_t path = static_cast<std::int64_t>(blockIdx.x) * mixture_threads + threadIdx.x;
    if (path >= paths.n) return;
    const int dim = Dim<D>::value(paths.dim);
    S x[Dim<D>::bound];
    for (int i = 0; i < dim; ++i) x[i] = paths.x[path * dim + i];
    const PathIndex<S> index = path_index<S>(paths.offset + static_cast<std::uint64_t>(path));
    paths.value[path] = run_langevin<Dim<D>::bound>(system, dim, index, x);
    for (int i = 0; i < dim; ++i) paths.x_last[path * dim + i] = x[i];
}

}  // namespace tk::cuda
