// Points along the probability-flow equation dx/du = drift x + push s(x), u from 0 to 1, with the divergence that they
// gather: the steps of Dormand and Prince, 5(4), each lane with its own step and its own place.
//
// Steps are [i/2^l, (i + 1)/2^l], so that all times at which a lane can ever look are nodes of a table, and a kernel
// knows neither processes nor time embeddings. thermokern/ops/flow_table.py says how nodes stand.
#pragma once

#include "arguments.hpp"
#include "mixture.hpp"
#include "mlp.hpp"

TK_BEGIN_NAMESPACE

// The columns of the flow table, one row per node; thermokern/ops/flow_table.py names them in this order.
template <class S>
struct FlowNode {
    S drift, push;
};

constexpr std::int64_t flow_end = std::int64_t(1) << flow_finest_level;  // u = 1, in the units of positions
constexpr int flow_stages = 6;  // after the first, which the step before has computed

enum class FlowStatus : std::int64_t { done = 0, needs_finer = 1, not_finite = 2 };

// The coefficients of a rule: the weights of the slopes in each stage, of which the last is the solution, and in its
// error.
template <class S>
struct FlowRule {
    S stages[flow_stages][flow_stages];
    S error[flow_stages + 1];
};

// Dormand and Prince, "A family of embedded Runge–Kutta formulae", J. Comput. Appl. Math. 6, 1980, Table 2.
template <class S>
constexpr FlowRule<S> dormand_prince{
    {{S(1.0 / 5)},
     {S(3.0 / 40), S(9.0 / 40)},
     {S(44.0 / 45), S(-56.0 / 15), S(32.0 / 9)},
     {S(19372.0 / 6561), S(-25360.0 / 2187), S(64448.0 / 6561), S(-212.0 / 729)},
     {S(9017.0 / 3168), S(-355.0 / 33), S(46732.0 / 5247), S(49.0 / 176), S(-5103.0 / 18656)},
     {S(35.0 / 384), S(0), S(500.0 / 1113), S(125.0 / 192), S(-2187.0 / 6784), S(11.0 / 84)}},
    {S(71.0 / 57600), S(0), S(-71.0 / 16695), S(71.0 / 1920), S(-17253.0 / 339200), S(22.0 / 525), S(-1.0 / 40)}};

TK_HD constexpr std::int64_t flow_first_node(int level) {
    return level > 0 ? 9 * (std::int64_t(1) << (level - 1)) - 3 : 0;
}

// The node at a position.
TK_HD std::int64_t flow_end_node(std::int64_t position) {
    int level = flow_finest_level;
    while (level > 0 && position % 2 == 0) {
        position /= 2;
        --level;
    }
    return flow_first_node(level) + (level > 0 ? position / 2 : position);
}

// The nodes of a step after its start: four inside, its end.
TK_HD void flow_step_nodes(std::int64_t position, int level, std::int64_t* nodes, int stride) {
    const std::int64_t size = flow_end >> level;
    const std::int64_t ends = level > 0 ? std::int64_t(1) << (level - 1) : 2;
    const std::int64_t inside = flow_first_node(level) + ends + 4 * (position / size);
    for (int i = 0; i < 4; ++i) nodes[i * stride] = inside + i;
    nodes[4 * stride] = flow_end_node(position + size);
}

// numbers[index] of each lane.
template <class V>
TK_HD V pick(const ScalarOf<V>* numbers, const std::int64_t* index, std::int64_t stride) {
    V out{};
    for (int lane = 0; lane < Lane<V>::count; ++lane) set_lane(out, lane, numbers[index[lane] * stride]);
    return out;
}

// Scores at a node for each lane.
template <class S, bool Isotropic, int MaxDim>
struct MixtureFlow {
    static constexpr int max_dim = MaxDim;
    MixtureView<S> mixture;
    const S* mean_scale;  // (nodes,)
    const S* variance;    // (nodes,)

    template <class V>
    TK_HD void score(const std::int64_t* nodes, int dim, const V* x, V*, V* score, V& divergence) const {
        const V m = pick<V>(mean_scale, nodes, 1), v = pick<V>(variance, nodes, 1);
        mixture_score<Isotropic, MaxDim>(mixture, dim, m, v, x, score, divergence);
    }
};

template <class S, int MaxDim>
struct MlpFlow {
    static constexpr int max_dim = MaxDim;
    MlpView<S> mlp;
    int moving_units;  // the first so many biases differ from node to node

