#include "kernels.hpp"
#include "mixture_table.cuh"
#include "network_tile.cuh"
#include "trajectory.cuh"

namespace tk::cuda {

template <class S>
static TrajectorySettings<S> settings_of(const TrajectoryArguments<S>& arguments) {
    return {reinterpret_cast<const Node<S>*>(arguments.steps),
            arguments.n_nodes,
            arguments.divergence_weight,
            arguments.sampler,
            arguments.reverse,
            arguments.seed};
}

template <class S>
static PathArrays<S> paths_of(const TrajectoryArguments<S>& arguments) {
    return {arguments.n,           static_cast<int>(arguments.dim),
            arguments.path_offset, arguments.x,
            arguments.value,       arguments.mismatch,
            arguments.x_last};
}

template <bool Isotropic, class S>
static void mixtures(const TrajectoryArguments<S>& arguments, bool shared, cudaStream_t stream) {
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const std::int64_t dim = arguments.dim, n_nodes = arguments.n_nodes;
    const auto go = [&](auto fixed, const auto& scores) {
        using Scores = std::decay_t<decltype(scores)>;
        launch("mixture trajectory", mixture_trajectory_kernel<S, Scores, fixed.value>,
               blocks_for(arguments.n, mixture_threads), mixture_threads, 0, stream, settings_of(arguments), scores,
               paths_of(arguments));
    };
    const MixtureTable<S> table(model, dim, n_nodes, Isotropic, stream, shared ? reference.weights : nullptr);
    const MixtureTable<S> other(reference, dim, shared ? 0 : n_nodes, Isotropic, stream);
    with_dim<S, Isotropic>(dim, [&](auto d) {
        constexpr int bound = decltype(d)::bound;
        constexpr std::integral_constant<int, bound == max_dim ? 0 : bound> fixed{};
        using Source = Mixture<S, Isotropic, bound>;
        if (shared)
            go(fixed, SharedMixtures<S, Isotropic, bound>{table.rows(), table.components()});
        else
            go(fixed, Independent<Source, Source, bound>{{table.rows(), table.components()},
                                                         {other.rows(), other.components()}});
    });
}

// At least one network.
template <class S>
static void networks(const TrajectoryArguments<S>& arguments, cudaStream_t stream) {
    const ScoreArguments<S>& model = arguments.model;
    const ScoreArguments<S>& reference = arguments.reference;
    const bool with_divergence = arguments.divergence_weight != S(0);
    const int width_a = model.is_mlp ? widest(model.mlp) : 1, width_b = reference.is_mlp ? widest(reference.mlp) : 1;
    const NetworkTile tile =
        network_tile<S>(width_a > width_b ? width_a : width_b, static_cast<int>(arguments.dim), with_divergence);
    const auto network = [&](const ScoreArguments<S>& source) {
        return BlockMlp<S>{mlp_view(source.mlp, arguments.dim), tile, with_divergence};
    };
    const auto go = [&](const auto& first, const auto& second) {
        using Scores = Independent<std::decay_t<decltype(first)>, std::decay_t<decltype(second)>, max_dim>;
        launch("network trajectory", network_trajectory_kernel<S, Scores, 0>, blocks_for(arguments.n, tile.paths),
               network_threads, static_cast<std::size_t>(tile.size) * sizeof(S), stream, settings_of(arguments),
               Scores{first, second}, paths_of(arguments), tile.paths);
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

template <class S>
void trajectory(const TrajectoryArguments<S>& arguments, Stream given) {
    const auto stream = static_cast<cudaStream_t>(given);
    if (arguments.n == 0) return;
    if (arguments.model.is_mlp || arguments.reference.is_mlp) return networks(arguments, stream);
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const bool shared = share_components(model, reference, arguments.dim, arguments.n_nodes);
    if (is_isotropic(model, arguments.dim) && is_isotropic(reference, arguments.dim))
        mixtures<true>(arguments, shared, stream);
    else
        mixtures<false>(arguments, shared, stream);
}

template void trajectory(const TrajectoryArguments<float>&, Stream);
template void trajectory(const TrajectoryArguments<double>&, Stream);

}  // namespace tk::cuda
