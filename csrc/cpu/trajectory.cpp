// Whole trajectories, one tile of paths at a time, each in registers from its first node to its last.
#include "sources.hpp"

TK_BEGIN_NAMESPACE

template <class S, class Scores, class D>
static bool run(const TrajectoryArguments<S>& arguments, const Scores& scores, D, std::int64_t scratch_size,
                double work, int threads, Interrupt interrupt) {
    const TrajectorySettings<S> settings{reinterpret_cast<const Node<S>*>(arguments.steps),
                                         arguments.n_nodes,
                                         arguments.divergence_weight,
                                         arguments.sampler,
                                         arguments.reverse,
                                         arguments.seed};
    const double path_work = work * static_cast<double>(arguments.n_nodes);
    const Buffer<Native<S>> scratch(threads * scratch_size);
    const auto tile = [&](std::int64_t first, int thread) {
        const int dim = D::value(arguments.dim);
        Native<S> x[D::bound];
        gather<S>(arguments.x, arguments.n, dim, first, x);
        const PathIndex<Native<S>> path = path_index<S>(arguments.path_offset + static_cast<std::uint64_t>(first));
        Native<S>* own_scratch = scratch.get() + thread * scratch_size;
        const PathSums<Native<S>> sums = run_path(settings, scores, dim, path, own_scratch, x);
        scatter<S>(&sums.value, arguments.n, 1, first, arguments.value);
        scatter<S>(&sums.mismatch, arguments.n, 1, first, arguments.mismatch);
        scatter<S>(x, arguments.n, dim, first, arguments.x_last);
    };
    return for_each_tile<S>(arguments.n, path_work, threads, interrupt, tile);
}

template <bool Isotropic, class S>
static bool run_mixtures(const TrajectoryArguments<S>& arguments, bool shared, int threads, Interrupt interrupt) {
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const std::int64_t dim = arguments.dim, n_nodes = arguments.n_nodes;
    const double work = mixture_work(model.components + reference.components, dim);
    if (shared) {
        const MixtureTable<S> table(model, dim, n_nodes, Isotropic, reference.weights);
        return with_dim<S>(dim, [&](auto d) {
            const SharedMixtures<S, Isotropic, decltype(d)::bound> scores{table.rows(),
                                                                          static_cast<int>(model.components)};
            return run(arguments, scores, d, 0, work, threads, interrupt);
        });
    }
    const MixtureTable<S> model_table(model, dim, n_nodes, Isotropic);
    const MixtureTable<S> reference_table(reference, dim, n_nodes, Isotropic);
    return with_dim<S>(dim, [&](auto d) {
        constexpr int bound = decltype(d)::bound;
        using Source = Mixture<S, Isotropic, bound>;
        const Independent<Source, Source, bound> scores{
            {model_table.rows(), static_cast<int>(model.components)},
            {reference_table.rows(), static_cast<int>(reference.components)}};
        return run(arguments, scores, d, 0, work, threads, interrupt);
    });
}

// At least one network: its matrices outweigh everything else, so one kernel serves every dimension.
template <class S>
using AnyMixture = Mixture<S, false, max_dim>;

template <class S>
static bool run_networks(const TrajectoryArguments<S>& arguments, int threads, Interrupt interrupt) {
    const bool with_divergence = arguments.divergence_weight != S(0);
    const ScoreArguments<S>& model = arguments.model;
    const ScoreArguments<S>& reference = arguments.reference;
    const auto packed = [&](const ScoreArguments<S>& source) { return PackedMlp<S>(source.mlp, arguments.dim); };
    const auto table = [&](const ScoreArguments<S>& source) {
        return MixtureTable<S>(source.mixture, arguments.dim, arguments.n_nodes, false);
    };
    const auto go = [&](auto first, auto second, std::int64_t scratch, double work) {
        const Independent<decltype(first), decltype(second), max_dim> scores{first, second};
        return run(arguments, scores, Dim<0>{}, scratch, work, threads, interrupt);
    };
    if (model.is_mlp && reference.is_mlp) {
        const PackedMlp<S> a = packed(model), b = packed(reference);
        const std::int64_t scratch_a = a.scratch(with_divergence), scratch_b = b.scratch(with_divergence);
        return go(Mlp<S>{a.view(), with_divergence}, Mlp<S>{b.view(), with_divergence},
                  scratch_a > scratch_b ? scratch_a : scratch_b, a.work(with_divergence) + b.work(with_divergence));
    }
    const PackedMlp<S> network = packed(model.is_mlp ? model : reference);
    const MixtureTable<S> rows = table(model.is_mlp ? reference : model);
    const Mlp<S> mlp{network.view(), with_divergence};
    const int components = static_cast<int>((model.is_mlp ? reference : model).mixture.components);
    const AnyMixture<S> mixture{rows.rows(), components};
    const std::int64_t scratch = network.scratch(with_divergence);
    const double work = network.work(with_divergence) + mixture_work(components, arguments.dim);
    return model.is_mlp ? go(mlp, mixture, scratch, work) : go(mixture, mlp, scratch, work);
}

template <class S>
bool trajectory(const TrajectoryArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.n == 0) return true;
    if (arguments.model.is_mlp || arguments.reference.is_mlp) return run_networks(arguments, threads, interrupt);
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
