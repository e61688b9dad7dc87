// Nodes of many paths whose scores came from elsewhere, a pack of a row at a time.
#pragma once

#include "../core/trajectory_step.hpp"
#include "rows.cuh"

namespace tk::cuda {

template <class S, bool Sampler, bool Reverse>
struct TrajectoryStepWork {
    using Scalar = S;
    using Sums = NodeSums<S>;
    TrajectoryStepArguments<S> a;

    __device__ __forceinline__ void add(bool wide, std::int64_t row, std::int64_t c, int count, Sums& sums) const {
        const std::int64_t at = row * a.dim + c;
        const S* before = previous_of(a, row);
        const std::uint64_t number = a.first + static_cast<std::uint64_t>(c);
        S x[row_pack], model[row_pack], reference[row_pack], drawn[row_pack], carried[row_pack];
        S previous[row_pack] = {}, next[row_pack] = {}, noise[row_pack] = {};
        load_row(a.x + at, wide, count, x);
        load_row(a.model + at, wide, count, model);
        load_row(a.reference + at, wide, count, reference);
        noise_row(a.drawn, a.draw, wide, row, at, number, count, drawn);
        noise_row(a.carried, a.draw_carried, wide, row, at, number - static_cast<std::uint64_t>(a.dim), count, carried);
        if (before != nullptr) load_row(before + c, wide, count, previous);
        TK_UNROLL
        for (int i = 0; i < row_pack; ++i) {
            if (i >= count) continue;
            const NodeInput<S> in{x[i], model[i], reference[i], drawn[i], carried[i], previous[i]};
            const NodeOutput<S> out = visit_node<Sampler, Reverse>(node_of(a, row), in, sums);
            next[i] = out.next;
            noise[i] = out.noise;
        }
        if (a.next != nullptr) store_row(a.next + at, wide, count, next);
        if (Reverse && a.noise != nullptr) store_row(a.noise + at, wide, count, noise);
    }

    __device__ __forceinline__ void finish(std::int64_t row, const Sums& sums) const {
        const Node<S>& node = node_of(a, row);
        a.value[row] = sums.value(node);
        a.mismatch[row] = node.mismatch * sums.mismatch;
    }

 private:
    // Noise that is given, drawn, or nought.
    __device__ __forceinline__ void noise_row(const S* given, bool draw, bool wide, std::int64_t row, std::int64_t at,
                                              std::uint64_t number, int count, S* to) const {
        if (given != nullptr) return load_row(given + at, wide, count, to);
        if (draw) {
            const PathIndex<S> path = path_index<S>(a.path_offset + static_cast<std::uint64_t>(row));
            return draw_row<S>(a.seed, Reverse ? Purpose::reverse : Purpose::noise, path, number, count, to);
        }
        TK_UNROLL
        for (int i = 0; i < row_pack; ++i) to[i] = S(0);
    }
};

}  // namespace tk::cuda
