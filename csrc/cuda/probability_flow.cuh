// The probability-flow equation: one thread a point with its own steps; with networks, a tile of points a block, which
// goes on until its last point has arrived.
#pragma once

#include "../core/probability_flow.hpp"
#include "network.cuh"

namespace tk::cuda {

template <class S>
struct FlowPoints {
    std::int64_t n;
    int dim, levels;
    const FlowNode<S>* table;  // (nodes,)
    S rtol, atol;
    const S* x;                 // (n, dim)
    S* x_last;                  // (n, dim)
    S* divergence;              // (n,)
    std::int64_t* evaluations;  // (n,)
    std::int64_t* status;       // (n,)
};

// A point under way.
template <class S, int MaxDim>
struct FlowCourse {
    FlowLane lane;
    FlowState<S, MaxDim> state, next;

    __device__ __forceinline__ FlowCourse(const FlowPoints<S>& points, int dim, std::int64_t row)
        : lane{row, 0, 0, flow_first_level, false}, state{}, next{} {
        for (int i = 0; i < dim; ++i) state.x[i] = points.x[row * dim + i];
    }

    // One step, of no length for a point that has ended; whether the point goes on.
    template <class Field>
    __device__ __forceinline__ bool step(const Field& field, const FlowPoints<S>& points, const FlowRule<S>& rule,
                                         int dim, bool going) {
        std::int64_t nodes[flow_stages - 1] = {};
        S h{};
        if (going && lane.started) {
            flow_step_nodes(lane.position, lane.level, nodes, 1);
            h = static_cast<S>(1.0 / static_cast<double>(std::int64_t(1) << lane.level));
        }
        const S error = flow_step(field, points.table, rule, nodes, h, dim, points.rtol, points.atol, state,
                                  static_cast<S*>(nullptr), next);
        if (!going) return false;
        bool ended;
        FlowStatus status{};
        if (flow_decide(lane, static_cast<double>(error), points.levels, ended, status)) {
            for (int i = 0; i < dim; ++i) {
                state.x[i] = next.x[i];
                state.slope[i] = next.slope[i];
            }
            state.gathered = next.gathered;
            state.rate = next.rate;
        }
        if (!ended) return true;
        for (int i = 0; i < dim; ++i) points.x_last[lane.row * dim + i] = state.x[i];
        points.divergence[lane.row] = state.gathered;
        points.evaluations[lane.row] = lane.evaluations;
        points.status[lane.row] = static_cast<std::int64_t>(status);
        return false;
    }
};

// Three and four dimensions in float64 take more than the 128 registers that four blocks leave a thread.
template <class S, int D>
constexpr int flow_blocks = sizeof(S) == 8 && D > 2 ? 2 : 4;

template <class S, bool Isotropic, int D>
__global__ void __launch_bounds__(mixture_threads, flow_blocks<S, D>)
    mixture_flow_kernel(const __grid_constant__ MixtureFlow<S, Isotropic, Dim<D>::bound> field,
                        const __grid_constant__ FlowPoints<S> points, const __grid_constant__ FlowRule<S> rule) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * mixture_threads + threadIdx.x;
    if (row >= points.n) return;
    const int dim = Dim<D>::value(points.dim);
    FlowCourse<S, Dim<D>::bound> course(points, dim, row);
    while (course.step(field, points, rule, dim, true)) {
    }
}

// The biases of a layer, each path's at a node of its own.
template <class S>
struct OwnBiases {
    const S* biases;
    const std::int32_t* nodes;  // (paths,), shared
    int stride;
    TK_HD S of(int path, int row) const { return biases[static_cast<std::int64_t>(nodes[path]) * stride + row]; }
    TK_HD void skip(int rows) { biases += rows; }
};

// A network at a node of each path's own; shared memory has one number a path for the nodes.
template <class S>
struct BlockMlpFlow {
    static constexpr int max_dim = tk::max_dim;
    BlockMlp<S> mlp;

    TK_HD void score(const std::int64_t* nodes, int dim, const S* x, S*, S* score, S& divergence) const {
#if TK_ON_DEVICE
        TK_DYN_SHARED(S, shared);
        auto* const of_paths = reinterpret_cast<std::int32_t*>(shared + mlp.tile.more);
        if (static_cast<int>(threadIdx.x) < mlp.tile.paths) of_paths[threadIdx.x] = static_cast<std::int32_t>(nodes[0]);
        const MlpView<S>& view = mlp.view;
        const S trace = mlp.evaluate(OwnBiases<S>{view.biases, of_paths, view.bias_stride}, dim, x, score);
        scale_output(view.output_scale[nodes[0]], view.skip[nodes[0]], view.dim, x, trace, score, divergence);
#endif
    }
};

template <class S>
__global__ void __launch_bounds__(network_threads, network_blocks<S>)
    network_flow_kernel(const __grid_constant__ BlockMlpFlow<S> field, const __grid_constant__ FlowPoints<S> points,
                        const __grid_constant__ FlowRule<S> rule) {
    TK_SHARED(int, running);
    const TilePath point = tile_path(field.mlp.tile.paths, points.n);
    FlowCourse<S, max_dim> course(points, points.dim, point.index);
    bool going = point.owned;
    for (;;) {
        if (threadIdx.x == 0) running = 0;
        __syncthreads();
        if (going) atomicOr(&running, 1);
        __syncthreads();
        const bool any = running != 0;
        __syncthreads();
        if (!any) return;
        going = course.step(field, points, rule, points.dim, going);
    }
}

}  // namespace tk::cuda
