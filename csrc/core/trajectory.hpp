// One path through all its nodes, in the order in which it visits them, and the sums it collects along the way.
//
// Every scheme of the time-asymmetry entropy production of Ding, Quan and Tu (Eq. 28) is a sum over nodes
//   a [|s|² + c ∇·s](x) + s(x)·(b z + b' z'),   model minus reference,
// with c = 2 (Itô), 1 (Stratonovich) or 0 (backward Itô), z the noise of the step that led to the node and z' that of
// the step that leaves it; a, b, b' come as numbers. The sampler scheme compares transition densities instead: with x⁻
// the earlier end of a step and z its noise, w = u x⁻ + r z + y s(x), (z + w) is the standardised residual of the
// reverse chain and each step adds (|z + w|² − |z|²)/2 = w·(z + w/2).
//
// Forward paths x → F x + G z draw z. Reverse paths are driven by the model, x → F x + P s_θ(x) + G z̃, and z is the
// noise that the forward process would have needed for the same step, read off it: z = α x + β s_θ(x) + γ z̃.
#pragma once

#include "arguments.hpp"
#include "mixture.hpp"
#include "mlp.hpp"
#include "node.hpp"
#include "normals.hpp"

TK_BEGIN_NAMESPACE

// A source of scores gives, at a node, the model's and the reference's score and divergence. Three kinds follow.

// Two mixtures with the same components and different weights: exponentials are computed once.
template <class S, bool Isotropic, int MaxDim>
struct SharedMixtures {
    static constexpr int max_dim = MaxDim;
    const S* rows;  // (nodes, components, row size)
    int components;

    template <class V>
    TK_HD void scores(std::int64_t node, int dim, const V* x, V*, V* model, V& model_divergence, V* reference,
                      V& reference_divergence) const {
        MixtureSums<V, MaxDim> sums[2];
        const std::int64_t size = static_cast<std::int64_t>(components) * mixture_row_size(dim, Isotropic, true);
        mixture_sums<Isotropic, true>(rows + node * size, components, dim, x, sums);
        const V inverse = S(1) / (sums[0].density * sums[1].density);  // weights are at least 1e-12 here
        sums[0].finish(dim, inverse * sums[1].density, model, model_divergence);
        sums[1].finish(dim, inverse * sums[0].density, reference, reference_divergence);
    }
};

template <class S, bool Isotropic, int MaxDim>
struct Mixture {
    const S* rows;
    int components;

    template <class V>
    TK_HD void score(std::int64_t node, int dim, const V* x, V*, V* score, V& divergence) const {
        const std::int64_t size = static_cast<std::int64_t>(components) * mixture_row_size(dim, Isotropic, false);
        if constexpr (MaxDim > 3)
            mixture_score_called<Isotropic, MaxDim>(rows + node * size, components, dim, x, score, divergence);
        else
            mixture_score<Isotropic, MaxDim>(rows + node * size, components, dim, x, score, divergence);
    }
};

template <class S>
struct Mlp {
    MlpView<S> view;
    bool with_divergence;

    template <class V>
    TK_HD void score(std::int64_t node, int, const V* x, V* scratch, V* score, V& divergence) const {
        mlp_score(view, node, x, with_divergence, scratch, score, divergence);
    }
};

template <class Model, class Reference, int MaxDim>
struct Independent {
    static constexpr int max_dim = MaxDim;
    Model model_source;
    Reference reference_source;

    template <class V>
    TK_HD void scores(std::int64_t node, int dim, const V* x, V* scratch, V* model, V& model_divergence, V* reference,
                      V& reference_divergence) const {
        model_source.score(node, dim, x, scratch, model, model_divergence);
        reference_source.score(node, dim, x, scratch, reference, reference_divergence);
    }
};

// Noise of consecutive steps. Number j = step · dim + component of a path's stream is lane j % 4 of block j / 4; a
// period is the shortest run of steps that fills whole blocks.
template <class V, int MaxDim>
struct NoiseStream {
    std::uint64_t seed;
    Purpose purpose;
    PathIndex<V> path;
    V numbers[4 * MaxDim];

    // The dim numbers of step k: in place, or on a CUDA thread in `copy`, chosen by constant indices that let the
    // numbers stay in registers.
    TK_HD const V* step(int dim, std::int64_t k, [[maybe_unused]] V* copy) {
        const int period = dim % 4 == 0 ? 1 : dim % 2 == 0 ? 2 : 4;
        const int phase = static_cast<int>(k % period);
        if (phase == 0) {
            const int blocks = period * dim / 4;
            const std::uint32_t first = static_cast<std::uint32_t>(k * dim / 4);
            for (int b = 0; b < blocks; ++b)
                normal_block<V>(seed, purpose, path, first + static_cast<std::uint32_t>(b), numbers + 4 * b);
        }
#if defined(__CUDA_ARCH__)
        TK_UNROLL
        for (int p = 0; p < 4; ++p) {
            TK_UNROLL
            for (int i = 0; i < MaxDim; ++i)
                if (p == phase && i < dim) copy[i] = numbers[p * dim + i];
        }
        return copy;
#else
        return numbers + phase * dim;
#endif
    }
};

