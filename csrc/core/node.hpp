// One node of a path and the step that leaves it, a component at a time: the formulas that all paths share.
#pragma once

#include "arguments.hpp"
#include "lanes.hpp"

TK_BEGIN_NAMESPACE

// The columns of the step table, one row per node; thermokern/ops/step_table.py names them in this order.
template <class S>
struct Node {
    S drift;           // F, to the next node
    S noise;           // G, to the next node
    S energy;          // a
    S work_carried;    // b, on the noise of the step that led here
    S work_drawn;      // b', on the noise of the step that leaves
    S mismatch;        // weight of |s_θ − s_*|², for the score-matching integral
    S chain_position;  // u
    S chain_noise;     // r
    S chain_score;     // y
    S push;            // P, reverse paths
    S seen_position;   // α
    S seen_score;      // β
    S seen_noise;      // γ
    S level;           // 1 at the nodes of the grid of double steps, 2 at those of fourfold steps too, else 0
    S spread;          // of the noise of the step that leaves the node: dw = spread z
    S coarse_here;     // on s_θ − s_* at a coarse node, against Σ dw since the coarse node before
    S coarse_kept;     // on s_θ − s_* at a coarse node, against Σ dw until the next
    S energy_2;        // a of the grid of double steps
    S energy_4;        // a of the grid of fourfold steps
};
static_assert(sizeof(Node<float>) == node_columns * sizeof(float), "the step table is read as Nodes");

// Where a path goes next, and the noise z of that step as the forward process sees it, from the noise drawn.
template <bool Reverse, class V>
TK_HD void leave_node(const Node<ScalarOf<V>>& node, V x, V model, V drawn, V& next, V& noise) {
    next = node.drift * x + node.noise * drawn;
    noise = drawn;
    if constexpr (Reverse) {
        next = next + node.push * model;
        noise = node.seen_position * x + node.seen_score * model + node.seen_noise * drawn;
    }
}

// Sums over the components of one path at one node.
template <class V>
struct NodeSums {
    V energy{};    // |s_θ|² − |s_*|²
    V work{};      // (s_θ − s_*)·(b z + b' z')
    V mismatch{};  // |s_θ − s_*|²
    V chain{};     // w·(z + w/2)

    TK_HD void add_scores(const Node<ScalarOf<V>>& node, V model, V reference, V carried, V noise) {
        const V delta = model - reference;
        energy = energy + delta * (model + reference);
        work = work + delta * (node.work_carried * carried + node.work_drawn * noise);
        mismatch = mismatch + delta * delta;
    }
    // A step of the sampler scheme from its earlier end, its noise z, and the score at the later.
    TK_HD void add_chain(const Node<ScalarOf<V>>& node, V earlier, V z, V model) {
        const V w = node.chain_position * earlier + node.chain_noise * z + node.chain_score * model;
        chain = chain + w * (z + ScalarOf<V>(0.5) * w);
    }
    TK_HD void add(const NodeSums& other) {
        energy = energy + other.energy;
        work = work + other.work;
        mismatch = mismatch + other.mismatch;
        chain = chain + other.chain;
    }
    TK_HD V value(const Node<ScalarOf<V>>& node) const { return node.energy * energy + (work + chain); }
};

// A scheme's sum over the nodes of a coarser grid of the same path, which needs no further score: trapezoids of s_θ −
// s_* against what the noise moved between two nodes of that grid.
template <class V, int MaxDim>
struct CoarseSum {
    V value{};
    V kept[MaxDim], moved[MaxDim];  // U' of the coarse node before, Σ dw since then

    TK_HD void begin(int dim) {
        for (int i = 0; i < dim; ++i) kept[i] = moved[i] = V{};
    }
    TK_HD void visit(const Node<ScalarOf<V>>& node, ScalarOf<V> weight, int dim, const V* model, const V* reference,
                     V energy) {
        V work{};
        for (int i = 0; i < dim; ++i) {
            const V delta = model[i] - reference[i];
            work = work + (kept[i] + node.coarse_here * delta) * moved[i];
            kept[i] = node.coarse_kept * delta;
            moved[i] = V{};
        }
        value = value + (weight * energy + work);
    }
};

// Both coarser grids. What moved between nodes of the finer of them is passed on to the other at its nodes.
template <class V, int MaxDim>
struct CoarseSums {
    CoarseSum<V, MaxDim> two, four;

    TK_HD void begin(int dim) {
        two.begin(dim);
        four.begin(dim);
    }
    TK_HD void visit(const Node<ScalarOf<V>>& node, int dim, const V* model, const V* reference, V energy) {
        if (node.level == 0) return;
        for (int i = 0; i < dim; ++i) four.moved[i] = four.moved[i] + two.moved[i];
        two.visit(node, node.energy_2, dim, model, reference, energy);
        if (node.level > 1) four.visit(node, node.energy_4, dim, model, reference, energy);
    }
    TK_HD void leave(const Node<ScalarOf<V>>& node, int dim, const V* noise) {
        for (int i = 0; i < dim; ++i) two.moved[i] = two.moved[i] + node.spread * noise[i];
    }
};

TK_END_NAMESPACE
