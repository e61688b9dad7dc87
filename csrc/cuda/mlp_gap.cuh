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
    // Of a column, the level's in front.
    TK_HD S feature(int column, int i) const {
        const std::int64_t own = point(column % points), given = i - a.level_size;
        return given < 0 ? a.level[i * a.n + own]
                         : a.condition[(column / points * a.condition_size + given) * a.n + own];
    }
};

// What is added to a layer's sums at their end: its biases, and what two layers before kept.
template <class S>
struct GapRest {
    const GapBlock<S>& block;
    const S* biases;  // (rows,)
    const S* kept;    // or null
    int stride;

    TK_HD S of(int column, int row) const {
        if (kept == nullptr || column >= block.columns()) return biases[row];
        return biases[row] + kept[row * stride + column];
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
    const int seen = static_cast<int>(a.level_size + a.condition_size), level_size = static_cast<int>(a.level_size);
    S* const features = units + tile.more;
    S* const kept = features + seen * tile.stride;
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
    for (int place = thread; place < seen * tile.stride; place += network_threads) {
        const int column = place % tile.stride;
        features[place] = column < block.columns() ? block.feature(column, place / tile.stride) : S(0);
    }
    __syncthreads();
    for (int unit = thread; unit < view.widths[0] * points; unit += network_threads) {
        const int row = unit / points, p = unit % points;
        const S* const weights = view.weights[0] + row * dim;
        const S* const context = a.context[0] == nullptr ? nullptr : a.context[0] + row * seen;
        S start{};
        for (int i = 0; i < dim; ++i) start = start + weights[i] * inputs[p * dim + i];
        for (int i = 0; context != nullptr && i < level_size; ++i)
            start = start + context[i] * features[i * tile.stride + p];
        for (int column = p; column < block.columns(); column += points) {
            S sum = start;
            for (int i = level_size; context != nullptr && i < seen; ++i)
                sum = sum + context[i] * features[i * tile.stride + column];
            units[row * tile.stride + column] = sum + a.biases[0][row];
        }
    }
    for (int l = 1; l <= view.hidden_layers; ++l) {
        const int rows = l < view.hidden_layers ? view.widths[l] : dim, before = view.widths[l - 1];
        __syncthreads();
        if (keeps(a.residual, l - 1))
            for (int unit = thread; unit < before * block.columns(); unit += network_threads) {
                const int row = unit / block.columns(), column = unit % block.columns();
                kept[row * tile.stride + column] = units[row * tile.stride + column];
            }
        network.activate_units(units, before);
        S sums[tile_rows][tile_columns] = {};
        S* const stage = units + tile.stage;
        if (a.context[l] != nullptr) network.accumulate(a.context[l], rows, seen, features, stage, sums);
        network.accumulate(view.weights[l], rows, before, units, stage, sums);
        const GapRest<S> rest{block, a.biases[l], adds_kept(a.residual, l) ? kept : nullptr, tile.stride};
        network.put_units(rest, rows, sums, units);
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
        a.out[pair * a.n + point] = sums.gap();
        a.out[(pairs + pair) * a.n + point] = sums.loss();
        a.out[(2 * pairs + pair) * a.n + point] = sums.difference();
    }
}

}  // namespace tk::cuda
