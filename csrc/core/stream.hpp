// One node of a path whose scores come from elsewhere, a lane of its components at a time. Formulas and the meaning of
// a node's numbers are those of trajectory.hpp.
#pragma once

#include "trajectory.hpp"

TK_BEGIN_NAMESPACE

// Sums over the components of one path at one node.
template <class V>
struct NodeSums {
    V energy{};    // |s_θ|² − |s_*|²
    V work{};      // (s_θ − s_*)·(b z + b' z')
    V mismatch{};  // |s_θ − s_*|²
    V chain{};     // w·(z + w/2)

    TK_HD void add(const NodeSums& other) {
        energy = energy + other.energy;
        work = work + other.work;
        mismatch = mismatch + other.mismatch;
        chain = chain + other.chain;
    }
    TK_HD V value(const Node<ScalarOf<V>>& node) const { return node.energy * energy + (work + chain); }
};

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
    out.next = node.drift * in.x + node.noise * in.drawn;
    out.noise = in.drawn;
    if constexpr (Reverse) {
        out.next = out.next + node.push * in.model;
        out.noise = node.seen_position * in.x + node.seen_score * in.model + node.seen_noise * in.drawn;
    }
    const V delta = in.model - in.reference;
    sums.energy = sums.energy + delta * (in.model + in.reference);
    sums.work = sums.work + delta * (node.work_carried * in.carried + node.work_drawn * out.noise);
    sums.mismatch = sums.mismatch + delta * delta;
    if constexpr (Sampler) {
        const V earlier = Reverse ? out.next : in.previous;
        const V z = Reverse ? out.noise : in.carried;
        const V w = node.chain_position * earlier + node.chain_noise * z + node.chain_score * in.model;
        sums.chain = sums.chain + w * (z + ScalarOf<V>(0.5) * w);
    }
    return out;
}

TK_END_NAMESPACE
