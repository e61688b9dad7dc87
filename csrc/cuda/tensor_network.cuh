// Perceptrons whose hidden layers multiply by tensor cores, and their paths by blocks that stay.
//
// Units stand in shared memory as in network.cuh. A layer is cut into 32 × 32 tiles, one a warp; its matrix comes from
// device memory in the order in which lanes want it, so that nothing is staged and a product has no barrier inside.
// The first and the last layer, activations and all sums along a path are those of the float32 kernel.
#pragma once

#include "network_tile.cuh"
#include "tensor_cores.cuh"
#include "trajectory.cuh"

namespace tk::cuda {

struct TensorMlp : BlockNetwork<float, TensorMlp> {
    Products products;
    const MatrixWords* shares[max_layers];  // of the matrices between hidden layers, from the second layer on

#if TK_ON_DEVICE
    template <class Biases>
    __device__ __forceinline__ void multiply_layer(int layer, const Biases& biases, float* units) const {
        const int width = view.widths[layer], fan_in = view.widths[layer - 1];
        const int depth = product_depth(products), steps = (fan_in + depth - 1) / depth;
        const int thread = static_cast<int>(threadIdx.x), warp = thread / warp_lanes;
        if (fan_in < steps * depth) {  // zeros, where a matrix ends within a step
            for (int i = fan_in * tile.stride + thread; i < steps * depth * tile.stride; i += network_threads)
                units[i] = 0.0f;
            __syncthreads();
        }
        const int row = warp % tile.row_groups * warp_rows, column = warp / tile.row_groups * warp_columns;
        const bool busy = row < width && column < tile.paths * tile.columns;
        WarpSums sums = {};
        if (busy)
            multiply_warp(products, shares[layer] + row / mma_rows * steps * warp_lanes, steps, units + column,
                          tile.stride, sums);
        __syncthreads();
        if (!busy) return;
        for_each_sum(sums, [&](int r, int c, float sum) {
            const int path = (column + c) / tile.columns;
            const bool has_bias = path * tile.columns == column + c && path < tile.paths;
            if (row + r < width)
                units[(row + r) * tile.stride + column + c] = has_bias ? sum + biases.of(path, row + r) : sum;
        });
    }
#endif
};

// Eight warps share the widest layer. Rows of units are apart by as much as makes the 32 lanes that read numbers of
// four rows (of one operand) or of eight (of both numbers of a word) meet 32 banks.
inline NetworkTile tensor_tile(Products products, int widest, int dim, bool with_divergence) {
    NetworkTile tile{};
    tile.columns = with_divergence ? 1 + dim : 1;
    tile.row_groups = 1;
    while (tile.row_groups * warp_rows < widest) tile.row_groups *= 2;
    const int columns = network_threads / warp_lanes / tile.row_groups * warp_columns;
    tile.paths = columns / tile.columns;
    tile.stride = columns + 64 / product_depth(products);
    place_points(tile, round_up(widest, Bfloat16::depth) * tile.stride, dim, 0);
    return tile;
}

static __global__ void __launch_bounds__(network_threads)
    matrix_words_kernel(Products products, const float* matrix, const __grid_constant__ MatrixShares shares,
                        MatrixWords* out) {
    const int place = static_cast<int>(blockIdx.x * network_threads + threadIdx.x);
    if (place < shares.count) out[place] = matrix_words(products, matrix, shares, place);
}

// Block b takes tiles b, b + blocks, …: any number of blocks gives the same bits.
template <class Scores>
__global__ void __launch_bounds__(network_threads, network_blocks<float>)
    tensor_trajectory_kernel(const __grid_constant__ TrajectorySettings<float> settings,
                             const __grid_constant__ Scores scores, const __grid_constant__ PathArrays<float> paths,
                             int tile_paths, unsigned tiles) {
    for (unsigned tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const TilePath path = tile_path(tile_paths, paths.n, tile);
        take_path<0>(settings, scores, paths, path.index, path.owned);
    }
}

}  // namespace tk::cuda
