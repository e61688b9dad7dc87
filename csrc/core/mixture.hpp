// Gaussian mixtures: score, divergence of the score, and log density.
//
// With differences d_ci = μ_ci − x_i, precisions λ_ci and responsibilities r_c:
//   s_i = Σ_c r_c λ_ci d_ci,   ∇·s = Σ_c r_c Σ_i (λ_ci² d_ci² − λ_ci) − |s|².
// Differences, never expanded squares: near the data the expansion would lose three digits.
#pragma once

#include "arguments.hpp"
#include "math.hpp"

TK_BEGIN_NAMESPACE

// A mixture at data time, in float64.
struct MixtureParameters {
    const double* means;      // (components, dim)
    const double* variances;  // (components, dim)
    const double* weights;    // (components,)
    int components;
    int dim;
};

// What a kernel reads of it at one time: a row of numbers for each component,
//   isotropic: [log2 amplitude, λ log2(e)/2, λ, d λ, μ_1 … μ_d]
//   diagonal:  [log2 amplitude, Σ_i λ_i, (μ_1, λ_1) … (μ_d, λ_d)]
// where the amplitude is the peak of the component's density times its weight. The rows of two mixtures that differ
// in their weights alone are shared: amplitudes without weight, and both weights at the end of the row.
TK_HD constexpr int mixture_row_size(int dim, bool isotropic, bool shared) {
    return (isotropic ? 4 + dim : 2 + 2 * dim) + (shared ? 2 : 0);
}

inline bool is_isotropic(const MixtureArguments& mixture, std::int64_t dim) {
    for (std::int64_t c = 0; c < mixture.components; ++c)
        for (std::int64_t i = 1; i < dim; ++i)
            if (mixture.variances[c * dim + i] != mixture.variances[c * dim]) return false;
    return true;
}

// Whether two mixtures differ in their weights alone, all of them large enough to divide by.
inline bool share_components(const MixtureArguments& a, const MixtureArguments& b, std::int64_t dim,
                             std::int64_t n_nodes) {
    if (a.components != b.components) return false;
    const auto same = [](const double* left, const double* right, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i)
            if (left[i] != right[i]) return false;
        return true;
    };
    for (std::int64_t c = 0; c < a.components; ++c)
        if (a.weights[c] < 1e-12 || b.weights[c] < 1e-12) return false;
    return same(a.means, b.means, a.components * dim) && same(a.variances, b.variances, a.components * dim) &&
           same(a.mean_scale, b.mean_scale, n_nodes) && same(a.variance, b.variance, n_nodes);
}

// Fills one row at a time at which x_t | x_0 ~ N(m x_0, v I).
template <class S>
TK_HD void fill_mixture_row(const MixtureParameters& mixture, int component, double m, double v, bool isotropic,
                            const double* other_weights, S* row) {
    constexpr double log2_two_pi = 2.651496129472319;
    const int dim = mixture.dim;
    const bool shared = other_weights != nullptr;
    double log2_amplitude = shared ? 0.0 : std::log2(mixture.weights[component]);
    double precision_sum = 0.0, precision = 0.0;
    for (int i = 0; i < dim; ++i) {
        const double mean = m * mixture.means[component * dim + i];
        const double variance = m * m * mixture.variances[component * dim + i] + v;
        precision = 1.0 / variance;
        precision_sum += precision;
        log2_amplitude -= 0.5 * (log2_two_pi + std::log2(variance));
        if (isotropic) {
            row[4 + i] = static_cast<S>(mean);
        } else {
            row[2 + 2 * i] = static_cast<S>(mean);
            row[3 + 2 * i] = static_cast<S>(precision);
        }
    }
    row[0] = static_cast<S>(log2_amplitude < -1e30 ? -1e30 : log2_amplitude);  // a weight may be zero
    if (isotropic) {
        row[1] = static_cast<S>(0.5 * log2_e<double> * precision);
        row[2] = static_cast<S>(precision);
        row[3] = static_cast<S>(precision_sum);
    } else {
        row[1] = static_cast<S>(precision_sum);
    }
    if (shared) {
        const int size = mixture_row_size(dim, isotropic, true);
        row[size - 2] = static_cast<S>(mixture.weights[component]);
        row[size - 1] = static_cast<S>(other_weights[component]);
    }
}

