// Nearest neighbours and counts. A block of threads takes a leaf of queries, one each; the leaves of points that
// matter, or all of them, come through shared memory one after another, where all threads read the same numbers at
// once. Measures, and so distances and ties, are those of core/neighbours.hpp.
#pragma once

#include "../core/arguments.hpp"
#include "../core/neighbours.hpp"
#include "neighbours_lists.cuh"
#include "neighbours_walk.cuh"
#include "packs.cuh"

namespace tk::cuda {

// Where the number of axes is known at run time only, a leaf comes in pieces of so many points and axes.
constexpr int tile_points = 32, tile_axes = 32;

// Points that a thread measures side by side.
template <class S>
constexpr int columns = 64 / static_cast<int>(sizeof(S));

// Blocks of the largest leaf that a multiprocessor should hold at once, so that registers are not spilled to save a
// few.
template <int Dim>
constexpr int leaves_at_once = Dim > 0 ? 2 : 1;

template <int Dim>
TK_HD constexpr int tile_size(std::int64_t leaf) {
    return Dim > 0 ? Dim * static_cast<int>(leaf) : tile_points * tile_axes;
}

// A thread's query, in registers if there is a number of axes for it. Threads past the last query have one too, of
// infinite coordinates.
template <class S, int Dim>
class Query {
 public:
    __device__ explicit Query(const PointSet<S>& set)
        : leaf_(static_cast<int>(set.leaf)), x_(set.points + blockIdx.x * set.dim * set.leaf + threadIdx.x) {
        TK_UNROLL
        for (int axis = 0; axis < Dim; ++axis) kept_[axis] = x_[axis * leaf_];
    }
    __device__ S operator[](int axis) const {
        if constexpr (Dim > 0)
            return kept_[axis];
        else
            return x_[axis * leaf_];
    }

 private:
    int leaf_;
    const S* x_;
    S kept_[Dim > 0 ? Dim : 1];
};

// Where the answer to a thread's query goes; −1 past the last query.
template <class S>
__device__ std::int64_t row_of(const PointSet<S>& queries) {
    const std::int64_t place = blockIdx.x * queries.leaf + threadIdx.x;
    return place < queries.n ? queries.order[place] : -1;
}

// count numbers to shared memory, the i-th from number(i), between two barriers.
template <class S, class Number>
__device__ void stage(S* tile, int count, const Number& number) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) tile[i] = number(i);
    __syncthreads();
}

// The measures of a leaf's points from a query, if the thread wants them: visit(first, s) for `columns` of them at a
// time. All threads of a block call it together.
template <bool Maximum, int Dim, class S, class Visit>
__device__ void measure_leaf(const PointSet<S>& data, std::int64_t leaf, const Query<S, Dim>& query, bool wanted,
                             S* tile, const Visit& visit) {
    const int size = static_cast<int>(data.leaf), dim = static_cast<int>(data.dim);
    const S* points = data.points + leaf * dim * size;
    if constexpr (Dim > 0) {
        stage(tile, Dim * size, [&](int i) { return points[i]; });
        for (int first = 0; wanted && first < size; first += columns<S>) {
            S s[columns<S>], x[Dim][columns<S>];
            TK_UNROLL
            for (int axis = 0; axis < Dim; ++axis) load_packs<columns<S>>(tile + axis * size + first, x[axis]);
            const auto difference = [&](int axis, int c) { return query[axis] - x[axis][c]; };
            measure<Maximum, Dim, columns<S>>(Dim, difference, [](const S*) { return false; }, s);
            visit(first, s);
        }
    } else {
        constexpr int pack = 16 / static_cast<int>(sizeof(S));
        const auto number = [&](const S* row, int c) {
            return reinterpret_cast<const Pack<S>*>(row)[c / pack].numbers[c % pack];
        };
        for (int piece = 0; piece < size; piece += tile_points) {
            S s[tile_points] = {};
            for (int begin = 0; begin < dim; begin += tile_axes) {
                const int axes = minimum(dim - begin, tile_axes);
                const S* corner = points + begin * size + piece;
                stage(tile, axes * tile_points,
                      [&](int i) { return corner[i / tile_points * size + i % tile_points]; });
                for (int axis = 0; wanted && axis < axes; axis += axis_block) {
                    TK_UNROLL
                    for (int first = 0; first < tile_points; first += columns<S>) {
                        const auto difference = [&](int i, int c) {
                            return query[begin + i] - number(tile + i * tile_points + first, c);
                        };
                        add_axes<Maximum, columns<S>>(axis, axes - axis, difference, s + first);
                    }
                }
            }
            if (!wanted) continue;
            TK_UNROLL
            for (int first = 0; first < tile_points; first += columns<S>) visit(piece + first, s + first);
        }
    }
}

