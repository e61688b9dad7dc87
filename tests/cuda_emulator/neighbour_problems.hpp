// Problems of the neighbour kernels.
#pragma once

#include "problems.hpp"

namespace {

// Points in leaves with the memory that a set of them points to.
template <class S>
struct Points {
    std::vector<S> x, leaves, bounds;
    std::vector<std::int32_t> order;
    tk::PointSet<S> set;

    Points(Numbers& random, std::int64_t n, std::int64_t dim, std::int64_t leaf, bool tree)
        : x(random.vector<S>(n * dim)) {
        for (S& number : x) number = std::round(8 * number);  // with ties
        const std::int64_t count = (n + leaf - 1) / leaf;
        leaves.resize(static_cast<std::size_t>(count * leaf * dim));
        order.resize(static_cast<std::size_t>(n));
        if (tree && n > 0) bounds.resize(static_cast<std::size_t>((2 * count - 1) * 2 * dim));
        S* const boxes = bounds.empty() ? nullptr : bounds.data();
        set = {.n = n, .dim = dim, .leaf = leaf, .points = leaves.data(), .order = order.data(), .bounds = boxes};
        tk::cuda::neighbours_build<S>({.n = n,
                                       .dim = dim,
                                       .leaf = leaf,
                                       .scale = S(0.5),
                                       .x = x.data(),
                                       .points = leaves.data(),
                                       .order = order.data(),
                                       .bounds = boxes},
                                      nullptr);
    }
};

// Own neighbours and those of other points, and counts.
template <class S>
void neighbours(Numbers& random, std::int64_t n, std::int64_t m, std::int64_t dim, std::int64_t leaf, bool tree,
                bool max_norm, std::int64_t k) {
    const Points<S> data(random, n, dim, leaf, tree), queries(random, m, dim, leaf, true);
    std::uint64_t hashes = hash(data.bounds, hash(data.leaves, hash(data.order)));
    for (const Points<S>* asked : {&data, &queries}) {
        std::vector<S> distances(static_cast<std::size_t>(asked->set.n * k));
        std::vector<std::int64_t> indices(distances.size()), pairs(1), counts(static_cast<std::size_t>(asked->set.n));
        const auto radius = random.vector<S>(asked->set.n, 1.0);
        for (std::int64_t* chosen : {indices.data(), static_cast<std::int64_t*>(nullptr)}) {
            tk::cuda::neighbours_search<S>({.data = data.set,
                                            .queries = asked->set,
                                            .own = asked == &data,
                                            .max_norm = max_norm,
                                            .k = k,
                                            .scale = S(0.5),
                                            .upper = S(9),
                                            .distances = distances.data(),
                                            .indices = distances.empty() ? nullptr : chosen,
                                            .pairs = pairs.data()},
                                           nullptr);
            hashes = hash(distances, hash(indices, hash(pairs, hashes)));
        }
        tk::cuda::neighbours_count<S>({.data = data.set,
                                       .queries = asked->set,
                                       .max_norm = max_norm,
                                       .strict = tree,
                                       .scale = S(0.5),
                                       .radius = radius.data(),
                                       .counts = counts.data()},
                                      nullptr);
        hashes = hash(counts, hashes);
    }
    std::printf("neighbours %zu %lld %lld %lld %016llx\n", sizeof(S), static_cast<long long>(n),
                static_cast<long long>(dim), static_cast<long long>(k), static_cast<unsigned long long>(hashes));
}

}  // namespace
