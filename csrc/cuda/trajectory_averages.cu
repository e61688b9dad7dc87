#include "kernels.hpp"
#include "mixture_table.cuh"
#include "network_tile.cuh"
#include "settings.cuh"
#include "trajectory_averages.cuh"

namespace tk::cuda {

constexpr std::int64_t most_stretches = 1024;

// Whole tiles, and no more stretches than there is memory for.
static std::int64_t stretch_size(std::int64_t n, int tile_paths) {
    const std::int64_t even = (n + most_stretches - 1) / most_stretches;
    return (even + tile_paths - 1) / tile_paths * tile_paths;
}

// `values`: where shared memory has room for the observables of a tile, which takes `shared_size` numbers in all.
template <int D, int Threads, class S, class Scores>
static void average(const TrajectoryAveragesArguments<S>& averages, const Scores& scores, int tile_paths, int values,
                    int shared_size, cudaStream_t stream) {
    const TrajectoryArguments<S>& paths = averages.paths;
    const std::int64_t size = stretch_size(paths.n, tile_paths), cells = paths.n_nodes * observables;
    const unsigned count = blocks_for(paths.n, size);
    const Buffer<StretchSums> sums(count * cells, stream);
    const Stretches<S> stretches{
        reinterpret_cast<const RateNode<S>*>(averages.rates), sums.get(), averages.integrals, size, tile_paths, values};
    launch("averages", averages_kernel<S, Scores, D, Threads>, count, Threads,
           static_cast<std::size_t>(shared_size) * sizeof(S), stream, settings_of(paths), scores, paths_of(paths),
           stretches);
    launch("merge stretches", merge_stretches_kernel, blocks_for(cells, 1), statistics_threads,
           statistics_threads * sizeof(Moments), stream, sums.get(), paths.n, size, count, averages.mean, averages.m2);
}

template <class S>
static void mixtures(const TrajectoryAveragesArguments<S>& averages, cudaStream_t stream) {
    const TrajectoryArguments<S>& paths = averages.paths;
    const MixtureTable<S> model(paths.model.mixture, paths.dim, paths.n_nodes, false, stream);
    const MixtureTable<S> reference(paths.reference.mixture, paths.dim, paths.n_nodes, false, stream);
    with_dim<true>(paths.dim, [&](auto d) {
        constexpr int bound = decltype(d)::bound;
        using Source = Mixture<S, false, bound>;
        const Independent<Source, Source, bound> scores{{model.rows(), model.components()},
                                                        {reference.rows(), reference.components()}};
        average<bound == max_dim ? 0 : bound, mixture_threads>(averages, scores, mixture_threads, 0,
                                                               observables * mixture_threads, stream);
    });
}

template <class S>
static void networks(const TrajectoryAveragesArguments<S>& averages, cudaStream_t stream) {
    with_networks(averages.paths, true, observables, stream, [&](const auto& scores, const NetworkTile& tile) {
        average<0, network_threads>(averages, scores, tile.paths, tile.more, tile.size, stream);
    });
}

template <class S>
void trajectory_averages(const TrajectoryAveragesArguments<S>& averages, Stream given) {
    const TrajectoryArguments<S>& paths = averages.paths;
    const auto stream = static_cast<cudaStream_t>(given);
    if (paths.n == 0 || paths.n_nodes == 0) return;
    if (paths.model.is_mlp || paths.reference.is_mlp) return networks(averages, stream);
    mixtures(averages, stream);
}

template void trajectory_averages(const TrajectoryAveragesArguments<float>&, Stream);
template void trajectory_averages(const TrajectoryAveragesArguments<double>&, Stream);

}  // namespace tk::cuda
