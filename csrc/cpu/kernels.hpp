// The CPU kernels' interface: plain arguments in, nothing allocated for the caller, nothing thrown.
//
// Each kernel is compiled once per instruction set; kernels() gives the table for the best one that this machine has
// and that the environment variable THERMOKERN_ISA allows.
#pragma once

#include <cstdint>

#include "neighbours.hpp"

namespace tk {

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
    const S* steps;  // (nodes, 13): core/trajectory.hpp, Node
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
    const S* rates;  // (nodes, 5): RateNode
    double* mean;    // (nodes, 7)
    double* m2;      // (nodes, 7), Σ (value − mean)²
    S* integrals;    // (n, 7)
};

// The probability-flow equation on a dyadic grid: core/flow.hpp.
template <class S>
struct FlowArguments {
    std::int64_t n, dim, n_nodes;
    int levels;
    const S* table;  // (nodes, 2): FlowNode
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

// One node of many paths, whose scores were computed elsewhere. Null: without it.
template <class S>
struct StreamArguments {
    std::int64_t n, dim;
    const S* node;                        // (13,): core/trajectory.hpp, Node
    const S *x, *model, *reference;       // (n, dim)
    const S *drawn, *carried, *previous;  // (n, dim) or null; null noise is drawn where its flag says so
    bool draw, draw_carried;              // numbers first … and first − dim … of each path's stream
    bool sampler, reverse;
    std::uint64_t seed, path_offset, first;
    S *value, *mismatch;  // (n,)
    S *next, *noise;      // (n, dim) or null
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

enum class Function : int { exp2, log, sine, cosine, sigmoid, tanh, silu, silu_slope, gelu, gelu_slope };

// A long kernel asks this now and then, from the thread that called it; true stops it, its outputs half filled.
struct Interrupt {
    bool (*requested)(void*);
    void* context;
};

// Every kernel returns true when it ran to its end.
template <class S>
struct PrecisionKernels {
    bool (*normals)(const NormalsArguments<S>&, int threads, Interrupt);
    bool (*flow)(const FlowArguments<S>&, int threads, Interrupt);
    bool (*langevin)(const LangevinArguments<S>&, int threads, Interrupt);
    bool (*score)(const ScoreArguments<S>&, const ScoreOutputs<S>&, int threads, Interrupt);
    bool (*trajectory)(const TrajectoryArguments<S>&, int threads, Interrupt);
    bool (*trajectory_averages)(const TrajectoryArguments<S>&, const AveragesArguments<S>&, int threads, Interrupt);
    bool (*stream)(const StreamArguments<S>&, int threads, Interrupt);
    bool (*hutchinson)(const ProbeArguments<S>&, int threads, Interrupt);
    NeighbourKernels<S> neighbours;
    void (*evaluate)(Function, const S* in, S* out, std::int64_t n);  // for the tests of core/math.hpp
};

struct Kernels {
    const char* name;
    int lanes;  // of float32
    PrecisionKernels<float> float32;
    PrecisionKernels<double> float64;
    void (*philox)(const std::uint32_t counter[4], std::uint64_t seed, std::uint32_t out[4]);
};

const Kernels& kernels();                   // the set in use
const char* best_instruction_set();         // what this machine could use
bool is_instruction_set(const char* name);  // whether THERMOKERN_ISA may have this value
int threads_allowed(int requested);         // 1 in a forked child, where OpenMP cannot start threads

}  // namespace tk
