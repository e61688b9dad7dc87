// The neighbour kernels under ThreadSanitizer, without Python: two threads against one. Exits with 1 where they differ.
#include <cstdio>
#include <vector>

#include "../csrc/cpu/kernels.hpp"

#define TK_ISA baseline
namespace tk {
inline namespace baseline {
template <class S>
bool neighbours_build(const NeighboursBuildArguments<S>&, int threads, Interrupt);
template <class S>
bool neighbours_search(const NeighboursSearchArguments<S>&, int threads, Interrupt);
template <class S>
bool neighbours_count(const NeighboursCountArguments<S>&, int threads, Interrupt);
}  // namespace baseline
}  // namespace tk

namespace {

using tk::PointSet;

const tk::Interrupt never{[](void*) { return false; }, nullptr};

struct Answers {
    std::vector<float> distances;
    std::vector<std::int64_t> indices, counts;
    bool operator==(const Answers&) const = default;
};

Answers answers(std::int64_t n, std::int64_t dim, std::int64_t k, bool tree, int threads) {
    const std::int64_t leaf = 64, leaves = (n + leaf - 1) / leaf;
    std::vector<float> x(static_cast<std::size_t>(n * dim)), points(static_cast<std::size_t>(leaves * leaf * dim)),
        bounds(static_cast<std::size_t>((2 * leaves - 1) * 2 * dim));
    std::uint32_t state = 1;
    for (float& value : x) {
        state = 1664525u * state + 1013904223u;
        value = static_cast<float>(state >> 8) / 16777216.0f;
    }
    std::vector<std::int32_t> order(static_cast<std::size_t>(n));
    float* boxes = tree ? bounds.data() : nullptr;
    tk::neighbours_build<float>({n, dim, leaf, 1.0f, x.data(), points.data(), order.data(), boxes}, threads, never);
    const PointSet<float> set{n, dim, leaf, points.data(), order.data(), boxes};
    Answers out{std::vector<float>(static_cast<std::size_t>(n * k)),
                std::vector<std::int64_t>(static_cast<std::size_t>(n * k)),
                std::vector<std::int64_t>(static_cast<std::size_t>(n))};
    std::int64_t pairs = 0;
    tk::neighbours_search<float>(
        {set, set, true, false, k, 1.0f, 1e30f, out.distances.data(), out.indices.data(), &pairs}, threads, never);
    const std::vector<float> radius(static_cast<std::size_t>(n), 0.2f);
    tk::neighbours_count<float>({set, set, false, false, 1.0f, radius.data(), out.counts.data()}, threads, never);
    return out;
}

}  // namespace

int main() {
    bool same = true;
    for (const std::int64_t dim : {1, 2, 3, 9})
        for (const std::int64_t k : {3, 40, 100})
            for (const bool tree : {true, false})
                same = same && answers(2'000, dim, k, tree, 2) == answers(2'000, dim, k, tree, 1);
    std::puts(same ? "the same" : "DIFFERENT");
    return same ? 0 : 1;
}
