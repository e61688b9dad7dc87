// Scores at one time: one tile of points at a time.
#include "sources.hpp"

TK_BEGIN_NAMESPACE

template <bool Isotropic, class S>
static bool mixture(const MixtureArguments& arguments, const ScoreOutputs<S>& out, int threads, Interrupt interrupt) {
    const MixtureTable<S> table(arguments, out.dim, 1, Isotropic);
    const int components = static_cast<int>(arguments.components);
    const double work = mixture_work(components, out.dim);
    return with_dim<Isotropic, S>(out.dim, [&](auto d) {
        return for_each_tile<S>(out.n, work, threads, interrupt, [&](std::int64_t first, int) {
            using D = decltype(d);
            const int dim = D::value(out.dim);
            Native<S> x[D::bound], score[D::bound], divergence;
            gather<S>(out.x, out.n, dim, first, x);
            const Native<S> log_density =
                mixture_score<Isotropic, D::bound>(table.rows(), components, dim, x, score, divergence);
            scatter<S>(score, out.n, dim, first, out.score);
            scatter<S>(&divergence, out.n, 1, first, out.divergence);
            scatter<S>(&log_density, out.n, 1, first, out.log_density);
        });
    });
}

template <class S>
static bool network(const MlpArguments<S>& arguments, const ScoreOutputs<S>& out, int threads, Interrupt interrupt) {
    const PackedMlp<S> mlp(arguments, out.dim);
    const int dim = static_cast<int>(out.dim);
    const std::int64_t scratch_size = mlp.scratch(true);
    const Buffer<Native<S>> scratch(threads * scratch_size);
    const auto tile = [&](std::int64_t first, int thread) {
        Native<S> x[max_dim], score[max_dim], divergence;
        gather<S>(out.x, out.n, dim, first, x);
        mlp_score(mlp.view(), 0, x, true, scratch.get() + thread * scratch_size, score, divergence);
        scatter<S>(score, out.n, dim, first, out.score);
        scatter<S>(&divergence, out.n, 1, first, out.divergence);
    };
    return for_each_tile<S>(out.n, mlp.work(true), threads, interrupt, tile);
}

template <class S>
bool score(const ScoreArguments<S>& arguments, int threads, Interrupt interrupt) {
    const ScoreSource<S>& source = arguments.source;
    const ScoreOutputs<S>& out = arguments.out;
    if (out.n == 0) return true;
    if (source.is_mlp) return network(source.mlp, out, threads, interrupt);
    return is_isotropic(source.mixture, out.dim) ? mixture<true>(source.mixture, out, threads, interrupt)
                                                 : mixture<false>(source.mixture, out, threads, interrupt);
}

template bool score(const ScoreArguments<float>&, int, Interrupt);
template bool score(const ScoreArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
