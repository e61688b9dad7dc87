#include "kernels.hpp"
#include "settings.cuh"

namespace tk::cuda {

// Where Δs arises: trajectory_parts.cu.
template <class S>
void trajectory_parts(const TrajectoryArguments<S>& arguments, cudaStream_t stream);

// Whether a network is to multiply by tensor cores, and its paths: tensor_trajectory.cu.
bool wants_tensor_cores(const TrajectoryArguments<float>& arguments);
void tensor_trajectory(const TrajectoryArguments<float>& arguments, cudaStream_t stream);

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
    with_dim<Isotropic>(dim, [&](auto d) {
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

template <class S>
static void networks(const TrajectoryArguments<S>& arguments, cudaStream_t stream) {
    if constexpr (sizeof(S) == 4)
        if (wants_tensor_cores(arguments)) return tensor_trajectory(arguments, stream);
    const bool with_divergence = arguments.divergence_weight != S(0);
    with_networks(arguments, with_divergence, 0, stream, [&](const auto& scores, const NetworkTile& tile) {
        using Scores = std::decay_t<decltype(scores)>;
        launch("network trajectory", network_trajectory_kernel<S, Scores, 0>, blocks_for(arguments.n, tile.paths),
               network_threads, static_cast<std::size_t>(tile.size) * sizeof(S), stream, settings_of(arguments), scores,
               paths_of(arguments), tile.paths);
    });
}

template <class S>
void trajectory(const TrajectoryArguments<S>& arguments, Stream given) {
    const auto stream = static_cast<cudaStream_t>(given);
    if (arguments.n == 0) return;
    if (arguments.split.table != nullptr) return trajectory_parts(arguments, stream);
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
