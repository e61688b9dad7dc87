#include "kernels.hpp"
#include "mlp_gap.cuh"
#include "network_tile.cuh"

namespace tk::cuda {

template <class S>
void mlp_gap(const MlpGapArguments<S>& a, Stream stream) {
    if (a.n == 0) return;
    const MlpView<S> view = mlp_view(a.mlp, a.dim);
    const int widest_layer = widest(view) > view.dim ? widest(view) : view.dim;
    const int features = static_cast<int>(a.level_size + a.condition_size);
    const NetworkTile tile = network_tile<S>(widest_layer, view.dim, false, features + (a.residual ? widest_layer : 0));
    const int points = tile.paths / static_cast<int>(a.conditions);
    if (points == 0) throw std::runtime_error("cuda: the network under so many conditions does not fit into a block");
    launch("differences of a network's scores", mlp_gap_kernel<S>, blocks_for(a.n, points), network_threads,
           static_cast<std::size_t>(tile.size) * sizeof(S), static_cast<cudaStream_t>(stream), a,
           BlockMlp<S>{{view, tile, false}}, points);
}

template void mlp_gap(const MlpGapArguments<float>&, Stream);
template void mlp_gap(const MlpGapArguments<double>&, Stream);

}  // namespace tk::cuda
