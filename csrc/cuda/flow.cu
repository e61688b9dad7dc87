#include <cmath>
#include <vector>

#include "flow.cuh"
#include "kernels.hpp"
#include "launch.cuh"
#include "network_tile.cuh"

namespace tk::cuda {

template <class S>
static FlowPoints<S> points_of(const FlowArguments<S>& arguments) {
    return {arguments.n,          static_cast<int>(arguments.dim),
            arguments.levels,     reinterpret_cast<const FlowNode<S>*>(arguments.table),
            arguments.rtol,       arguments.atol,
            arguments.x,          arguments.x_last,
            arguments.divergence, arguments.evaluations,
            arguments.status};
}

template <bool Isotropic, class S>
static void mixture(const FlowArguments<S>& arguments, cudaStream_t stream) {
    const MixtureArguments& mixture = arguments.score.mixture;
    const std::int64_t components = mixture.components, size = components * arguments.dim;
    std::vector<S> packed;
    packed.reserve(static_cast<std::size_t>(2 * size + components + 2 * arguments.n_nodes));
    const Buffer<S> numbers(2 * size + components + 2 * arguments.n_nodes, stream);
    const auto pack = [&](const double* from, std::int64_t count) {
        const S* at = numbers.get() + packed.size();
        for (std::int64_t i = 0; i < count; ++i) packed.push_back(static_cast<S>(from[i]));
        return at;
    };
    std::vector<double> log2_weights;
    for (std::int64_t c = 0; c < components; ++c) {
        const double weight = std::log2(mixture.weights[c]);
        log2_weights.push_back(weight < -1e30 ? -1e30 : weight);  // a weight may be zero
    }
    const S* means = pack(mixture.means, size);
    const S* variances = pack(mixture.variances, size);
    const MixtureView<S> view{means, variances, pack(log2_weights.data(), components), static_cast<int>(components)};
    const S* mean_scale = pack(mixture.mean_scale, arguments.n_nodes);
    const S* variance = pack(mixture.variance, arguments.n_nodes);
    copy_to_device(numbers.get(), packed.data(), static_cast<std::int64_t>(packed.size()), stream);
    with_dim<Isotropic>(arguments.dim, [&](auto d) {
        constexpr int bound = decltype(d)::bound, fixed = bound == max_dim ? 0 : bound;
        launch("mixture flow", mixture_flow_kernel<S, Isotropic, fixed>, blocks_for(arguments.n, mixture_threads),
               mixture_threads, 0, stream, MixtureFlow<S, Isotropic, bound>{view, mean_scale, variance},
               points_of(arguments), dormand_prince<S>);
    });
}

template <class S>
static void network(const FlowArguments<S>& arguments, cudaStream_t stream) {
    const MlpArguments<S>& mlp = arguments.score.mlp;
    const NetworkTile tile = network_tile<S>(widest(mlp), static_cast<int>(arguments.dim), true, 1);
    const BlockMlpFlow<S> field{{mlp_view(mlp, arguments.dim), tile, true}};
    launch("network flow", network_flow_kernel<S>, blocks_for(arguments.n, tile.paths), network_threads,
           static_cast<std::size_t>(tile.size) * sizeof(S), stream, field, points_of(arguments), dormand_prince<S>);
}

template <class S>
void flow(const FlowArguments<S>& arguments, Stream given) {
    const auto stream = static_cast<cudaStream_t>(given);
    if (arguments.n == 0) return;
    if (arguments.score.is_mlp) return network(arguments, stream);
    if (is_isotropic(arguments.score.mixture, arguments.dim)) return mixture<true>(arguments, stream);
    mixture<false>(arguments, stream);
}

template void flow(const FlowArguments<float>&, Stream);
template void flow(const FlowArguments<double>&, Stream);

}  // namespace tk::cuda
