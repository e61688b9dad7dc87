// The probability-flow equation, a register of points at a time. A lane that has arrived takes the next point of its
// stretch, so that lanes wait for nobody; what a lane computes does not depend on the others.
#include "../core/flow.hpp"

#include "sources.hpp"

TK_BEGIN_NAMESPACE

constexpr std::int64_t flow_stretch = 128;  // points

template <class S>
static void load_point(const FlowArguments<S>& arguments, std::int64_t row, int lane, Native<S>* x) {
    for (std::int64_t i = 0; i < arguments.dim; ++i) x[i][lane] = arguments.x[row * arguments.dim + i];
}

// Takes the points [begin, end) from u = 0 to u = 1.
template <class S, class Field>
static void run_stretch(const FlowArguments<S>& arguments, const Field& field, int dim, std::int64_t begin,
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
static bool run_flow(const FlowArguments<S>& arguments, const Field& field, int dim, std::int64_t scratch_size,
                     double work, int threads, Interrupt interrupt) {
    const Buffer<Native<S>> scratch(threads * scratch_size);
    const auto stretch = [&](std::int64_t begin, int thread) {
        const std::int64_t end = begin + flow_stretch < arguments.n ? begin + flow_stretch : arguments.n;
        run_stretch(arguments, field, dim, begin, end, scratch.get() + thread * scratch_size);
    };
    return for_each_stretch(arguments.n, flow_stretch, 100.0 * work, threads, interrupt, stretch);
}

template <bool Isotropic, class S>
static bool mixture(const FlowArguments<S>& arguments, int threads, Interrupt interrupt) {
    const MixtureArguments& mixture = arguments.score.mixture;
    const std::int64_t size = mixture.components * arguments.dim;
    const Buffer<S> means(size), variances(size), weights(mixture.components), mean_scale(arguments.n_nodes),
        variance(arguments.n_nodes);
    for (std::int64_t i = 0; i < size; ++i) {
        means.get()[i] = static_cast<S>(mixture.means[i]);
        variances.get()[i] = static_cast<S>(mixture.variances[i]);
    }
    for (std::int64_t c = 0; c < mixture.components; ++c) {
        const double weight = std::log2(mixture.weights[c]);
        weights.get()[c] = static_cast<S>(weight < -1e30 ? -1e30 : weight);
    }
    for (std::int64_t k = 0; k < arguments.n_nodes; ++k) {
        mean_scale.get()[k] = static_cast<S>(mixture.mean_scale[k]);
        variance.get()[k] = static_cast<S>(mixture.variance[k]);
    }
    const MixtureView<S> view{means.get(), variances.get(), weights.get(), static_cast<int>(mixture.components)};
    const double work = mixture_work(mixture.components, arguments.dim);
    return with_dim<S>(arguments.dim, [&](auto d) {
        using D = decltype(d);
        const MixtureFlow<S, Isotropic, D::bound> field{view, mean_scale.get(), variance.get()};
        return run_flow(arguments, field, D::value(arguments.dim), 0, work, threads, interrupt);
    });
}

template <class S>
static bool network(const FlowArguments<S>& arguments, int threads, Interrupt interrupt) {
    const PackedMlp<S> mlp(arguments.score.mlp, arguments.dim);
    const MlpView<S>& view = mlp.view();
    int moving = 0;
    for (int row = 0; row < view.bias_stride; ++row)
        for (std::int64_t k = 1; k < arguments.n_nodes && moving <= row; ++k)
            if (view.biases[k * view.bias_stride + row] != view.biases[row]) moving = row + 1;
    const MlpFlow<S, max_dim> field{view, moving};
    return run_flow(arguments, field, view.dim, mlp.scratch(true) + view.bias_stride, mlp.work(true), threads,
                    interrupt);
}

template <class S>
bool flow(const FlowArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.n == 0) return true;
    if (arguments.score.is_mlp) return network(arguments, threads, interrupt);
    return is_isotropic(arguments.score.mixture, arguments.dim) ? mixture<true>(arguments, threads, interrupt)
                                                                : mixture<false>(arguments, threads, interrupt);
}

template bool flow(const FlowArguments<float>&, int, Interrupt);
template bool flow(const FlowArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
