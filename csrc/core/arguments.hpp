// What the kernels of every machine are given: plain pointers and sizes, checked by the bindings; and their list.
#pragma once

#include <cstdint>

namespace tk {

// Points of the kernels that follow paths have at most so many dimensions, and perceptrons so many units and layers.
constexpr int max_dim = 16, max_width = 256, max_layers = 16;

// Dimensions that scores whose differences are summed have at most, what is summed of two, conditions at once, and
// features of level and condition.
constexpr int max_gap_dim = 64, gap_columns = 3, max_gap_conditions = 16, max_gap_features = 256;

// Numbers a row of the tables that say what happens at a node, and observables that are averaged there.
constexpr int node_columns = 19, rate_columns = 5, flow_columns = 2, part_columns = 4, observables = 7;

// Ways of splitting Δs: three, and the difference of the last two.
constexpr int split_forms = 4;

// Levels of the probability flow's dyadic grid: where points start, the coarsest steps that they may take, and the
// finest that positions can tell apart; and the error, in units of the tolerance, below which steps are doubled.
constexpr int flow_first_level = 4, flow_coarsest_level = 3, flow_finest_level = 20;
constexpr double flow_growth = 1.0 / 64.0;

// Points of a leaf of the neighbour tree, and the longest list of neighbours that is kept in registers.
constexpr std::int64_t leaf_unit = 64, largest_leaf = 256, largest_list = 64;

// What random numbers are for: a tag in the counter, so that streams of one seed never meet.
enum class Purpose : std::uint32_t { noise = 0, start = 1, component = 2, probe = 3, reverse = 4 };
constexpr const char* purposes[] = {"noise", "start", "component", "probe", "reverse"};

enum class Activation : int { silu = 0, tanh = 1, relu = 2, gelu_tanh = 3 };
constexpr const char* activations[] = {"silu", "tanh", "relu", "gelu-tanh"};

// How CUDA devices multiply the matrices between a perceptron's hidden layers in float32: by float32's own arithmetic,
// or by tensor cores: csrc/cuda/tensor_cores.cuh.
enum class Products : int { fp32 = 0, tf32x3 = 1, tf32 = 2, bf16 = 3 };
constexpr const char* products[] = {"fp32", "tf32x3", "tf32", "bf16"};

enum class Probe : int { rademacher = 0, gaussian = 1, sphere = 2 };
constexpr const char* probes[] = {"rademacher", "gaussian", "sphere"};

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
    const S* weights[max_layers + 1];  // hidden layers, then the output layer
    std::int64_t widths[max_layers];   // of the hidden layers
    std::int64_t hidden_layers;
    int activation;
    Products products;
    const S* biases;        // (nodes, Σ widths + dim)
    const S* output_scale;  // (nodes,)
    const S* skip;          // (nodes,)
};

