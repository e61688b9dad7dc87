// What the neighbour kernels of every machine are given: plain pointers and sizes, checked by the bindings.
#pragma once

#include <cstdint>

namespace tk {

// Points in leaves, each a structure of arrays with infinity past its end: kdtree.hpp.
template <class S>
struct PointSet {
    std::int64_t n, dim, leaf;  // leaf: capacity, a multiple of leaf_unit
    const S* points;            // (leaves, dim, leaf), times the scale
    const std::int32_t* order;  // (n,): which point stands where
    const S* bounds;            // (2 leaves − 1, 2, dim): the nodes' boxes; null: no tree, all pairs
};
constexpr std::int64_t leaf_unit = 64, largest_leaf = 256, largest_list = 64;

template <class S>
struct BuildArguments {
    std::int64_t n, dim, leaf;
    S scale;              // a power of two that every coordinate is multiplied with
    const S* x;           // (n, dim)
    S* points;            // as in PointSet
    std::int32_t* order;  // as in PointSet
    S* bounds;            // as in PointSet; null: the points stay in their order
};

template <class S>
struct NeighbourArguments {
    PointSet<S> data, queries;
    bool own;  // the queries are the data, each point itself left out
    bool max_norm;
    std::int64_t k;
    S scale, upper;         // only distances below `upper`
    S* distances;           // (queries, k)
    std::int64_t* indices;  // (queries, k), or null
    std::int64_t* pairs;    // (1,): distances that were computed
};

template <class S>
struct CountArguments {
    PointSet<S> data, queries;
    bool max_norm, strict;
    S scale;
    const S* radius;       // (queries,)
    std::int64_t* counts;  // (queries,)
};

}  // namespace tk
