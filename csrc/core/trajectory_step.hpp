// One node of a path whose scores come from elsewhere, a lane of its components at a time. The meaning of a node's
// numbers is that of trajectory.hpp.
#pragma once

#include "arguments.hpp"
#include "trajectory.hpp"

TK_BEGIN_NAMESPACE

// The node of a row, rows counted over the paths of all nodes.
template <class S>
TK_HD const Node<S>& node_of(const TrajectoryStepArguments<S>& a, std::int64_t row) {
    return reinterpret_cast<const Node<S>*>(a.table)[row < a.n ? 0 : row / a.n];
}

// Where the row's path stood at the node before, or null.
template <class S>
TK_HD const S* previous_of(const TrajectoryStepArguments<S>& a, std::int64_t row) {
    if (row >= a.n) return a.x + (row - a.n) * a.dim;
    return a.previous != nullptr ? a.previous + row * a.dim : nullptr;
}

template <class V>
struct NodeInput {
    V x, model, reference;
    V drawn;     // noise of the step that leaves the node
    V carried;   // noise of the step that led to it
    V previous;  // where that step began; the sampler scheme alone
};

template <class V>
struct NodeOutput {
    V next, noise;
};

template <bool Sampler, bool Reverse, class V>
TK_HD NodeOutput<V> visit_node(const Node<ScalarOf<V>>& node, const NodeInput<V>& in, NodeSums<V>& sums) {
    NodeOutput<V> out;
    leave_node<Reverse>(node, in.x, in.model, in.drawn, out.next, out.noise);
    sums.add_scores(node, in.model, in.reference, in.carried, out.noise);
    if constexpr (Sampler)
        sums.add_chain(node, Reverse ? out.next : in.previous, Reverse ? out.noise : in.carried, in.model);
    return out;
}

TK_END_NAMESPACE