// Σ over components of e = 2^(log2 density − top), of e λd, and of e (Σ λ²d² − Σ λ).
template <class V, int MaxDim>
struct MixtureSums {
    V density{}, curvature{};
    V pull[MaxDim]{};

    TK_HD void scale(int dim, V factor) {
        density = density * factor;
        curvature = curvature * factor;
        for (int i = 0; i < dim; ++i) pull[i] = pull[i] * factor;
    }

    TK_HD void add(int dim, V e, const V* component_pull, V component_curvature) {
        density = density + e;
        curvature = curvature + e * component_curvature;
        for (int i = 0; i < dim; ++i) pull[i] = pull[i] + e * component_pull[i];
    }

    TK_HD void add(int dim, const MixtureSums& other) {
        density = density + other.density;
        curvature = curvature + other.curvature;
        for (int i = 0; i < dim; ++i) pull[i] = pull[i] + other.pull[i];
    }

    TK_HD void finish(int dim, V inverse_density, V* score, V& divergence) const {
        divergence = product(curvature, inverse_density);
        for (int i = 0; i < dim; ++i) {
            score[i] = product(pull[i], inverse_density);
            divergence = divergence - product(score[i], score[i]);
        }
    }
};

// Below, the numbers R of a row are scalars, the same for all lanes, or lanes V with a time of their own.

// log2 of one component's density at x, weight included.
template <bool Isotropic, class R, class V>
TK_HD V component_log2_density(const R* row, int dim, const V* x) {
    V q{};
    for (int i = 0; i < dim; ++i) {
        const V d = row[Isotropic ? 4 + i : 2 + 2 * i] - x[i];
        q = q + (Isotropic ? V(d * d) : V(row[3 + 2 * i] * d * d));
    }
    if constexpr (Isotropic)
        return row[0] - row[1] * q;
    else
        return row[0] - ScalarOf<V>(0.5) * log2_e<ScalarOf<V>> * q;
}

// λ d of one component, and Σ λ²d² − Σ λ as the return value.
template <bool Isotropic, class R, class V>
TK_HD V component_pull(const R* row, int dim, const V* x, V* pull) {
    V curvature = V{} - row[Isotropic ? 3 : 1];
    for (int i = 0; i < dim; ++i) {
        const V d = row[Isotropic ? 4 + i : 2 + 2 * i] - x[i];
        pull[i] = row[Isotropic ? 2 : 3 + 2 * i] * d;
        curvature = curvature + pull[i] * pull[i];
    }
    return curvature;
}

// The largest of N values, by halves.
template <int N, class V>
TK_HD V largest(const V* values) {
    if constexpr (N == 1)
        return values[0];
    else
        return maximum(largest<N / 2>(values), largest<N - N / 2>(values + N / 2));
}

// Adds N components to one mixture's sums, or to two that share their rows. `top` is the largest log2 density so far,
// which sums are relative to, so that far tails neither overflow nor vanish; with First there is none yet.
template <bool Isotropic, bool Shared, bool First, int N, class R, class V, int MaxDim>
TK_HD void add_components(const R* rows, int dim, const V* x, V& top, MixtureSums<V, MaxDim>* sums) {
    const int size = mixture_row_size(dim, Isotropic, Shared);
    V log2_density[N];
    TK_UNROLL_COMPONENTS
    for (int c = 0; c < N; ++c) log2_density[c] = component_log2_density<Isotropic>(rows + c * size, dim, x);
    if constexpr (First) {
        top = largest<N>(log2_density);
    } else {
        const V new_top = maximum(top, largest<N>(log2_density));
        const V shrink = exp2<V>(top - new_top);
        sums[0].scale(dim, shrink);
        if constexpr (Shared) sums[1].scale(dim, shrink);
        top = new_top;
    }
    TK_UNROLL_COMPONENTS
    for (int c = 0; c < N; ++c) {
        const R* row = rows + c * size;
        V pull[MaxDim];
        const V e = exp2<V>(log2_density[c] - top);
        const V curvature = component_pull<Isotropic>(row, dim, x, pull);
        if constexpr (Shared) {
            sums[0].add(dim, e * row[size - 2], pull, curvature);
            sums[1].add(dim, e * row[size - 1], pull, curvature);
        } else {
            sums[0].add(dim, e, pull, curvature);
        }
    }
}

