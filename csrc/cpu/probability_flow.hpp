// The probability-flow equation, a register of points at a time. A lane that has arrived takes the next point of its
// stretch, so that lanes wait for nobody; what a lane computes does not depend on the others.
#pragma once

#include "../core/probability_flow.hpp"
#include "sources.hpp"

TK_BEGIN_NAMESPACE

template <bool Isotropic, class S>
bool flow_of_mixture(const ProbabilityFlowArguments<S>&, int threads, Interrupt);

// Points of a stretch, at whose end lanes are idle: an equal share of few points, or as many as keep idleness small.
constexpr std::int64_t most_flow_points = 256;
inline std::int64_t flow_stretch(std::int64_t n, int threads) {
    const std::int64_t share = (n + threads - 1) / threads;
    return share < 1 ? 1 : share < most_flow_points ? share : most_flow_points;
}

template <class S>
static void load_point(const ProbabilityFlowArguments<S>& arguments, std::int64_t row, int lane, Native<S>* x) {
    for (std::int64_t i = 0; i < arguments.dim; ++i) x[i][lane] = arguments.x[row * arguments.dim + i];
}

// Takes the points [begin, end) from u = 0 to u = 1.
template <class S, class Field>
static void run_stretch(const ProbabilityFlowArguments<S>& arguments, const Field& field, int dim, std::int64_t begin,
                        std::int64_t end, Native<S>* scratch) {
    using V = Native<S>;
    const auto* table = reinterpret_cast<const FlowNode<S>*>(arguments.table);
    FlowState<V, Field::max_dim> state{}, next{};
    FlowLane lane[lanes<S>];
    std::int64_t waiting = begin;
    int busy = 0;
    const auto refill = [&](int k) {
        lane[k] = {-1, 0, 0, flow_first_level, false};
        // An idle lane goes on with the last point, at no step: its numbers stay finite and are not used.
        load_point(arguments, waiting < end ? waiting : end - 1, k, state.x);
        for (int i = 0; i < dim; ++i) state.slope[i][k] = 0;
        state.gathered[k] = state.rate[k] = 0;
        if (waiting < end) {
            lane[k].row = waiting++;
            ++busy;
        }
    };
    for (int k = 0; k < lanes<S>; ++k) refill(k);
    while (busy > 0) {
        std::int64_t nodes[5 * lanes<S>];
        V h{};
        for (int k = 0; k < lanes<S>; ++k) {
            if (lane[k].row >= 0 && lane[k].started) {
                flow_step_nodes(lane[k].position, lane[k].level, nodes + k, lanes<S>);
                h[k] = static_cast<S>(1.0 / static_cast<double>(std::int64_t(1) << lane[k].level));
            } else {
                for (int stage = 0; stage < 5; ++stage) nodes[stage * lanes<S> + k] = 0;
            }
        }
        const V error = flow_step(field, table, dormand_prince<S>, nodes, h, dim, arguments.rtol, arguments.atol, state,
                                  scratch, next);
        for (int k = 0; k < lanes<S>; ++k) {
            if (lane[k].row < 0) continue;
            bool ended;
            FlowStatus status;
            const bool accepted = flow_decide(lane[k], static_cast<double>(error[k]), arguments.levels, ended, status);
            if (accepted) {
                for (int i = 0; i < dim; ++i) {
                    state.x[i][k] = next.x[i][k];
                    state.slope[i][k] = next.slope[i][k];
                }
                state.gathered[k] = next.gathered[k];
                state.rate[k] = next.rate[k];
            }
            if (!ended) continue;
            const std::int64_t row = lane[k].row;
            for (int i = 0; i < dim; ++i) arguments.x_last[row * dim + i] = state.x[i][k];
            arguments.divergence[row] = state.gathered[k];
            arguments.evaluations[row] = lane[k].evaluations;
            arguments.status[row] = static_cast<std::int64_t>(status);
            --busy;
            refill(k);
        }
    }
}

template <class S, class Field>
static bool run_flow(const ProbabilityFlowArguments<S>& arguments, const Field& field, int dim,
                     std::int64_t scratch_size, double work, int threads, Interrupt interrupt) {
    const Buffer<Native<S>> scratch(threads * scratch_size);
    const std::int64_t size = flow_stretch(arguments.n, threads);
    const auto stretch = [&](std::int64_t begin, int thread) {
        const std::int64_t end = begin + size < arguments.n ? begin + size : arguments.n;
        run_stretch(arguments, field, dim, begin, end, scratch.get() + thread * scratch_size);
    };
    return for_each_stretch(arguments.n, size, 100.0 * work, threads, interrupt, stretch);
}

template <bool Isotropic, class S>
bool flow_of_mixture(const ProbabilityFlowArguments<S>& arguments, int threads, Interrupt interrupt) {
    const MixtureArguments& mixture = arguments.score.mixture;
    const Buffer<S> numbers(packed_mixture_size(mixture, arguments.dim, arguments.n_nodes));
    fill_packed_mixture(mixture, arguments.dim, arguments.n_nodes, numbers.get());
    const PackedMixture<S> packed = packed_mixture<S>(mixture, arguments.dim, arguments.n_nodes, numbers.get());
    const double work = mixture_work(mixture.components, arguments.dim);
    return with_dim<Isotropic, S>(arguments.dim, [&](auto d) {
        using D = decltype(d);
        const MixtureFlow<S, Isotropic, D::bound> field{packed.view, packed.mean_scale, packed.variance};
        return run_flow(arguments, field, D::value(arguments.dim), 0, work, threads, interrupt);
    });
}

extern template bool flow_of_mixture<true>(const ProbabilityFlowArguments<float>&, int, Interrupt);
extern template bool flow_of_mixture<true>(const ProbabilityFlowArguments<double>&, int, Interrupt);
extern template bool flow_of_mixture<false>(const ProbabilityFlowArguments<float>&, int, Interrupt);
extern template bool flow_of_mixture<false>(const ProbabilityFlowArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
