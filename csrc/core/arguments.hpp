// What the kernels of every machine are given: plain pointers and sizes, checked by the bindings.
#pragma once

#include <cstdint>

namespace tk {

// Numbers a row of the tables that say what happens at a node, and observables that are averaged there.
constexpr int node_columns = 13, rate_columns = 5, flow_columns = 2, observables = 7;

// Levels of the probability flow's dyadic grid: where points start, and the finest that positions can tell apart.
constexpr int flow_first_level = 4, flow_finest_level = 20;

// A mixture at data time and, per node, the m and v of x_t | x_0 ~ N(m x_0, v I). All float64.
struct MixtureArguments {
    const double* means;       // (components, dim)
    const double* variances;   // (components, dim)
    const double* weights;     // (components,)
    const double* mean_scale;  // (nodes,)
    const double* variance;    // (nodes,)
    std::int64_t components;
};

// Kernels come in two precisions; S is float or double.

// A perceptron whose biases, output scale and skip are given at every node; matrices (out, in).
template <class S>
struct MlpArguments {
    static constexpr int max_layers = 17;
    const S* weights[max_layers];     // hidden layers, then the output layer
    std::int64_t widths[max_layers];  // of the hidden layers
    std::int64_t hidden_layers;
    int activation;
    const S* biases;        // (nodes, Σ widths + dim)
    const S* output_scale;  // (nodes,)
    const S* skip;          // (nodes,)
};

template <class S>
struct ScoreArguments {
    bool is_mlp;
    MixtureArguments mixture;
    MlpArguments<S> mlp;
};

template <class S>
struct TrajectoryArguments {
    std::int64_t n, dim, n_nodes;
    const S* steps;  // (nodes, node_columns): core/node.hpp, Node
    ScoreArguments<S> model, reference;
    S divergence_weight;
    bool sampler, reverse;
    std::uint64_t seed, path_offset;
    const S* x;   // (n, dim)
    S* value;     // (n,)
    S* mismatch;  // (n,)
    S* x_last;    // (n, dim)
};

// What is averaged along the paths of a trajectory: core/observables.hpp.
template <class S>
struct AveragesArguments {
    const S* rates;  // (nodes, rate_columns): RateNode
    double* mean;    // (nodes, observables)
    double* m2;      // (nodes, observables), Σ (value − mean)²
    S* integrals;    // (n, observables)
};

template <class S>
struct NormalsArguments {
    std::int64_t n, count;  // paths, numbers of each
    std::uint64_t seed, path_offset, first;
    std::uint32_t purpose;
    S* out;  // (n, count)
};

template <class S>
struct ScoreOutputs {
    std::int64_t n, dim;
    const S* x;      // (n, dim)
    S* score;        // (n, dim)
    S* divergence;   // (n,)
    S* log_density;  // (n,), mixtures only
};

// The probability-flow equation on a dyadic grid: core/flow.hpp.
template <class S>
struct FlowArguments {
    std::int64_t n, dim, n_nodes;
    int levels;
    const S* table;  // (nodes, flow_columns): FlowNode
    ScoreArguments<S> score;
    S rtol, atol;
    const S* x;                 // (n, dim)
    S* x_last;                  // (n, dim)
    S* divergence;              // (n,)
    std::int64_t* evaluations;  // (n,)
    std::int64_t* status;       // (n,): FlowStatus
};

// Linear overdamped Langevin paths: core/langevin.hpp, LinearLangevin.
template <class S>
struct LangevinArguments {
    std::int64_t n, dim, n_steps;
    const S* drift;        // (dim, dim)
    const S* noise;        // (dim, dim), lower triangle
    const S* circulation;  // (dim, dim)
    const S* steps;        // (steps, 2)
    std::uint64_t seed, path_offset;
    const S* x;  // (n, dim)
    S* x_last;   // (n, dim)
    S* work;     // (n,)
};

// Consecutive nodes of many paths, whose scores were computed elsewhere. Null: without it.
template <class S>
struct StreamArguments {
    std::int64_t nodes, n, dim;
    const S* table;                  // (nodes, node_columns): core/node.hpp, Node
    const S *x, *model, *reference;  // (nodes, n, dim)
    const S *drawn, *carried;        // (nodes, n, dim) or null
    const S* previous;               // (n, dim) or null: x at the node before the first
    bool draw, draw_carried;         // of one node: null noise is numbers first … and first − dim … of a path's stream
    bool sampler, reverse;
    std::uint64_t seed, path_offset, first;
    S *value, *mismatch;  // (nodes, n)
    S *next, *noise;      // (nodes, n, dim) or null
};

enum class Probe : int { rademacher, gaussian, sphere };

// v·product, with the probe v numbers first … first + dim of each path's stream of probes.
template <class S>
struct ProbeArguments {
    std::int64_t n, dim;
    Probe kind;
    std::uint64_t seed, path_offset, first;
    const S* products;  // (n, dim)
    S* out;             // (n,)
};

}  // namespace tk