// Up to `block` components in a row; returns the largest log2 density.
template <bool Isotropic, bool Shared, class V, int MaxDim>
TK_HD V block_sums(const ScalarOf<V>* rows, int components, int dim, const V* x, MixtureSums<V, MaxDim>* sums) {
    constexpr int group = 8;
    const int size = mixture_row_size(dim, Isotropic, Shared);
    V top{};
    int c = components >= group ? group : 1;
    if (components >= group)
        add_components<Isotropic, Shared, true, group>(rows, dim, x, top, sums);
    else
        add_components<Isotropic, Shared, true, 1>(rows, dim, x, top, sums);
    for (; c + group <= components; c += group)
        add_components<Isotropic, Shared, false, group>(rows + c * size, dim, x, top, sums);
    for (; c < components; ++c) add_components<Isotropic, Shared, false, 1>(rows + c * size, dim, x, top, sums);
    return top;
}

// All components. Sums of many are taken block by block, so that rounding grows with the block and with the number of
// blocks, not with their product.
template <bool Isotropic, bool Shared, class V, int MaxDim>
TK_HD V mixture_sums(const ScalarOf<V>* rows, int components, int dim, const V* x, MixtureSums<V, MaxDim>* sums) {
    constexpr int block = 32;
    const int size = mixture_row_size(dim, Isotropic, Shared);
    V top{};
    for (int c = 0; c < components; c += block) {
        const int count = components - c < block ? components - c : block;
        MixtureSums<V, MaxDim> part[Shared ? 2 : 1];
        const V part_top = block_sums<Isotropic, Shared>(rows + c * size, count, dim, x, part);
        const V new_top = c == 0 ? part_top : maximum(top, part_top);
        for (int i = 0; i < (Shared ? 2 : 1); ++i) {
            if (c == 0) {
                sums[i] = part[i];
                continue;
            }
            part[i].scale(dim, exp2<V>(part_top - new_top));
            sums[i].scale(dim, exp2<V>(top - new_top));
            sums[i].add(dim, part[i]);
        }
        top = new_top;
    }
    return top;
}

// Score, divergence and natural log density of one mixture.
template <bool Isotropic, int MaxDim, class V>
TK_HD V mixture_score(const ScalarOf<V>* rows, int components, int dim, const V* x, V* score, V& divergence) {
    MixtureSums<V, MaxDim> sums;
    const V top = mixture_sums<Isotropic, false>(rows, components, dim, x, &sums);
    sums.finish(dim, ScalarOf<V>(1) / sums.density, score, divergence);
    return top * log_2<ScalarOf<V>> + log(sums.density);
}

// A mixture at data time in the kernel's precision, for lanes that each have a time of their own.
template <class S>
struct MixtureView {
    const S* means;         // (components, dim)
    const S* variances;     // (components, dim)
    const S* log2_weights;  // (components,)
    int components;
};

// A mixture and the times of all its nodes, packed one after the other.
template <class S>
struct PackedMixture {
    MixtureView<S> view;
    const S* mean_scale;  // (nodes,)
    const S* variance;    // (nodes,)
};

inline std::int64_t packed_mixture_size(const MixtureArguments& mixture, std::int64_t dim, std::int64_t n_nodes) {
    return mixture.components * (2 * dim + 1) + 2 * n_nodes;
}

// Where the parts lie of what fill_packed_mixture has filled.
template <class S>
PackedMixture<S> packed_mixture(const MixtureArguments& mixture, std::int64_t dim, std::int64_t n_nodes, const S* at) {
    const std::int64_t size = mixture.components * dim;
    const S* times = at + 2 * size + mixture.components;
    return {.view = {.means = at,
                     .variances = at + size,
                     .log2_weights = at + 2 * size,
                     .components = static_cast<int>(mixture.components)},
            .mean_scale = times,
            .variance = times + n_nodes};
}

