#include <utility>

#include "kernels.hpp"
#include "launch.cuh"
#include "neighbours_build.cuh"
#include "sort.cuh"

namespace tk::cuda {

static unsigned build_blocks(std::int64_t items) {
    const std::int64_t most = 16 * 1024 * build_threads;  // the grid strides over the rest
    return blocks_for(minimum(items, most), build_threads);
}

// Sorts points into the leaves of the tree, and fills its boxes.
template <class S>
static void plant(const NeighboursBuildArguments<S>& a, cudaStream_t stream) {
    const std::int64_t leaves = leaf_count(a.n, a.leaf);
    const Buffer<S> boxes(leaves * 2 * a.dim, stream);
    const Buffer<std::int32_t> other_order(a.n, stream);
    const Buffer<std::uint64_t> keys(a.n, stream), other_keys(a.n, stream);
    std::int32_t *order = a.order, *other = other_order.get();
    for (int level = 0;; ++level) {
        launch("boxes of leaves", leaf_box_kernel<S>, build_blocks(leaves * a.dim), build_threads, 0, stream, a, order,
               boxes.get());
        launch("boxes of nodes", node_box_kernel<S>, blocks_for((std::int64_t(1) << level) * a.dim, 1), box_threads, 0,
               stream, a, level, boxes.get());
        if (std::int64_t(1) << level >= leaves) break;  // all nodes of this level are leaves
        launch("keys of points", key_kernel<S>, build_blocks(a.n), build_threads, 0, stream, a, level, order,
               keys.get());
        sort_pairs(keys.get(), other_keys.get(), order, other, a.n, stream);
        std::swap(order, other);
    }
    if (order != a.order) copy_on_device(a.order, order, a.n, stream);
}

template <class S>
void neighbours_build(const NeighboursBuildArguments<S>& a, Stream given) {
    if (a.n == 0) return;
    const auto stream = static_cast<cudaStream_t>(given);
    launch("numbers of points", number_kernel, build_blocks(a.n), build_threads, 0, stream, a.n, a.order);
    if (a.bounds != nullptr) plant(a, stream);
    const std::int64_t places = leaf_count(a.n, a.leaf) * a.leaf * a.dim;
    launch("points to leaves", arrange_kernel<S>, build_blocks(places), build_threads, 0, stream, a, places);
}

template void neighbours_build(const NeighboursBuildArguments<float>&, Stream);
template void neighbours_build(const NeighboursBuildArguments<double>&, Stream);

}  // namespace tk::cuda
