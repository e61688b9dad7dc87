// Whole trajectories, one tile of paths at a time, each in registers from its first node to its last. The kernels of a
// kind of scores are a file of their own, for they take long to compile.
#pragma once

#include "sources.hpp"
#include "trajectory_parts.hpp"

TK_BEGIN_NAMESPACE

template <class S>
bool trajectory_of_networks(const TrajectoryArguments<S>&, int threads, Interrupt);
// Two mixtures with the same components and different weights, or with nothing in common.
template <bool Isotropic, class S>
bool trajectory_of_shared(const TrajectoryArguments<S>&, int threads, Interrupt);
template <bool Isotropic, class S>
bool trajectory_of_mixtures(const TrajectoryArguments<S>&, int threads, Interrupt);

template <class S, class Scores, class D>
static bool run_tiles(const TrajectoryArguments<S>& arguments, const Scores& scores, D, std::int64_t scratch_size,
                      double work, int threads, Interrupt interrupt) {
    const TrajectorySettings<S> settings = settings_of(arguments);
    const double path_work = work * static_cast<double>(arguments.n_nodes);
    const Buffer<Native<S>> scratch(threads * scratch_size);
    const Split<S> split(arguments, threads);
    const auto tile = [&](std::int64_t begin, std::int64_t first, int thread) {
        const int dim = D::value(arguments.dim);
        Native<S> x[D::bound];
        gather<S>(arguments.x, arguments.n, dim, first, x);
        const PathIndex<Native<S>> path = path_index<S>(arguments.path_offset + static_cast<std::uint64_t>(first));
        Native<S>* own_scratch = scratch.get() + thread * scratch_size;
        const TileParts<S> parts = split.begin(begin, first, thread);
        const PathSums<Native<S>> sums = run_path(settings, scores, parts, dim, path, own_scratch, x);
        split.keep(parts, first);
        scatter<S>(&sums.value, arguments.n, 1, first, arguments.value);
        scatter<S>(&sums.mismatch, arguments.n, 1, first, arguments.mismatch);
        scatter<S>(x, arguments.n, dim, first, arguments.x_last);
        if (arguments.coarse == nullptr) return;
        const Native<S> coarse[2] = {sums.two, sums.four};
        scatter<S>(coarse, arguments.n, 2, first, arguments.coarse);
    };
    const auto tiles = [&](std::int64_t begin, int thread) {
        for (std::int64_t first = begin; first < begin + split.size() && first < arguments.n; first += lanes<S>)
            tile(begin, first, thread);
        split.end(begin, thread);
    };
    if (!for_each_stretch(arguments.n, split.size(), path_work, threads, interrupt, tiles)) return false;
    split.merge();
    return true;
}

template <bool Isotropic, class S>
bool trajectory_of_shared(const TrajectoryArguments<S>& arguments, int threads, Interrupt interrupt) {
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const MixtureTable<S> table(model, arguments.dim, arguments.n_nodes, Isotropic, reference.weights);
    const double work = mixture_work(model.components + reference.components, arguments.dim);
    return with_dim<Isotropic, S>(arguments.dim, [&](auto d) {
        const SharedMixtures<S, Isotropic, decltype(d)::bound> scores{table.rows(), static_cast<int>(model.components)};
        return run_tiles(arguments, scores, d, 0, work, threads, interrupt);
    });
}

template <bool Isotropic, class S>
bool trajectory_of_mixtures(const TrajectoryArguments<S>& arguments, int threads, Interrupt interrupt) {
    return with_dim<Isotropic, S>(arguments.dim, [&](auto dim) {
        return with_mixtures<Isotropic>(arguments, dim, [&](const auto& scores, auto d, double work) {
            return run_tiles(arguments, scores, d, 0, work, threads, interrupt);
        });
    });
}

#define TK_ELSEWHERE(S)                                                                               \
    extern template bool trajectory_of_networks(const TrajectoryArguments<S>&, int, Interrupt);       \
    extern template bool trajectory_of_shared<true>(const TrajectoryArguments<S>&, int, Interrupt);   \
    extern template bool trajectory_of_shared<false>(const TrajectoryArguments<S>&, int, Interrupt);  \
    extern template bool trajectory_of_mixtures<true>(const TrajectoryArguments<S>&, int, Interrupt); \
    extern template bool trajectory_of_mixtures<false>(const TrajectoryArguments<S>&, int, Interrupt);
TK_ELSEWHERE(float)
TK_ELSEWHERE(double)
#undef TK_ELSEWHERE

TK_END_NAMESPACE
