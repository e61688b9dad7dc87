#include "kernels.hpp"
#include "launch.cuh"
#include "neighbours_search.cuh"

namespace tk::cuda {

// Points without their tree where the queries have none: a block's box is that of its leaf of queries.
template <class S>
static PointSet<S> points_for(const PointSet<S>& data, const PointSet<S>& queries) {
    PointSet<S> points = data;
    if (queries.bounds == nullptr) points.bounds = nullptr;
    return points;
}

// Numbers of axes that have kernels of their own; the coordinates of more would not fit the registers.
template <class Axes>
constexpr int known_axes = Axes::value <= 3 ? Axes::value : 0;

template <class S>
void neighbours_search(const NeighboursSearchArguments<S>& arguments, Stream given) {
    NeighboursSearchArguments<S> a = arguments;
    a.data = points_for(a.data, a.queries);
    const auto stream = static_cast<cudaStream_t>(given);
    const std::int64_t leaf = a.data.leaf, no_pairs = 0;
    copy_to_device(a.pairs, &no_pairs, 1, stream);
    if (a.queries.n == 0) return;
    with_norm(a.max_norm, a.data.dim, [&](auto norm, auto axes) {
        constexpr bool max_norm = decltype(norm)::value;
        constexpr int dim = known_axes<decltype(axes)>;
        launch(
            "neighbours",
            a.k <= register_list ? search_kernel<S, max_norm, dim, register_list> : search_kernel<S, max_norm, dim, 0>,
            blocks_for(a.queries.n, leaf), static_cast<unsigned>(leaf), tile_size<dim>(leaf) * sizeof(S), stream, a,
            largest_measure(a.upper, a.scale, max_norm, false));
    });
}

template <class S>
void neighbours_count(const NeighboursCountArguments<S>& arguments, Stream given) {
    NeighboursCountArguments<S> a = arguments;
    a.data = points_for(a.data, a.queries);
    if (a.queries.n == 0) return;
    with_norm(a.max_norm, a.data.dim, [&](auto norm, auto axes) {
        constexpr int dim = known_axes<decltype(axes)>;
        launch("neighbours, counts", count_kernel<S, decltype(norm)::value, dim>, blocks_for(a.queries.n, a.data.leaf),
               static_cast<unsigned>(a.data.leaf), tile_size<dim>(a.data.leaf) * sizeof(S),
               static_cast<cudaStream_t>(given), a);
    });
}

template void neighbours_search(const NeighboursSearchArguments<float>&, Stream);
template void neighbours_search(const NeighboursSearchArguments<double>&, Stream);
template void neighbours_count(const NeighboursCountArguments<float>&, Stream);
template void neighbours_count(const NeighboursCountArguments<double>&, Stream);

}  // namespace tk::cuda
