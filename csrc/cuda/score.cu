#include "kernels.hpp"
#include "mixture_table.cuh"
#include "network_tile.cuh"

namespace tk::cuda {

template <bool Isotropic, class S>
static void mixture(const MixtureArguments& arguments, const ScoreOutputs<S>& out, cudaStream_t stream) {
    const MixtureTable<S> table(arguments, out.dim, 1, Isotropic, stream);
    with_dim<Isotropic>(out.dim, [&](auto d) {
        using D = decltype(d);
        constexpr int fixed = D::bound == max_dim ? 0 : D::bound;
        launch("mixture score", mixture_score_kernel<S, Isotropic, fixed>, blocks_for(out.n, mixture_threads),
               mixture_threads, 0, stream, table.rows(), table.components(), out);
    });
}

template <class S>
static void network(const MlpArguments<S>& arguments, const ScoreOutputs<S>& out, cudaStream_t stream) {
    const MlpView<S> view = mlp_view(arguments, out.dim);
    const NetworkTile tile = network_tile<S>(widest(view), view.dim, true, 0);
    const BlockMlp<S> source{{view, tile, true}};
    launch("network score", network_score_kernel<S>, blocks_for(out.n, tile.paths), network_threads,
           static_cast<std::size_t>(tile.size) * sizeof(S), stream, source, out);
}

template <class S>
void score(const ScoreArguments<S>& arguments, Stream given) {
    const ScoreSource<S>& source = arguments.source;
    const ScoreOutputs<S>& out = arguments.out;
    const auto stream = static_cast<cudaStream_t>(given);
    if (out.n == 0) return;
    if (source.is_mlp) return network(source.mlp, out, stream);
    if (is_isotropic(source.mixture, out.dim)) return mixture<true>(source.mixture, out, stream);
    mixture<false>(source.mixture, out, stream);
}

template void score(const ScoreArguments<float>&, Stream);
template void score(const ScoreArguments<double>&, Stream);

}  // namespace tk::cuda
