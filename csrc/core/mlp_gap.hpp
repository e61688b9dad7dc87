// Differences of the scores that one perceptron has under several conditions, of which information is made.
//
// Conditions and noise levels enter as biases, a point's own. A plain network is the sequence
//   a_0 = W_0 z + b_0,   a_l = W_l σ(a_{l−1}) + b_l,
// whose last is its output; a residual one adds a_{l−2} at every even l. Scores are pushed, as in gaussian_gap.hpp.
#pragma once

#include "gaussian_gap.hpp"
#include "mlp.hpp"

TK_BEGIN_NAMESPACE

// Whether layer l adds what stood before the activation two layers ago, and whether the layer before keeps it.
TK_HD constexpr bool adds_kept(bool residual, int layer) { return residual && layer >= 2 && layer % 2 == 0; }
TK_HD constexpr bool keeps(bool residual, int layer) { return residual && layer % 2 == 0; }

// Scores that are made at each point: one of each condition.
TK_HD constexpr int gap_pairs(int conditions) { return conditions > 1 ? conditions - 1 : 1; }

// One axis of a point: how far x is from m times the centre, and what stands there.
template <class V>
struct MlpGapAxis {
    V apart, noise, reference;  // reference: the pushed score of the isotropic Gaussian

    TK_HD MlpGapAxis(const GapLevel<V>& level, V from, ScalarOf<V> centre, V z, V reference_gain)
        : apart(level.noisy(from, z)), noise(z), reference(reference_gain * (apart + level.mean_scale * centre)) {}

    // The pushed score of a network's output.
    TK_HD V score(V scale, V output, V skip) const { return scale * output + skip * apart; }
};

// σ over values in place.
template <Activation Kind, class V>
TK_HD void activate_values(V* values, int count) {
    for (int i = 0; i < count; ++i) activate<Kind>(values[i]);
}

template <class V>
TK_HD void activate_values(Activation kind, V* values, int count) {
    switch (kind) {
        case Activation::silu: activate_values<Activation::silu>(values, count); break;
        case Activation::tanh: activate_values<Activation::tanh>(values, count); break;
        case Activation::relu: activate_values<Activation::relu>(values, count); break;
        case Activation::gelu_tanh: activate_values<Activation::gelu_tanh>(values, count); break;
    }
}

TK_END_NAMESPACE
