// Mixtures: one thread a point, and their rows at every node made on the device.
#pragma once

#include "../core/mixture.hpp"
#include "device.cuh"

namespace tk::cuda {

constexpr int mixture_threads = 128;

// A dimension known to the compiler, or 0 for one that is not.
template <int D>
struct Dim {
    static constexpr int bound = D > 0 ? D : max_dim;
    static TK_HD int value(int dim) { return D > 0 ? D : dim; }
};

// Blocks that a multiprocessor should hold at once, so that registers are not spilled to save a few; 0: as ptxas likes.
template <int D>
constexpr int blocks_at_once = D > 0 ? 0 : 4;

// Small dimensions have kernels of their own, which keep a point in registers; one dimension not `WithOne`, where every
// mixture is isotropic.
template <bool WithOne, class Body>
void with_dim(std::int64_t dim, const Body& body) {
    if constexpr (WithOne) {
        if (dim == 1) return body(Dim<1>{});
    }
    if (dim == 2) return body(Dim<2>{});
    if (dim == 3) return body(Dim<3>{});
    if (dim == 4) return body(Dim<4>{});
    body(Dim<0>{});
}

// Mixtures on the device; `other_weights` are those of a second mixture that shares its components, or null.
struct DeviceMixture {
    MixtureParameters parameters;
    const double *other_weights, *mean_scale, *variance;
    bool isotropic;
};

// One thread a row.
template <class S>
__global__ void __launch_bounds__(mixture_threads, blocks_at_once<0>)
    mixture_rows_kernel(const __grid_constant__ DeviceMixture mixture, std::int64_t n_rows, S* rows) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * mixture_threads + threadIdx.x;
    if (row >= n_rows) return;
    const std::int64_t node = row / mixture.parameters.components;
    const int component = static_cast<int>(row % mixture.parameters.components);
    const int size = mixture_row_size(mixture.parameters.dim, mixture.isotropic, mixture.other_weights != nullptr);
    fill_mixture_row(mixture.parameters, component, mixture.mean_scale[node], mixture.variance[node], mixture.isotropic,
                     mixture.other_weights, rows + row * size);
}

template <class S, bool Isotropic, int D>
__global__ void __launch_bounds__(mixture_threads, blocks_at_once<D>)
    mixture_score_kernel(const S* rows, int components, const __grid_constant__ ScoreOutputs<S> out) {
    const std::int64_t point = static_cast<std::int64_t>(blockIdx.x) * mixture_threads + threadIdx.x;
    if (point >= out.n) return;
    constexpr int bound = Dim<D>::bound;
    const int dim = Dim<D>::value(static_cast<int>(out.dim));
    S x[bound], score[bound], divergence;
    for (int i = 0; i < dim; ++i) x[i] = out.x[point * dim + i];
    const S log_density = mixture_score<Isotropic, bound>(rows, components, dim, x, score, divergence);
    for (int i = 0; i < dim; ++i) out.score[point * dim + i] = score[i];
    out.divergence[point] = divergence;
    out.log_density[point] = log_density;
}

}  // namespace tk::cuda
