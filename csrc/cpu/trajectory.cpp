// Whole trajectories, one tile of paths at a time, each in registers from its first node to its last.
#include "sources.hpp"

TK_BEGIN_NAMESPACE

template <class Scores, class D>
static bool run(const TrajectoryArguments& arguments, const Scores& scores, D, std::int64_t scratch_size, double work,
                int threads, Interrupt interrupt) {
    const TrajectorySettings settings{reinterpret_cast<const Node*>(arguments.steps),
                                      arguments.n_nodes,
                                      arguments.divergence_weight,
                                      arguments.sampler,
                                      arguments.reverse,
                                      arguments.seed};
    const double path_work = work * static_cast<double>(arguments.n_nodes);
    const Buffer<Native> scratch(threads * scratch_size);
    const auto tile = [&](std::int64_t first, int thread) {
        const int dim = D::value(arguments.dim);
        Native x[D::bound];
        gather(arguments.x, arguments.n, dim, first, x);
        const PathIndex<Native> path = path_index(arguments.path_offset + static_cast<std::uint64_t>(first));
        Native* own_scratch = scratch.get() + thread * scratch_size;
        const PathSums<Native> sums = run_path(settings, scores, dim, path, own_scratch, x);
        scatter(&sums.value, arguments.n, 1, first, arguments.value);
        scatter(&sums.mismatch, arguments.n, 1, first, arguments.mismatch);
        scatter(x, arguments.n, dim, first, arguments.x_last);
    };
    return for_each_tile(arguments.n, path_work, threads, interrupt, tile);
}

template <bool Isotropic>
static bool run_mixtures(const TrajectoryArguments& arguments, bool shared, int threads, Interrupt interrupt) {
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const std::int64_t dim = arguments.dim, n_nodes = arguments.n_nodes;
    const double work = mixture_work(model.components + reference.components, dim);
    if (shared) {
        const MixtureTable table(model, dim, n_nodes, Isotropic, reference.weights);
        return with_dim(dim, [&](auto d) {
            const SharedMixtures<Isotropic, decltype(d)::bound> scores{table.rows(),
                                                                       static_cast<int>(model.components)};
            return run(arguments, scores, d, 0, work, threads, interrupt);
        });
    }
    const MixtureTable model_table(model, dim, n_nodes, Isotropic);
    const MixtureTable reference_table(reference, dim, n_nodes, Isotropic);
    return with_dim(dim, [&](auto d) {
        constexpr int bound = decltype(d)::bound;
        using Source = Mixture<Isotropic, bound>;
        const Independent<Source, Source, bound> scores{
            {model_table.rows(), static_cast<int>(model.components)},
            {reference_table.rows(), static_cast<int>(reference.components)}};
        return run(arguments, scores, d, 0, work, threads, interrupt);
    });
}

// At least one network: its matrices outweigh everything else, so one kernel serves every dimension.
using AnyMixture = Mixture<false, max_dim>;

static bool run_networks(const TrajectoryArguments& arguments, int threads, Interrupt interrupt) {
    const bool with_divergence = arguments.divergence_weight != 0.f;
    const ScoreArguments& model = arguments.model;
    const ScoreArguments& reference = arguments.reference;
    const auto packed = [&](const ScoreArguments& source) { return PackedMlp(source.mlp, arguments.dim); };
    const auto table = [&](const ScoreArguments& source) {
        return MixtureTable(source.mixture, arguments.dim, arguments.n_nodes, false);
    };
    const auto go = [&](auto first, auto second, std::int64_t scratch, double work) {
        const Independent<decltype(first), decltype(second), max_dim> scores{first, second};
        return run(arguments, scores, Dim<0>{}, scratch, work, threads, interrupt);
    };
    if (model.is_mlp && reference.is_mlp) {
        const PackedMlp a = packed(model), b = packed(reference);
        const std::int64_t scratch_a = a.scratch(with_divergence), scratch_b = b.scratch(with_divergence);
        return go(Mlp{a.view(), with_divergence}, Mlp{b.view(), with_divergence},
                  scratch_a > scratch_b ? scratch_a : scratch_b, a.work(with_divergence) + b.work(with_divergence));
    }
    const PackedMlp network = packed(model.is_mlp ? model : reference);
    const MixtureTable rows = table(model.is_mlp ? reference : model);
    const Mlp mlp{network.view(), with_divergence};
    const int components = static_cast<int>((model.is_mlp ? reference : model).mixture.components);
    const AnyMixture mixture{rows.rows(), components};
    const std::int64_t scratch = network.scratch(with_divergence);
    const double work = network.work(with_divergence) + mixture_work(components, arguments.dim);
    return model.is_mlp ? go(mlp, mixture, scratch, work) : go(mixture, mlp, scratch, work);
}

bool trajectory(const TrajectoryArguments& arguments, int threads, Interrupt interrupt) {
    if (arguments.n == 0) return true;
    if (arguments.model.is_mlp || arguments.reference.is_mlp) return run_networks(arguments, threads, interrupt);
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const bool shared = share_components(model, reference, arguments.dim, arguments.n_nodes);
    const bool isotropic = is_isotropic(model, arguments.dim) && is_isotropic(reference, arguments.dim);
    return isotropic ? run_mixtures<true>(arguments, shared, threads, interrupt)
                     : run_mixtures<false>(arguments, shared, threads, interrupt);
}

TK_END_NAMESPACE
