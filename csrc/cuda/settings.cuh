// The arrays of a run's paths, and the scores of networks made ready for its kernels.
#pragma once

#include "mixture_table.cuh"
#include "network_tile.cuh"
#include "trajectory.cuh"

namespace tk::cuda {

template <class S>
PathArrays<S> paths_of(const TrajectoryArguments<S>& arguments) {
    return {.n = arguments.n,
            .dim = static_cast<int>(arguments.dim),
            .offset = arguments.path_offset,
            .x = arguments.x,
            .value = arguments.value,
            .mismatch = arguments.mismatch,
            .x_last = arguments.x_last,
            .coarse = arguments.coarse};
}

template <class S>
int widest_network(const TrajectoryArguments<S>& arguments) {
    const auto width = [&](const ScoreSource<S>& source) {
        return source.is_mlp ? widest(mlp_view(source.mlp, arguments.dim)) : 1;
    };
    const int model = width(arguments.model), reference = width(arguments.reference);
    return model > reference ? model : reference;
}

// body(scores) with the scores of a model and a reference of which at least one is a network, as network(source) makes
// them for a tile.
template <class S, class Network, class Body>
void with_sources(const TrajectoryArguments<S>& arguments, const NetworkTile& tile, const Network& network,
                  cudaStream_t stream, const Body& body) {
    const ScoreSource<S>& model = arguments.model;
    const ScoreSource<S>& reference = arguments.reference;
    const auto go = [&](const auto& first, const auto& second) {
        body(Independent<std::decay_t<decltype(first)>, std::decay_t<decltype(second)>, max_dim>{first, second});
    };
    if (model.is_mlp && reference.is_mlp) return go(network(model), network(reference));
    const MixtureTable<S> table((model.is_mlp ? reference : model).mixture, arguments.dim, arguments.n_nodes, false,
                                stream);
    const OfPath<Mixture<S, false, max_dim>> mixture{{table.rows(), table.components()}, tile.paths};
    if (model.is_mlp)
        go(network(model), mixture);
    else
        go(mixture, network(reference));
}

// body(scores, tile) with sums of the threads' own, and `more` numbers a path in shared memory beside what they need.
template <class S, class Body>
void with_networks(const TrajectoryArguments<S>& arguments, bool with_divergence, int more, cudaStream_t stream,
                   const Body& body) {
    const NetworkTile tile =
        network_tile<S>(widest_network(arguments), static_cast<int>(arguments.dim), with_divergence, more);
    const auto network = [&](const ScoreSource<S>& source) {
        return BlockMlp<S>{{mlp_view(source.mlp, arguments.dim), tile, with_divergence}};
    };
    with_sources(arguments, tile, network, stream, [&](const auto& scores) { body(scores, tile); });
}

}  // namespace tk::cuda
