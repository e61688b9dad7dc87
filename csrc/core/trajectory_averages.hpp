// What the entropy rates are made of, at one node of a path: f and D are the process's there, s the model's score.
#pragma once

#include "arguments.hpp"
#include "lanes.hpp"

TK_BEGIN_NAMESPACE

// Columns of the rate table, one row per node; thermokern/ops/trajectory_averages.py names them in this order.
template <class S>
struct RateNode {
    S force;      // f
    S diffusion;  // D
    S weight;     // w, of the node in an integral over time
    S scaled_up;  // w D
    S scaled;     // w / D
};
static_assert(sizeof(RateNode<float>) == rate_columns * sizeof(float), "the rate table is read as RateNodes");

// The observables, in this order: |s|², ∇·s, s·s_*, |s − s_*|², |f x − D s|², f x·s, f x·(f x − D s).
template <class V>
TK_HD void observe(const RateNode<ScalarOf<V>>& node, int dim, const V* x, const V* model, V divergence,
                   const V* reference, V values[observables]) {
    for (int i = 0; i < observables; ++i) values[i] = V{};
    values[1] = divergence;
    for (int i = 0; i < dim; ++i) {
        const V force = node.force * x[i];
        const V current = force - node.diffusion * model[i];
        const V difference = model[i] - reference[i];
        values[0] = values[0] + model[i] * model[i];
        values[2] = values[2] + model[i] * reference[i];
        values[3] = values[3] + difference * difference;
        values[4] = values[4] + current * current;
        values[5] = values[5] + force * model[i];
        values[6] = values[6] + force * current;
    }
}

// The weight of each in the integral of its rate: D|s|², D∇·s, D s·s_*, D|s − s_*|², |f x − D s|²/D, f x·s and
// f x·(f x − D s)/D.
template <class S>
TK_HD S integral_weight(const RateNode<S>& node, int observable) {
    return observable < 4 ? node.scaled_up : observable == 5 ? node.weight : node.scaled;
}

TK_END_NAMESPACE