template <class V>
struct PathSums {
    V value{};     // Δs, without end terms
    V mismatch{};  // Σ weight |s_θ − s_*|²
    V two{};       // Δs over every second node, and
    V four{};      // over every fourth
};

template <class S>
struct TrajectorySettings {
    const Node<S>* nodes;
    std::int64_t n_nodes;
    S divergence_weight;  // c
    bool sampler;
    bool reverse;  // nodes come from the last time to the first
    bool coarse;   // whether the sums over coarser grids are wanted
    std::uint64_t seed;
};

template <class S>
TrajectorySettings<S> settings_of(const TrajectoryArguments<S>& arguments) {
    return {.nodes = reinterpret_cast<const Node<S>*>(arguments.steps),
            .n_nodes = arguments.n_nodes,
            .divergence_weight = arguments.divergence_weight,
            .sampler = arguments.sampler,
            .reverse = arguments.reverse,
            .coarse = arguments.coarse != nullptr,
            .seed = arguments.seed};
}

// A path at a node: the noise of the step that led there, of the step that leaves, and where the former began.
template <class V>
struct Visit {
    const V *x, *model, *reference, *carried, *noise, *previous;
    V model_divergence, reference_divergence;
};

// An observer looks at a path at every node; this one does not.
struct NoObserver {
    template <class V>
    TK_HD void look(std::int64_t, int, const Visit<V>&) const {}
};

// Takes `x` (dim values) from the first node that it visits to the last.
template <class V, class Scores, class Observer>
TK_HD PathSums<V> run_path(const TrajectorySettings<ScalarOf<V>>& settings, const Scores& scores, Observer&& observer,
                           int dim, PathIndex<V> path, V* scratch, V* x) {
    constexpr int max_dim = Scores::max_dim;
    PathSums<V> sums;
    NoiseStream<V, max_dim> stream{settings.seed, settings.reverse ? Purpose::reverse : Purpose::noise, path, {}};
    V carried[max_dim], previous[max_dim];
    for (int i = 0; i < dim; ++i) carried[i] = previous[i] = V{};
    CoarseSums<V, max_dim> coarse;
    if (settings.coarse) coarse.begin(dim);

    for (std::int64_t k = 0; k < settings.n_nodes; ++k) {
        const Node<ScalarOf<V>>& node = settings.nodes[k];
        V copy[max_dim];
        // Early, to overlap with the scores; the last node's have weight zero.
        const V* drawn = stream.step(dim, k, copy);
        V model[max_dim], reference[max_dim], model_divergence, reference_divergence;
        scores.scores(k, dim, x, scratch, model, model_divergence, reference, reference_divergence);

        V next[max_dim], noise[max_dim];
        if (settings.reverse)
            for (int i = 0; i < dim; ++i) leave_node<true>(node, x[i], model[i], drawn[i], next[i], noise[i]);
        else
            for (int i = 0; i < dim; ++i) leave_node<false>(node, x[i], model[i], drawn[i], next[i], noise[i]);

        observer.look(k, dim,
                      Visit<V>{x, model, reference, carried, noise, previous, model_divergence, reference_divergence});
        NodeSums<V> here;
        here.energy = settings.divergence_weight * (model_divergence - reference_divergence);
        for (int i = 0; i < dim; ++i) here.add_scores(node, model[i], reference[i], carried[i], noise[i]);
        if (settings.sampler)
            for (int i = 0; i < dim; ++i)
                here.add_chain(node, settings.reverse ? next[i] : previous[i], settings.reverse ? noise[i] : carried[i],
                               model[i]);
        if (settings.coarse) {
            coarse.visit(node, dim, model, reference, here.energy);
            coarse.leave(node, dim, noise);
        }
        sums.value = sums.value + here.value(node);
        sums.mismatch = sums.mismatch + node.mismatch * here.mismatch;
        for (int i = 0; i < dim; ++i) {
            previous[i] = x[i];
            carried[i] = noise[i];
            x[i] = next[i];
        }
    }
    sums.two = coarse.two.value;
    sums.four = coarse.four.value;
    return sums;
}

TK_END_NAMESPACE
