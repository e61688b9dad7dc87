// Perceptrons: a block of threads takes a tile of paths through a network together.
//
// A layer's units stand in shared memory, one row a unit, with 1 + d columns for each path of the tile (its value and
// its derivatives). A hidden layer is a matrix product: the weights come through shared memory in slices of a few
// columns, every thread keeps 8 units × 4 columns of sums in registers, and the layer is overwritten once all threads
// have read it. Sums run over the units below in their order, as on the CPU.
#pragma once

#include "../core/trajectory.hpp"
#include "device.cuh"
#include "mixture.cuh"
#include "packs.cuh"

namespace tk::cuda {

constexpr int network_threads = 256;
// Blocks that a multiprocessor should hold at once: float64 takes twice the registers.
template <class S>
constexpr int network_blocks = sizeof(S) == 4 ? 2 : 1;
constexpr int tile_rows = 8, tile_columns = 4;  // of sums, each thread's
constexpr int slice_columns = 8;                // of the weights that are staged at once

// How a block's shared memory is laid out, in numbers of the kernel's precision; all starts are multiples of four.
struct NetworkTile {
    int paths;                                      // of the block
    int columns;                                    // of a path: 1 + d with the divergence, or 1
    int stride;                                     // from one unit to the next
    int stage_stride;                               // from one column of the staged weights to the next
    int row_groups;                                 // threads are row_groups × column groups
    int stage, points, outputs, derivatives, more;  // where each begins; units begin at 0, what a kernel adds at more
    int size;
};

TK_HD constexpr int round_up(int value, int to) { return (value + to - 1) / to * to; }

// The biases of a layer, the same for every path of the tile.
template <class S>
struct CommonBiases {
    const S* biases;
    TK_HD S of(int, int row) const { return biases[row]; }
    TK_HD void skip(int rows) { biases += rows; }
};

// A score source that a whole block calls together. Threads 0 … paths − 1 have a path each, the others only help. How
// a hidden layer multiplies is for Self: multiply_layer(layer, biases, units) makes units ← W units + b, in place.
template <class S, class Self>
struct BlockNetwork {
    MlpView<S> view;  // its matrices as they come, (rows, columns)
    NetworkTile tile;
    bool with_divergence;

    template <class V>
    TK_HD void score(std::int64_t node, int dim, const V* x, V*, V* score, V& divergence) const {
#if TK_ON_DEVICE
        const S trace = evaluate(CommonBiases<S>{view.biases + node * view.bias_stride}, dim, x, score);
        scale_output(view.output_scale[node], view.skip[node], view.dim, x, trace, score, divergence);
#endif
    }

#if TK_ON_DEVICE
    // The network's output and, returned, the trace of its derivatives.
    template <class Biases>
    __device__ __forceinline__ S evaluate(Biases biases, int dim, const S* x, S* output) const {
        TK_DYN_SHARED(S, units);
        S* const points = units + tile.points;
        S* const outputs = units + tile.outputs;
        S* const derivatives = units + tile.derivatives;
        const int thread = static_cast<int>(threadIdx.x);
        if (thread < tile.paths)
            for (int i = 0; i < dim; ++i) points[thread * dim + i] = x[i];
        __syncthreads();

        for (int unit = thread; unit < view.widths[0] * tile.paths; unit += network_threads) {
            const int row = unit / tile.paths, path = unit % tile.paths;
            first_unit(view.weights[0] + row * dim, biases.of(path, row), dim, points + path * dim, with_divergence,
                       units + row * tile.stride + path * tile.columns);
        }
        activate_units(units, view.widths[0]);
        biases.skip(view.widths[0]);
        for (int l = 1; l < view.hidden_layers; ++l) {
            static_cast<const Self*>(this)->multiply_layer(l, biases, units);
            activate_units(units, view.widths[l]);
            biases.skip(view.widths[l]);
        }

        const int fan_in = view.widths[view.hidden_layers - 1];
        for (int place = thread; place < dim * tile.paths; place += network_threads) {
            const int i = place / tile.paths, path = place % tile.paths;
            last_unit(view.weights[view.hidden_layers] + i * fan_in, biases.of(path, i), fan_in,
                      units + path * tile.columns, tile.stride, i, with_divergence, outputs[path * dim + i],
                      derivatives[path * dim + i]);
        }
        __syncthreads();
        S trace{};
        const int own = thread < tile.paths ? thread : 0;
        for (int i = 0; i < dim; ++i) {
            output[i] = outputs[own * dim + i];
            trace = trace + derivatives[own * dim + i];
        }
        return trace;
    }
#endif

#if TK_ON_DEVICE
    // σ over all units of a layer, between two barriers.
    __device__ __forceinline__ void activate_units(S* units, int width) const {
        __syncthreads();
        switch (view.activation) {
            case Activation::silu: activate_units<Activation::silu>(units, width); break;
            case Activation::tanh: activate_units<Activation::tanh>(units, width); break;
            case Activation::relu: activate_units<Activation::relu>(units, width); break;
            case Activation::gelu_tanh: activate_units<Activation::gelu_tanh>(units, width); break;
        }
        __syncthreads();
    }

