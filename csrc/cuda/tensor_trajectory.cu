#include <list>

#include "kernels.hpp"
#include "settings.cuh"
#include "tensor_network.cuh"

namespace tk::cuda {

bool wants_tensor_cores(const TrajectoryArguments<float>& arguments) {
    for (const ScoreSource<float>* source : {&arguments.model, &arguments.reference})
        if (source->is_mlp && source->mlp.products != Products::fp32) return true;
    return false;
}

// How the networks multiply, both alike.
static Products products_of(const TrajectoryArguments<float>& arguments) {
    const ScoreSource<float>&model = arguments.model, &reference = arguments.reference;
    if (model.is_mlp && reference.is_mlp && model.mlp.products != reference.mlp.products)
        throw std::invalid_argument("products: expected the same of model and reference");
    return (model.is_mlp ? model : reference).mlp.products;
}

// The matrices of networks in shares of lanes, on the device for as long as this lives.
class MatrixTable {
 public:
    MatrixTable(Products products, cudaStream_t stream) : products_(products), stream_(stream) {}
    const MatrixWords* add(const float* matrix, int rows, int columns) {
        const MatrixShares shares = matrix_shares(products_, rows, columns);
        MatrixWords* const words = matrices_.emplace_back(shares.count, stream_).get();
        launch("matrix words", matrix_words_kernel, blocks_for(shares.count, network_threads), network_threads, 0,
               stream_, products_, matrix, shares, words);
        return words;
    }

 private:
    Products products_;
    cudaStream_t stream_;
    std::list<Buffer<MatrixWords>> matrices_;
};

template <class Scores>
static void follow(const TrajectoryArguments<float>& arguments, const Scores& scores, const NetworkTile& tile,
                   cudaStream_t stream) {
    constexpr const char* name = "tensor trajectory";
    const auto kernel = tensor_trajectory_kernel<Scores>;
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, kernel), name);
    if (attributes.ptxVersion < 80)
        throw std::runtime_error(
            "cuda: products: tensor cores take TF32 and bfloat16 from compute capability 8.0 on; "
            "choose products=\"fp32\", or build for the device's own architecture");
    const std::size_t bytes = static_cast<std::size_t>(tile.size) * sizeof(float);
    const unsigned tiles = blocks_for(arguments.n, tile.paths);
    const unsigned resident = resident_blocks(name, kernel, network_threads, bytes);
    launch(name, kernel, tiles < resident ? tiles : resident, network_threads, bytes, stream, settings_of(arguments),
           scores, paths_of(arguments), tile.paths, tiles);
}

void tensor_trajectory(const TrajectoryArguments<float>& arguments, cudaStream_t stream) {
    const Products products = products_of(arguments);
    const bool with_divergence = arguments.divergence_weight != 0.0f;
    const NetworkTile tile =
        tensor_tile(products, widest_network(arguments), static_cast<int>(arguments.dim), with_divergence);
    MatrixTable matrices(products, stream);
    const auto network = [&](const ScoreSource<float>& source) {
        TensorMlp made{{mlp_view(source.mlp, arguments.dim), tile, with_divergence}, products, {}};
        for (int l = 1; l < made.view.hidden_layers; ++l)
            made.shares[l] = matrices.add(made.view.weights[l], made.view.widths[l], made.view.widths[l - 1]);
        return made;
    };
    with_sources(arguments, tile, network, stream,
                 [&](const auto& scores) { follow(arguments, scores, tile, stream); });
}

}  // namespace tk::cuda
