// Averages over paths at every node, and integrals along every path, of what the entropy rates are made of.
//
// Paths are taken in stretches whose size depends on their number alone. Each stretch is summed path by path in one
// thread, and stretches are merged by halves, so that the bits do not depend on the number of threads.
#include "../core/trajectory_averages.hpp"

#include <type_traits>

#include "../core/statistics.hpp"
#include "sources.hpp"

TK_BEGIN_NAMESPACE

// Sums of one observable over a stretch, in each of the double lanes that a register of S splits into.
template <class S>
struct ShiftedSums {
    using Doubles = Native<double>;
    Doubles first, second;  // Σ (x − shift), Σ (x − shift)²
    double shift;

    static constexpr int parts = lanes<S> / lanes<double>;

    // `present`: how many of the lanes hold paths.
    void add(Native<S> values, int present, bool fresh) {
        if (fresh) {
            shift = static_cast<double>(values[0]);
            first = second = Doubles{};
        }
        using Half = typename Vectors<lanes<double>>::Float;
        std::conditional_t<parts == 1, Doubles, Half> part[parts];
        static_assert(sizeof part == sizeof values, "the parts of a register fill it");
        __builtin_memcpy(part, &values, sizeof values);
        for (int p = 0; p < parts; ++p) {
            Doubles x = __builtin_convertvector(part[p], Doubles) - shift;
            for (int lane = 0; present < lanes<S> && lane < lanes<double>; ++lane)
                if (p * lanes<double> + lane >= present) x[lane] = 0;
            first += x;
            second += x * x;
        }
    }

    Moments moments(std::int64_t n) const {
        double a = 0, b = 0;
        for (int lane = 0; lane < lanes<double>; ++lane) {
            a += first[lane];
            b += second[lane];
        }
        return from_shifted_sums(static_cast<double>(n), shift, a, b);
    }
};

// Adds up one tile of paths.
template <class S>
struct Averager {
    const RateNode<S>* nodes;
    ShiftedSums<S>* sums;  // (nodes, observables)
    int present;
    bool fresh;  // the first tile of its stretch
    Native<S> integrals[observables];

    void look(std::int64_t k, int dim, const Visit<Native<S>>& visit) {
        Native<S> values[observables];
        observe(nodes[k], dim, visit.x, visit.model, visit.model_divergence, visit.reference, values);
        for (int i = 0; i < observables; ++i) {
            integrals[i] = integrals[i] + integral_weight(nodes[k], i) * values[i];
            sums[k * observables + i].add(values[i], present, fresh);
        }
    }
};

template <class S, class Scores, class D>
static bool run(const TrajectoryAveragesArguments<S>& averages, const Scores& scores, D, std::int64_t scratch_size,
                double work, int threads, Interrupt interrupt) {
    const TrajectoryArguments<S>& paths = averages.paths;
    const TrajectorySettings<S> settings = settings_of(paths);
    const std::int64_t size = stretch_size(paths.n), stretches = (paths.n + size - 1) / size;
    const std::int64_t cells = paths.n_nodes * observables;
    const Buffer<Moments> parts(stretches * cells);
    const Buffer<ShiftedSums<S>> sums(threads * cells);
    const Buffer<Native<S>> scratch(threads * scratch_size);
    const auto stretch = [&](std::int64_t begin, int thread) {
        const int dim = D::value(paths.dim);
        const std::int64_t end = begin + size < paths.n ? begin + size : paths.n;
        ShiftedSums<S>* own = sums.get() + thread * cells;
        for (std::int64_t first = begin; first < end; first += lanes<S>) {
            Native<S> x[D::bound];
            gather<S>(paths.x, paths.n, dim, first, x);
            const std::int64_t left = end - first;
            Averager<S> averager{.nodes = reinterpret_cast<const RateNode<S>*>(averages.rates),
                                 .sums = own,
                                 .present = static_cast<int>(left < lanes<S> ? left : lanes<S>),
                                 .fresh = first == begin,
                                 .integrals = {}};
            run_path(settings, scores, averager, dim,
                     path_index<S>(paths.path_offset + static_cast<std::uint64_t>(first)),
                     scratch.get() + thread * scratch_size, x);
            scatter<S>(averager.integrals, paths.n, observables, first, averages.integrals);
            scatter<S>(x, paths.n, dim, first, paths.x_last);
        }
        for (std::int64_t cell = 0; cell < cells; ++cell)
            parts.get()[begin / size * cells + cell] = own[cell].moments(end - begin);
    };
    const double path_work = (work + 100.0) * static_cast<double>(paths.n_nodes);
    if (!for_each_stretch(paths.n, size, path_work, threads, interrupt, stretch)) return false;
    for (std::int64_t cell = 0; cell < cells; ++cell) {
        const Moments all = merge_strided(parts.get() + cell, stretches, cells);
        averages.mean[cell] = all.mean;
        averages.m2[cell] = all.m2;
    }
    return true;
}

template <class S>
bool trajectory_averages(const TrajectoryAveragesArguments<S>& averages, int threads, Interrupt interrupt) {
    const TrajectoryArguments<S>& paths = averages.paths;
    if (paths.n == 0) return true;
    if (paths.model.is_mlp || paths.reference.is_mlp)
        return with_networks(paths, true, [&](const auto& scores, std::int64_t scratch, double work) {
            return run(averages, scores, Dim<0>{}, scratch, work, threads, interrupt);
        });
    return with_mixtures<false>(paths, Dim<0>{}, [&](const auto& scores, auto d, double work) {
        return run(averages, scores, d, 0, work, threads, interrupt);
    });
}

template bool trajectory_averages(const TrajectoryAveragesArguments<float>&, int, Interrupt);
template bool trajectory_averages(const TrajectoryAveragesArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