// Bit c is set where measure c is at most `limit`.
template <class S>
__device__ unsigned near_bits(const S* s, S limit) {
    unsigned bits = 0;
    TK_UNROLL
    for (int c = 0; c < columns<S>; ++c) bits |= s[c] <= limit ? 1u << c : 0u;
    return bits;
}

// s[c], of numbers in registers.
template <class S>
__device__ S picked(const S* s, int c) {
    S value = s[0];
    TK_UNROLL
    for (int j = 1; j < columns<S>; ++j) value = c == j ? s[j] : value;
    return value;
}

// Length: of the list in registers, at least k; 0: the list is a heap in the row of the output.
template <class S, bool Maximum, int Dim, int Length>
__global__ void __launch_bounds__(largest_leaf, leaves_at_once<Dim>)
    search_kernel(const __grid_constant__ NeighboursSearchArguments<S> a, S bound) {
    TK_DYN_SHARED(S, tile);
    TK_SHARED(Descent<S>, descent);
    const Query<S, Dim> query(a.queries);
    const std::int64_t row = row_of(a.queries), own = a.own ? static_cast<std::int64_t>(blockIdx.x) : -1;
    const int thread = static_cast<int>(threadIdx.x);
    NearestList<S, Length> list(a, row);
    S kth = row >= 0 ? bound : S(-1);  // of this and less are the measures that matter
    TreeWalk<S, Maximum, Dim> walk(a.data, a.queries, own, descent);
    while (walk.next_near(kth)) {
        const bool wanted = walk.nearest_of_box(query) <= kth;
        const std::int32_t* order = a.data.order + walk.leaf() * a.data.leaf;
        measure_leaf<Maximum>(a.data, walk.leaf(), query, wanted, tile, [&](int first, const S* s) {
            unsigned near = near_bits(s, kth);
            if (walk.leaf() == own && thread / columns<S> * columns<S> == first) near &= ~(1u << (thread - first));
            for (; near != 0; near &= near - 1) {
                const int c = __ffs(static_cast<int>(near)) - 1;
                const S value = picked(s, c);
                if (value > kth) continue;
                list.offer(value, order[first + c]);
                kth = minimum(kth, list.worst());
            }
        });
    }
    if (row >= 0) list.template write<Maximum>();
    if (thread == 0) {
        const std::int64_t queries = minimum(a.data.leaf, a.queries.n - blockIdx.x * a.queries.leaf);
        atomicAdd(reinterpret_cast<unsigned long long*>(a.pairs),
                  static_cast<unsigned long long>(walk.leaves_taken() * a.data.leaf * queries));
    }
}

template <class S, bool Maximum, int Dim>
__global__ void __launch_bounds__(largest_leaf, leaves_at_once<Dim>)
    count_kernel(const __grid_constant__ NeighboursCountArguments<S> a) {
    TK_DYN_SHARED(S, tile);
    TK_SHARED(Descent<S>, descent);
    const Query<S, Dim> query(a.queries);
    const std::int64_t row = row_of(a.queries);
    const S limit = row >= 0 ? largest_measure(a.radius[row], a.scale, Maximum, !a.strict) : S(-1);
    std::int64_t count = 0;
    TreeWalk<S, Maximum, Dim> walk(a.data, a.queries, -1, descent);
    while (walk.next_within(limit, row >= 0)) {
        const bool within = walk.farthest_of_box(query) <= limit;
        const bool wanted = !within && walk.nearest_of_box(query) <= limit;
        if (within) count += walk.points();
        measure_leaf<Maximum>(a.data, walk.leaf(), query, wanted, tile,
                              [&](int, const S* s) { count += __popc(near_bits(s, limit)); });
    }
    if (row >= 0) a.counts[row] = count + walk.whole();
}

}  // namespace tk::cuda
