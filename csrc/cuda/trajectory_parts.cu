#include "settings.cuh"
#if !defined(__CUDACC__)  // GCC does not see that coarse sums are begun where they are wanted
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "trajectory_parts.cuh"

namespace tk::cuda {

constexpr std::int64_t most_stretches = 1024;

// Whole tiles, and no more stretches than there is memory for.
static std::int64_t stretch_size(std::int64_t n, int tile_paths) {
    const std::int64_t even = (n + most_stretches - 1) / most_stretches;
    return (even + tile_paths - 1) / tile_paths * tile_paths;
}

// `values`: where shared memory has room for the forms of a tile, which takes `shared_size` numbers in all.
template <int D, int Threads, class S, class Scores>
static void split_paths(const TrajectoryArguments<S>& arguments, const Scores& scores, int tile_paths, int values,
                        int shared_size, cudaStream_t stream) {
    const SplitArguments<S>& split = arguments.split;
    const std::int64_t size = stretch_size(arguments.n, tile_paths), numbers = arguments.n_nodes * split_forms * 2;
    const std::int64_t rows = split.stretches * split.columns * split_forms;
    const unsigned count = blocks_for(arguments.n, size);
    const Buffer<double> nodes(count * numbers, stream);
    const Buffer<S> cells(rows * arguments.n, stream);
    const SplitStretches<S> stretches{.parts = reinterpret_cast<const PartNode<S>*>(split.table),
                                      .nodes = nodes.get(),
                                      .cells = cells.get(),
                                      .totals = split.totals,
                                      .size = size,
                                      .time_stretches = split.stretches,
                                      .columns = static_cast<int>(split.columns),
                                      .tile_paths = tile_paths,
                                      .values = values};
    launch("parts", parts_kernel<S, Scores, D, Threads>, count, Threads,
           static_cast<std::size_t>(shared_size) * sizeof(S), stream, settings_of(arguments), scores,
           paths_of(arguments), stretches);
    launch("sum cells", sum_cells_kernel<S>, blocks_for(rows + split_forms * split.columns, 1), statistics_threads,
           statistics_threads * sizeof(PairSums), stream, stretches, arguments.n, split.cells, split.squares);
    launch("sum stretches", sum_stretches_kernel, blocks_for(numbers, statistics_threads), statistics_threads, 0,
           stream, nodes.get(), count, numbers, split.nodes);
}

template <class S>
void trajectory_parts(const TrajectoryArguments<S>& arguments, cudaStream_t stream) {
    if (arguments.model.is_mlp || arguments.reference.is_mlp) {
        const bool with_divergence = arguments.divergence_weight != S(0);
        with_networks(arguments, with_divergence, split_forms, stream,
                      [&](const auto& scores, const NetworkTile& tile) {
                          split_paths<0, network_threads>(arguments, scores, tile.paths, tile.more, tile.size, stream);
                      });
        return;
    }
    const MixtureTable<S> model(arguments.model.mixture, arguments.dim, arguments.n_nodes, false, stream);
    const MixtureTable<S> reference(arguments.reference.mixture, arguments.dim, arguments.n_nodes, false, stream);
    with_dim<true>(arguments.dim, [&](auto d) {
        // In float64 the forms of four axes do not fit into registers: there the kernel of any dimension spills none.
        constexpr int bound = sizeof(S) == 8 && decltype(d)::bound > 3 ? max_dim : decltype(d)::bound;
        using Source = Mixture<S, false, bound>;
        const Independent<Source, Source, bound> scores{{model.rows(), model.components()},
                                                        {reference.rows(), reference.components()}};
        split_paths<bound == max_dim ? 0 : bound, mixture_threads>(arguments, scores, mixture_threads, 0,
                                                                   split_forms * mixture_threads, stream);
    });
}

template void trajectory_parts(const TrajectoryArguments<float>&, cudaStream_t);
template void trajectory_parts(const TrajectoryArguments<double>&, cudaStream_t);

}  // namespace tk::cuda
