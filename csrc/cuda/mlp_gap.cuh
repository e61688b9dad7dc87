// Differences of the scores of a perceptron under several conditions: a block takes a tile of points through the
// network, with a column of units for each point and condition, condition by condition.
#pragma once

#include "../core/mlp_gap.hpp"
#include "network.cuh"
#include "normals.cuh"

namespace tk::cuda {

// The points of a block.
template <class S>
struct GapBlock {
    const MlpGapArguments<S>& a;
    std::int64_t first;
    int points;

    TK_HD std::int64_t point(int p) const { return first + p < a.n ? first + p : a.n - 1; }
    TK_HD int columns() const { return points * static_cast<int>(a.conditions); }
    TK_HD S bias(int layer, int rows, int column, int row) const {
        if (!a.own_biases[layer]) return a.biases[layer][row];
        const std::int64_t place = static_cast<std::int64_t>(column / points) * rows + row;
        return a.biases[layer][place * a.n + point(column % points)];
    }
};

// Biases of a layer, and what two layers before kept.
template <class S>
struct GapBiases {
    const GapBlock<S>& block;
    int layer, rows;
    const S* kept;  // or null
    int kept_stride;

    TK_HD S of(int column, int row) const {
        if (column >= block.columns()) return S(0);
        const S bias = block.bias(layer, rows, column, row);
        return kept == nullptr ? bias : bias + kept[row * kept_stride + column];
    }
};

template <class S>
__global__ void __launch_bounds__(network_threads, network_blocks<S>)
    mlp_gap_kernel(const __grid_constant__ MlpGapArguments<S> a, const __grid_constant__ BlockMlp<S> network,
                   int points) {
    TK_DYN_SHARED(S, units);
    const NetworkTile& tile = network.tile;
    const MlpView<S>& view = network.view;
    S* const inputs = units + tile.points;
    S* const noises = units + tile.outputs;
    S* const kept = units + tile.more;
    const int dim = static_cast<int>(a.dim), thread = static_cast<int>(threadIdx.x);
    const GapBlock<S> block{a, static_cast<std::int64_t>(blockIdx.x) * points, points};
    if (thread < points) {
        const std::int64_t point = block.point(thread);
        const GapLevel<S> level(a.mean_scale[point], a.root[point]);
        const PathIndex<S> path = path_index<S>(a.path_offset + static_cast<std::uint64_t>(point));
        for (int i = 0; i < dim; i += 4) {
            S drawn[4];
            if (a.noise == nullptr)
                normal_block<S>(a.seed, Purpose::noise, path, static_cast<std::uint32_t>(i / 4), drawn);
            TK_UNROLL
            for (int j = 0; j < 4; ++j) {
                if (i + j >= dim) continue;
                const std::int64_t place = (i + j) * a.n + point;
                const S z = a.noise == nullptr ? drawn[j] : a.noise[place];
                const MlpGapAxis<S> axis(level, a.from_centre[place], S(0), z, S(0));
                noises[thread * dim + i + j] = z;
                inputs[thread * dim + i + j] = a.enter[place] * axis.apart;
            }
        }
    }
    __syncthreads();
    for (int unit = thread; unit < view.widths[0] * points; unit += network_threads) {
        const int row = unit / points, p = unit % points;
        S product{};
        for (int i = 0; i < dim; ++i) product = product + view.weights[0][row * dim + i] * inputs[p * dim + i];
        for (int column = p; column < block.columns(); column += points)
            units[row * tile.stride + column] = product + block.bias(0, view.widths[0], column, row);
    }
    for (int l = 1; l <= view.hidden_layers; ++l) {
        const int rows = l < view.hidden_layers ? view.widths[l] : dim, before = view.widths[l - 1];
        __syncthreads();
        if (keeps(a.residual, l - 1))
            for (int unit = thread; unit < before * block.columns(); unit += network_threads) {
                const int row = unit / block.columns(), column = unit % block.columns();
                kept[row * tile.paths + column] = units[row * tile.stride + column];
            }
        network.activate_units(units, before);
        const GapBiases<S> biases{block, l, rows, adds_kept(a.residual, l) ? kept : nullptr, tile.paths};
        network.multiply_units(view.weights[l], biases, rows, before, units, units + tile.stage);
    }
    __syncthreads();
    const int last = static_cast<int>(a.conditions) - 1, pairs = gap_pairs(last + 1);
    for (int place = thread; place < pairs * points; place += network_threads) {
        const int pair = place / points, p = place % points;
        if (block.first + p >= a.n) continue;
        const std::int64_t point = block.first + p;
        const GapLevel<S> level(a.mean_scale[point], a.root[point]);
        const S gain = level.gain(a.reference);
        GapSums<S> sums;
        for (int i = 0; i < dim; ++i) {
            const std::int64_t at = i * a.n + point;
            const MlpGapAxis<S> axis(level, a.from_centre[at], a.centre[i], noises[p * dim + i], gain);
            const S* const outputs = units + i * tile.stride + p;
            const S first = axis.score(a.scale[at], outputs[pair * points], a.skip[at]);
            const S second = last > 0 ? axis.score(a.scale[at], outputs[last * points], a.skip[at]) : axis.reference;
            sums.add(first, second, axis.noise, axis.reference);
        }
        a.out[pair * a.n + point] = S(0.5) * sums.gap;
        a.out[(pairs + pair) * a.n + point] = S(0.5) * sums.loss;
        a.out[(2 * pairs + pair) * a.n + point] = S(0.5) * sums.difference;
    }
}

}  // namespace tk::cuda