    template <Activation Kind>
    __device__ __forceinline__ void activate_units(S* units, int width) const {
        for (int unit = static_cast<int>(threadIdx.x); unit < width * tile.paths; unit += network_threads)
            activate_unit<Kind>(units + unit / tile.paths * tile.stride + unit % tile.paths * tile.columns,
                                tile.columns);
    }
#endif
};

// With sums of the threads' own.
template <class S>
struct BlockMlp : BlockNetwork<S, BlockMlp<S>> {
    using BlockNetwork<S, BlockMlp<S>>::view, BlockNetwork<S, BlockMlp<S>>::tile;

#if TK_ON_DEVICE
    template <class Biases>
    __device__ __forceinline__ void multiply_layer(int layer, const Biases& biases, S* units) const {
        multiply_units(view.weights[layer], biases, view.widths[layer], view.widths[layer - 1], units,
                       units + tile.stage);
    }

    template <class Biases>
    __device__ __forceinline__ void multiply_units(const S* weights, const Biases& biases, int width, int fan_in,
                                                   S* units, S* stage) const {
        S sums[tile_rows][tile_columns] = {};
        accumulate(weights, width, fan_in, units, stage, sums);
        put_units(biases, width, sums, units);
    }

    // What this thread's sums are of: rows and columns of a layer of that width.
    struct Place {
        int row, column;
        bool busy;
    };
    __device__ __forceinline__ Place place_of(int width) const {
        const int thread = static_cast<int>(threadIdx.x), column_groups = network_threads / tile.row_groups;
        const int row = thread / column_groups * tile_rows, column = thread % column_groups * tile_columns;
        return {row, column, row < width && column < tile.stride};
    }

    // A matrix (width, fan_in) times units onto the sums of all threads, between two barriers.
    __device__ __forceinline__ void accumulate(const S* weights, int width, int fan_in, const S* units, S* stage,
                                               S sums[tile_rows][tile_columns]) const {
        const int thread = static_cast<int>(threadIdx.x);
        const Place own = place_of(width);
        for (int first = 0; first < fan_in; first += slice_columns) {
            const int count = fan_in - first < slice_columns ? fan_in - first : slice_columns;
            for (int i = thread; i < round_up(width, tile_rows) * slice_columns; i += network_threads) {
                const int r = i / slice_columns, c = i % slice_columns;
                stage[c * tile.stage_stride + r] = r < width && c < count ? weights[r * fan_in + first + c] : S(0);
            }
            __syncthreads();
            if (own.busy) {
                for (int k = 0; k < count; ++k) {
                    S weight[tile_rows], value[tile_columns];
                    load_packs<tile_rows>(stage + k * tile.stage_stride + own.row, weight);
                    load_packs<tile_columns>(units + (first + k) * tile.stride + own.column, value);
                    TK_UNROLL
                    for (int r = 0; r < tile_rows; ++r) {
                        TK_UNROLL
                        for (int c = 0; c < tile_columns; ++c) sums[r][c] = sums[r][c] + weight[r] * value[c];
                    }
                }
            }
            __syncthreads();
        }
    }

    // The units that all threads' sums and biases make.
    template <class Biases>
    __device__ __forceinline__ void put_units(const Biases& biases, int width, const S sums[tile_rows][tile_columns],
                                              S* units) const {
        const auto [row, column, busy] = place_of(width);
        if (!busy) return;
        TK_UNROLL
        for (int r = 0; r < tile_rows; ++r) {
            TK_UNROLL
            for (int c = 0; c < tile_columns; ++c) {
                const int path = (column + c) / tile.columns;
                const bool has_bias = path * tile.columns == column + c && path < tile.paths;
                if (row + r < width && column + c < tile.stride)
                    units[(row + r) * tile.stride + column + c] =
                        has_bias ? sums[r][c] + biases.of(path, row + r) : sums[r][c];
            }
        }
    }
#endif
};

// A source of one thread's own, which threads without a path leave out.
template <class Source>
struct OfPath {
    Source source;
    int paths;

    template <class V>
    TK_HD void score(std::int64_t node, int dim, const V* x, V* scratch, V* score, V& divergence) const {
#if TK_ON_DEVICE
        if (static_cast<int>(threadIdx.x) < paths) {
            source.score(node, dim, x, scratch, score, divergence);
        } else {
            for (int i = 0; i < dim; ++i) score[i] = V{};
            divergence = V{};
        }
#endif
    }
};

// The path of a thread of a tile, the block's own where no other is given; threads without a path follow the tile's
// first, to every barrier.
struct TilePath {
    std::int64_t index;
    bool owned;
};
__device__ __forceinline__ TilePath tile_path(int paths, std::int64_t n, std::int64_t number = blockIdx.x) {
    const std::int64_t first = number * paths;
    const std::int64_t index = first + threadIdx.x;
    const bool owned = static_cast<int>(threadIdx.x) < paths && index < n;
    return {owned ? index : first, owned};
}

template <class S>
__global__ void __launch_bounds__(network_threads, network_blocks<S>)
    network_score_kernel(const __grid_constant__ BlockMlp<S> network, const __grid_constant__ ScoreOutputs<S> out) {
    const TilePath point = tile_path(network.tile.paths, out.n);
    const int dim = static_cast<int>(out.dim);
    S x[max_dim], score[max_dim], divergence;
    for (int i = 0; i < dim; ++i) x[i] = out.x[point.index * dim + i];
    network.score(0, dim, x, static_cast<S*>(nullptr), score, divergence);
    if (!point.owned) return;
    for (int i = 0; i < dim; ++i) out.score[point.index * dim + i] = score[i];
    out.divergence[point.index] = divergence;
}

}  // namespace tk::cuda
