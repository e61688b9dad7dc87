// Linear overdamped Langevin paths, and the work that their circulation does.
//
// dx = −A x dt + √2 L dw by Euler and Maruyama, x being the distance from the centre. The only part of the entropy
// production that is not a function of a path's ends is Σ x_kᵀ B (x_{k+1} − x_k) with B antisymmetric.
#pragma once

#include "trajectory.hpp"

TK_BEGIN_NAMESPACE

template <class S>
struct LinearLangevin {
    const S* drift;        // A, (dim, dim)
    const S* noise;        // √2 L, (dim, dim), lower triangle
    const S* circulation;  // B, (dim, dim)
    const S* steps;        // (steps, 2): h and √h
    std::int64_t n_steps;
    std::uint64_t seed;
};

template <class S>
LinearLangevin<S> system_of(const LangevinArguments<S>& arguments) {
    return {.drift = arguments.drift,
            .noise = arguments.noise,
            .circulation = arguments.circulation,
            .steps = arguments.steps,
            .n_steps = arguments.n_steps,
            .seed = arguments.seed};
}

// Takes `x` (dim values) through all steps; the sum along the way.
template <int MaxDim, class V>
TK_HD V run_langevin(const LinearLangevin<ScalarOf<V>>& system, int dim, PathIndex<V> path, V* x) {
    using S = ScalarOf<V>;
    NoiseStream<V, MaxDim> stream{system.seed, Purpose::noise, path, {}};
    V sum{};
    for (std::int64_t k = 0; k < system.n_steps; ++k) {
        const S h = system.steps[2 * k], root = system.steps[2 * k + 1];
        V copy[MaxDim], step[MaxDim], work{};
        const V* z = stream.step(dim, k, copy);
        for (int i = 0; i < dim; ++i) {
            V slope{}, kick{}, turn{};
            for (int j = 0; j < dim; ++j) {
                slope = slope + system.drift[i * dim + j] * x[j];
                turn = turn + system.circulation[j * dim + i] * x[j];
            }
            for (int j = 0; j <= i; ++j) kick = kick + system.noise[i * dim + j] * z[j];
            step[i] = root * kick - h * slope;
            work = work + turn * step[i];
        }
        sum = sum + work;
        for (int i = 0; i < dim; ++i) x[i] = x[i] + step[i];
    }
    return sum;
}

TK_END_NAMESPACE