template <class S>
void fill_packed_mixture(const MixtureArguments& mixture, std::int64_t dim, std::int64_t n_nodes, S* to) {
    const std::int64_t size = mixture.components * dim;
    for (std::int64_t i = 0; i < size; ++i) *to++ = static_cast<S>(mixture.means[i]);
    for (std::int64_t i = 0; i < size; ++i) *to++ = static_cast<S>(mixture.variances[i]);
    for (std::int64_t c = 0; c < mixture.components; ++c) {
        const double weight = std::log2(mixture.weights[c]);
        *to++ = static_cast<S>(weight < -1e30 ? -1e30 : weight);  // a weight may be zero
    }
    for (std::int64_t k = 0; k < n_nodes; ++k) *to++ = static_cast<S>(mixture.mean_scale[k]);
    for (std::int64_t k = 0; k < n_nodes; ++k) *to++ = static_cast<S>(mixture.variance[k]);
}

// One row, as fill_mixture_row fills it, at the m and v of every lane.
template <bool Isotropic, class V>
TK_HD void diffused_row(const MixtureView<ScalarOf<V>>& mixture, int component, int dim, V m, V v, V* row) {
    using S = ScalarOf<V>;
    constexpr S log2_two_pi = S(2.651496129472319);
    const S* means = mixture.means + component * dim;
    const S* variances = mixture.variances + component * dim;
    const V square = m * m;
    if constexpr (Isotropic) {
        const V variance = square * variances[0] + v;
        const V precision = S(1) / variance;
        const S count = static_cast<S>(dim);
        row[0] = mixture.log2_weights[component] - (S(0.5) * count) * (log2_two_pi + log2_e<S> * log(variance));
        row[1] = (S(0.5) * log2_e<S>)*precision;
        row[2] = precision;
        row[3] = count * precision;
        for (int i = 0; i < dim; ++i) row[4 + i] = m * means[i];
    } else {
        V log2_variances{}, precisions{};
        for (int i = 0; i < dim; ++i) {
            const V variance = square * variances[i] + v;
            row[2 + 2 * i] = m * means[i];
            row[3 + 2 * i] = S(1) / variance;
            precisions = precisions + row[3 + 2 * i];
            log2_variances = log2_variances + (log2_two_pi + log2_e<S> * log(variance));
        }
        row[0] = mixture.log2_weights[component] - S(0.5) * log2_variances;
        row[1] = precisions;
    }
}

// The same, one copy for all callers: for dimensions that the compiler does not know.
template <bool Isotropic, int MaxDim, class V>
TK_HD_CALL V mixture_score_called(const ScalarOf<V>* rows, int components, int dim, const V* x, V* score,
                                  V& divergence) {
    return mixture_score<Isotropic, MaxDim>(rows, components, dim, x, score, divergence);
}

// Score and divergence where every lane has its own m and v.
template <bool Isotropic, int MaxDim, class V>
TK_HD void mixture_score(const MixtureView<ScalarOf<V>>& mixture, int dim, V m, V v, const V* x, V* score,
                         V& divergence) {
    constexpr int group = 4;
    const int size = mixture_row_size(dim, Isotropic, false);
    V rows[group * mixture_row_size(MaxDim, Isotropic, false)];
    MixtureSums<V, MaxDim> sums;
    V top{};
    int c = 0;
    for (; c + group <= mixture.components; c += group) {
        for (int j = 0; j < group; ++j) diffused_row<Isotropic>(mixture, c + j, dim, m, v, rows + j * size);
        if (c == 0)
            add_components<Isotropic, false, true, group>(rows, dim, x, top, &sums);
        else
            add_components<Isotropic, false, false, group>(rows, dim, x, top, &sums);
    }
    for (; c < mixture.components; ++c) {
        diffused_row<Isotropic>(mixture, c, dim, m, v, rows);
        if (c == 0)
            add_components<Isotropic, false, true, 1>(rows, dim, x, top, &sums);
        else
            add_components<Isotropic, false, false, 1>(rows, dim, x, top, &sums);
    }
    sums.finish(dim, ScalarOf<V>(1) / sums.density, score, divergence);
}

TK_END_NAMESPACE
