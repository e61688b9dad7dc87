// Differences of the scores of two Gaussians, of which information is made.
//
// Scores are pushed: √v times each, so that half a square is a rate per unit of ln(m²/v). A Gaussian that is diffused
// keeps its axes, and along each its score is a division; two Gaussians meet by one rotation there and one back.
#pragma once

#include "arguments.hpp"
#include "lanes.hpp"

TK_BEGIN_NAMESPACE

// A noise level.
template <class V>
struct GapLevel {
    V mean_scale, root;        // m, √v
    V square_scale, variance;  // m², v

    GapLevel() = default;
    TK_HD GapLevel(V m, V root_v) : mean_scale(m), root(root_v), square_scale(m * m), variance(root_v * root_v) {}

    // m x_0 + √v z, measured from where x_0 is measured from.
    TK_HD V noisy(V from, V noise) const { return mean_scale * from + root * noise; }
    // What takes a distance from the centre of N(0, width) to its pushed score, along one axis.
    TK_HD V gain(V width) const { return -root / (square_scale * width + variance); }
};

// The matrix (dim, dim) that takes distances from the second's centre to its pushed score, at a level that points
// share, all along the axes of the first.
template <class S>
void shared_matrix(const GaussianGapArguments<S>& a, const GapLevel<S>& level, S* __restrict__ matrix) {
    for (std::int64_t i = 0; i < a.dim * a.dim; ++i) matrix[i] = S(0);
    for (std::int64_t k = 0; k < a.dim; ++k) {
        const S* const axis = a.rotation + k * a.dim;
        const S gain = level.gain(a.second[k]);
        for (std::int64_t r = 0; r < a.dim; ++r) {
            const S factor = gain * axis[r];
            for (std::int64_t c = 0; c < a.dim; ++c) matrix[r * a.dim + c] = matrix[r * a.dim + c] + factor * axis[c];
        }
    }
}

// Sums over axes for scores f and s, a reference's r and the noise z. With u = f − s, the rates are made of u², u (f +
// z) and u (f − r).
template <class V>
struct GapSums {
    V square{}, by_noise{}, by_reference{};

    TK_HD void add(V first, V second, V noise, V reference) {
        const V apart = first - second;
        square = square + apart * apart;
        by_noise = by_noise + apart * (first + noise);
        by_reference = by_reference + apart * (first - reference);
    }
    // ½ (f − s)², ½ ((s + z)² − (f + z)²), ½ ((f − r)² − (s − r)²).
    TK_HD V gap() const { return ScalarOf<V>(0.5) * square; }
    TK_HD V loss() const { return ScalarOf<V>(0.5) * square - by_noise; }
    TK_HD V difference() const { return by_reference - ScalarOf<V>(0.5) * square; }
};

// What one axis adds, from x_0's distance to the first's centre and x's to m times the second's, the gains of the first
// score and of the reference's there, and the second score, which is back in the axes of the first.
template <class V, class G>
TK_HD void add_axis(const GapLevel<V>& level, V from_first, V apart, ScalarOf<V> centre, V noise, G first, G reference,
                    V second, GapSums<V>& sums) {
    const V x = apart + level.mean_scale * centre;
    sums.add(first * level.noisy(from_first, noise), second, noise, reference * x);
}

TK_END_NAMESPACE
