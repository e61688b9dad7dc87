// Whole trajectories, one tile of paths at a time, each in registers from its first node to its last.
#include "sources.hpp"

TK_BEGIN_NAMESPACE

template <class S, class Scores, class D>
static bool run(const TrajectoryArguments<S>& arguments, const Scores& scores, D, std::int64_t scratch_size,
                double work, int threads, Interrupt interrupt) {
    const TrajectorySettings<S> settings = settings_of(arguments);
    const double path_work = work * static_cast<double>(arguments.n_nodes);
    const Buffer<Native<S>> scratch(threads * scratch_size);
    const auto tile = [&](std::int64_t first, int thread) {
        const int dim = D::value(arguments.dim);
        Native<S> x[D::bound];
        gather<S>(arguments.x, arguments.n, dim, first, x);
        const PathIndex<Native<S>> path = path_index<S>(arguments.path_offset + static_cast<std::uint64_t>(first));
        Native<S>* own_scratch = scratch.get() + thread * scratch_size;
        const PathSums<Native<S>> sums = run_path(settings, scores, NoObserver{}, dim, path, own_scratch, x);
        scatter<S>(&sums.value, arguments.n, 1, first, arguments.value);
        scatter<S>(&sums.mismatch, arguments.n, 1, first, arguments.mismatch);
        scatter<S>(x, arguments.n, dim, first, arguments.x_last);
    };
    return for_each_tile<S>(arguments.n, path_work, threads, interrupt, tile);
}

template <bool Isotropic, class S>
static bool run_mixtures(const TrajectoryArguments<S>& arguments, bool shared, int threads, Interrupt interrupt) {
    if (!shared)
        return with_dim<S>(arguments.dim, [&](auto dim) {
            return with_mixtures<Isotropic>(arguments, dim, [&](const auto& scores, auto d, double work) {
                return run(arguments, scores, d, 0, work, threads, interrupt);
            });
        });
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const MixtureTable<S> table(model, arguments.dim, arguments.n_nodes, Isotropic, reference.weights);
    const double work = mixture_work(model.components + reference.components, arguments.dim);
    return with_dim<S>(arguments.dim, [&](auto d) {
        const SharedMixtures<S, Isotropic, decltype(d)::bound> scores{table.rows(), static_cast<int>(model.components)};
        return run(arguments, scores, d, 0, work, threads, interrupt);
    });
}

template <class S>
bool trajectory(const TrajectoryArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.n == 0) return true;
    if (arguments.model.is_mlp || arguments.reference.is_mlp) {
        const bool with_divergence = arguments.divergence_weight != S(0);
        return with_networks(arguments, with_divergence, [&](auto scores, std::int64_t scratch, double work) {
            return run(arguments, scores, Dim<0>{}, scratch, work, threads, interrupt);
        });
    }
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const bool shared = share_components(model, reference, arguments.dim, arguments.n_nodes);
    const bool isotropic = is_isotropic(model, arguments.dim) && is_isotropic(reference, arguments.dim);
    return isotropic ? run_mixtures<true>(arguments, shared, threads, interrupt)
                     : run_mixtures<false>(arguments, shared, threads, interrupt);
}

template bool trajectory(const TrajectoryArguments<float>&, int, Interrupt);
template bool trajectory(const TrajectoryArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