template <class S>
struct ScoreSource {
    bool is_mlp;
    MixtureArguments mixture;
    MlpArguments<S> mlp;
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

template <class S>
struct ScoreArguments {
    ScoreSource<S> source;  // at one node
    ScoreOutputs<S> out;
};

// How forward paths' Δs is split: core/trajectory_parts.hpp.
template <class S>
struct SplitArguments {
    const S* table;                   // (nodes, part_columns): PartNode; or null: Δs is not split
    std::int64_t stretches, columns;  // of time; the components of x that are told apart, or 1 for their sum
    S* totals;                        // (split_forms, n), of each path
    double* nodes;                    // (nodes, split_forms, 2), Σ A and Σ A² over paths
    double* cells;                    // (split_forms, stretches, columns, 2), Σ A and Σ A total
    double* squares;                  // (split_forms, columns), Σ (Σ A over stretches)²
};

template <class S>
struct TrajectoryArguments {
    std::int64_t n, dim, n_nodes;
    const S* steps;  // (nodes, node_columns): core/node.hpp, Node
    ScoreSource<S> model, reference;
    S divergence_weight;
    bool sampler, reverse;
    std::uint64_t seed, path_offset;
    const S* x;   // (n, dim)
    S* value;     // (n,)
    S* mismatch;  // (n,)
    S* x_last;    // (n, dim)
    S* coarse;    // (n, 2), the sums over every second and every fourth node; or null: without them
    SplitArguments<S> split;
};

// What is averaged along the paths of a trajectory: core/trajectory_averages.hpp.
template <class S>
struct TrajectoryAveragesArguments {
    TrajectoryArguments<S> paths;  // without value and mismatch
    const S* rates;                // (nodes, rate_columns): RateNode
    double* mean;                  // (nodes, observables)
    double* m2;                    // (nodes, observables), Σ (value − mean)²
    S* integrals;                  // (n, observables)
};

// Consecutive nodes of many paths, whose scores were computed elsewhere. Null: without it.
template <class S>
struct TrajectoryStepArguments {
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

// v·product, with the probe v numbers first … first + dim of each path's stream of probes.
template <class S>
struct HutchinsonArguments {
    std::int64_t n, dim;
    Probe kind;
    std::uint64_t seed, path_offset, first;
    const S* products;  // (n, dim)
    S* out;             // (n,)
};

// The probability-flow equation on a dyadic grid: core/probability_flow.hpp.
template <class S>
struct ProbabilityFlowArguments {
    std::int64_t n, dim, n_nodes;
    int levels;
    const S* table;  // (nodes, flow_columns): FlowNode
    ScoreSource<S> score;
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

// Differences of the scores of two Gaussians at noisy points m x_0 + √v z: core/gaussian_gap.hpp. Axes and what points
// are made of are those of the first Gaussian's covariance, one row an axis.
template <class S>
struct GaussianGapArguments {
    std::int64_t n, dim, levels;        // levels: n, or 0: all points share one
    const S *from_first, *from_second;  // (dim, n): x_0 minus each Gaussian's centre
    const S* rotation;                  // (dim, dim): the second's axes, one a row
    const S *first, *second;            // (dim,): variances along their own axes
    const S* centre;                    // (dim,): the second's
    const S *mean_scale, *root;         // (levels,) or (1,): m and √v
    S reference;                        // variance of a third Gaussian, isotropic and centred at zero
    const S* noise;                     // (dim, n), or null: numbers 0 … dim − 1 of each path's stream
    std::uint64_t seed, path_offset;
    S* out;  // (gap_columns, n)
};

// Differences of the scores of one perceptron under several conditions, at noisy points: core/mlp_gap.hpp. Axes and
// units stand in rows, one point a column.
template <class S>
struct MlpGapArguments {
    std::int64_t n, dim, conditions;  // the last condition is that which the others are compared with; or there is one
    std::int64_t level_size, condition_size;  // features of a noise level, and of a condition
    MlpArguments<S> mlp;                      // its matrices, widths and activation alone
    bool residual;                    // whether every second layer adds what stood before the activation two layers ago
    const S* biases[max_layers + 1];  // of each layer, (rows,)
    const S* context[max_layers + 1];  // (rows, level_size + condition_size), or null: the layer sees neither
    const S* level;                    // (level_size, n)
    const S* condition;                // (conditions, condition_size, n)
    const S* from_centre;              // (dim, n): x_0 minus the centre
    const S *enter, *scale, *skip;     // (dim, n): the network's input and the pushed score, see MlpGapAxis
    const S* centre;                   // (dim,)
    const S *mean_scale, *root;        // (n,): m and √v
    S reference;                       // variance of a Gaussian, isotropic and centred at zero
    const S* noise;                    // (dim, n), or null: numbers 0 … dim − 1 of each path's stream
    std::uint64_t seed, path_offset;
    S* out;  // (gap_columns, pairs, n), of each condition and the last; of one, of it and the reference
};

// Points in leaves, each a structure of arrays with infinity past its end: core/neighbours.hpp.
template <class S>
struct PointSet {
    std::int64_t n, dim, leaf;  // leaf: capacity, a multiple of leaf_unit
    const S* points;            // (leaves, dim, leaf), times the scale
    const std::int32_t* order;  // (n,): which point stands where
    const S* bounds;            // (2 leaves − 1, 2, dim): the nodes' boxes; null: no tree, all pairs
};

template <class S>
struct NeighboursBuildArguments {
    std::int64_t n, dim, leaf;
    S scale;              // a power of two that every coordinate is multiplied with
    const S* x;           // (n, dim)
    S* points;            // as in PointSet
    std::int32_t* order;  // as in PointSet
    S* bounds;            // as in PointSet; null: the points stay in their order
};

template <class S>
struct NeighboursSearchArguments {
    PointSet<S> data, queries;
    bool own;  // the queries are the data, each point itself left out
    bool max_norm;
    std::int64_t k;
    S scale, upper;         // only distances below `upper`
    S* distances;           // (queries, k)
    std::int64_t* indices;  // (queries, k), or null
    std::int64_t* pairs;    // (1,): distances that were computed
};

template <class S>
struct NeighboursCountArguments {
    PointSet<S> data, queries;
    bool max_norm, strict;
    S scale;
    const S* radius;       // (queries,)
    std::int64_t* counts;  // (queries,)
};

// Every kernel: its name on all floors, and what it is given. The tables of both machines, the wrappers that call them
// and their declarations follow from this list.
#define TK_KERNELS(kernel)                                                                                        \
    kernel(normals, NormalsArguments) kernel(score, ScoreArguments) kernel(trajectory, TrajectoryArguments)       \
        kernel(trajectory_averages, TrajectoryAveragesArguments) kernel(trajectory_step, TrajectoryStepArguments) \
            kernel(hutchinson, HutchinsonArguments) kernel(probability_flow, ProbabilityFlowArguments)            \
                kernel(langevin, LangevinArguments) kernel(gaussian_gap, GaussianGapArguments)                    \
                    kernel(mlp_gap, MlpGapArguments) kernel(neighbours_build, NeighboursBuildArguments)           \
                        kernel(neighbours_search, NeighboursSearchArguments)                                      \
                            kernel(neighbours_count, NeighboursCountArguments)

}  // namespace tk
