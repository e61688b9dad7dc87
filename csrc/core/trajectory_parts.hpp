// What a node of a forward path adds to Δs, component by component, split in three ways.
//
// With δ = s_θ − s_*, z the noise of the step that led to the node and z' that of the step that leaves:
//   the scheme's own terms   a δ(s_θ + s_*) + δ(b z + b' z'), and in the sampler scheme w(z + w/2) and a constant;
//   the chain form           δ [κ(s_θ + s_*) + ω z], the log ratio of the `ddpm-large` chains of model and reference;
//   the squared form         κ δ², and the chain form less the squared one.
// The divergence, which has no parts by component, is added to the scheme's own terms of all components.
#pragma once

#include "arguments.hpp"
#include "node.hpp"

TK_BEGIN_NAMESPACE

// The columns of the table of parts, one row per node; thermokern/ops/trajectory_parts.py names them in this order.
template <class S>
struct PartNode {
    S constant;
    S kappa;    // κ
    S work;     // ω
    S stretch;  // of time, a whole number
};
static_assert(sizeof(PartNode<float>) == part_columns * sizeof(float), "the table of parts is read as PartNodes");

template <class V>
TK_HD void split_component(const Node<ScalarOf<V>>& node, const PartNode<ScalarOf<V>>& part, bool sampler, V model,
                           V reference, V carried, V noise, V previous, V forms[split_forms]) {
    const V delta = model - reference, both = model + reference;
    forms[0] = delta * (node.energy * both + node.work_carried * carried + node.work_drawn * noise);
    if (sampler) {
        NodeSums<V> here;
        here.add_chain(node, previous, carried, model);
        forms[0] = forms[0] + here.chain + part.constant;
    }
    forms[1] = delta * (part.kappa * both + part.work * carried);
    forms[2] = part.kappa * (delta * delta);
    forms[3] = forms[1] - forms[2];
}

TK_END_NAMESPACE