    template <class V>
    TK_HD void score(const std::int64_t* nodes, int, const V* x, V* scratch, V* score, V& divergence) const {
        V* bias = scratch;
        for (int row = 0; row < moving_units; ++row) bias[row] = pick<V>(mlp.biases + row, nodes, mlp.bias_stride);
        for (int row = moving_units; row < mlp.bias_stride; ++row) bias[row] = V{} + mlp.biases[row];
        const V scale = pick<V>(mlp.output_scale, nodes, 1), skip = pick<V>(mlp.skip, nodes, 1);
        mlp_score(mlp, bias, scale, skip, x, true, scratch + mlp.bias_stride, score, divergence);
    }
};

// Where a lane stands: x, what it has gathered, and their derivatives there.
template <class V, int MaxDim>
struct FlowState {
    V x[MaxDim], slope[MaxDim], gathered, rate;
};

// One step of every lane by its own h, from `state` to `next`. Returns the mean over the dim + 1 errors of their
// squares in units of the tolerance.
template <class V, class Field>
TK_HD V flow_step(const Field& field, const FlowNode<ScalarOf<V>>* table, const FlowRule<ScalarOf<V>>& rule,
                  const std::int64_t* nodes, V h, int dim, ScalarOf<V> rtol, ScalarOf<V> atol,
                  const FlowState<V, Field::max_dim>& state, V* scratch, FlowState<V, Field::max_dim>& next) {
    using S = ScalarOf<V>;
    constexpr int lanes = Lane<V>::count;
    V slopes[flow_stages + 1][Field::max_dim], rates[flow_stages + 1];
    for (int i = 0; i < dim; ++i) slopes[0][i] = state.slope[i];
    rates[0] = state.rate;
    for (int stage = 0; stage < flow_stages; ++stage) {
        const int place = stage < 4 ? stage : 4;
        for (int i = 0; i < dim; ++i) {
            V sum{};
            for (int j = 0; j <= stage; ++j) sum = sum + rule.stages[stage][j] * slopes[j][i];
            next.x[i] = state.x[i] + h * sum;
        }
        V score[Field::max_dim], divergence;
        field.score(nodes + place * lanes, dim, next.x, scratch, score, divergence);
        const V drift = pick<V>(&table->drift, nodes + place * lanes, flow_columns);
        const V push = pick<V>(&table->push, nodes + place * lanes, flow_columns);
        for (int i = 0; i < dim; ++i) slopes[stage + 1][i] = drift * next.x[i] + push * score[i];
        rates[stage + 1] = drift * static_cast<S>(dim) + push * divergence;
    }
    V gathered{}, gathered_error{}, total{};
    for (int j = 0; j < flow_stages; ++j) gathered = gathered + rule.stages[flow_stages - 1][j] * rates[j];
    next.gathered = state.gathered + h * gathered;
    const auto square = [&](V error, V before, V after) {
        const V reach = maximum(maximum(before, V(-before)), maximum(after, V(-after)));
        const V ratio = h * error / (atol + rtol * reach);
        return V(ratio * ratio);
    };
    for (int i = 0; i < dim; ++i) {
        V error{};
        for (int j = 0; j <= flow_stages; ++j) error = error + rule.error[j] * slopes[j][i];
        total = total + square(error, state.x[i], next.x[i]);
        next.slope[i] = slopes[flow_stages][i];
    }
    for (int j = 0; j <= flow_stages; ++j) gathered_error = gathered_error + rule.error[j] * rates[j];
    next.rate = rates[flow_stages];
    return (total + square(gathered_error, state.gathered, next.gathered)) / static_cast<S>(dim + 1);
}

// What one lane is about.
struct FlowLane {
    std::int64_t row;  // of its point; −1 for none
    std::int64_t position, evaluations;
    int level;
    bool started;  // whether the derivatives at u = 0 are known; the step that finds them has length 0
};

// Whether the lane takes the step whose squared error this is, and what it does next; `status` is set when it ends.
TK_HD bool flow_decide(FlowLane& lane, double error, int levels, bool& ended, FlowStatus& status) {
    ended = false;
    const bool accepted = error <= 1.0;
    if (!(error < 1e300)) {  // NaN, too
        ended = true;
        status = FlowStatus::not_finite;
    } else if (!lane.started) {
        lane.started = true;
        lane.evaluations += 1;
    } else {
        lane.evaluations += flow_stages;
        const std::int64_t size = flow_end >> lane.level;
        if (accepted) {
            lane.position += size;
            const bool aligned = lane.position % (2 * size) == 0;
            if (aligned && error < flow_growth * flow_growth && lane.level > flow_coarsest_level) --lane.level;
        } else {
            ++lane.level;
        }
        if (lane.position >= flow_end) {
            ended = true;
            status = FlowStatus::done;
        } else if (lane.level > flow_finest_level) {
            ended = true;
            status = FlowStatus::not_finite;
        } else if (lane.level > levels) {
            ended = true;
            status = FlowStatus::needs_finer;
        }
    }
    return accepted;
}

TK_END_NAMESPACE
