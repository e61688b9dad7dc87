#include <vector>

#include "kernels.hpp"
#include "launch.cuh"
#include "network_tile.cuh"
#include "probability_flow.cuh"

namespace tk::cuda {

template <class S>
static FlowPoints<S> points_of(const ProbabilityFlowArguments<S>& arguments) {
    return {.n = arguments.n,
            .dim = static_cast<int>(arguments.dim),
            .levels = arguments.levels,
            .table = reinterpret_cast<const FlowNode<S>*>(arguments.table),
            .rtol = arguments.rtol,
            .atol = arguments.atol,
            .x = arguments.x,
            .x_last = arguments.x_last,
            .divergence = arguments.divergence,
            .evaluations = arguments.evaluations,
            .status = arguments.status};
}

template <bool Isotropic, class S>
static void mixture(const ProbabilityFlowArguments<S>& arguments, cudaStream_t stream) {
    const MixtureArguments& mixture = arguments.score.mixture;
    const std::int64_t count = packed_mixture_size(mixture, arguments.dim, arguments.n_nodes);
    std::vector<S> on_host(static_cast<std::size_t>(count));
    fill_packed_mixture(mixture, arguments.dim, arguments.n_nodes, on_host.data());
    const Buffer<S> numbers(count, stream);
    copy_to_device(numbers.get(), on_host.data(), count, stream);
    const PackedMixture<S> packed = packed_mixture<S>(mixture, arguments.dim, arguments.n_nodes, numbers.get());
    with_dim<Isotropic>(arguments.dim, [&](auto d) {
        constexpr int bound = decltype(d)::bound, fixed = bound == max_dim ? 0 : bound;
        launch("mixture flow", mixture_flow_kernel<S, Isotropic, fixed>, blocks_for(arguments.n, mixture_threads),
               mixture_threads, 0, stream,
               MixtureFlow<S, Isotropic, bound>{packed.view, packed.mean_scale, packed.variance}, points_of(arguments),
               dormand_prince<S>);
    });
}

template <class S>
static void network(const ProbabilityFlowArguments<S>& arguments, cudaStream_t stream) {
    const MlpView<S> view = mlp_view(arguments.score.mlp, arguments.dim);
    const NetworkTile tile = network_tile<S>(widest(view), view.dim, true, 1);
    const BlockMlpFlow<S> field{{{view, tile, true}}};
    launch("network flow", network_flow_kernel<S>, blocks_for(arguments.n, tile.paths), network_threads,
           static_cast<std::size_t>(tile.size) * sizeof(S), stream, field, points_of(arguments), dormand_prince<S>);
}

template <class S>
void probability_flow(const ProbabilityFlowArguments<S>& arguments, Stream given) {
    const auto stream = static_cast<cudaStream_t>(given);
    if (arguments.n == 0) return;
    if (arguments.score.is_mlp) return network(arguments, stream);
    if (is_isotropic(arguments.score.mixture, arguments.dim)) return mixture<true>(arguments, stream);
    mixture<false>(arguments, stream);
}

template void probability_flow(const ProbabilityFlowArguments<float>&, Stream);
template void probability_flow(const ProbabilityFlowArguments<double>&, Stream);

}  // namespace tk::cuda
