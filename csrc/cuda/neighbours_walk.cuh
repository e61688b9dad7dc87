// Which leaves of points a block's queries look at: all of them in their order, or those that a descent of the tree
// finds near enough, nearest boxes first. The stack stands in shared memory and the first thread keeps it; all threads
// of a block call every function together.
#pragma once

#include "../core/arguments.hpp"
#include "../core/neighbours.hpp"
#include "device.cuh"

namespace tk::cuda {

// A descent in shared memory.
template <class S>
struct Descent {
    WaitingNodes<S> waiting;
    TreeNode chosen;                                          // a leaf; none where it is empty
    std::int64_t whole;                                       // points of nodes that lie within every radius
    S least[largest_leaf / 32], greatest[largest_leaf / 32];  // of each warp
};

template <class S, bool Maximum, int Dim>
class TreeWalk {
 public:
    // own: the leaf that is taken first, or −1.
    __device__ TreeWalk(const PointSet<S>& data, const PointSet<S>& queries, std::int64_t own, Descent<S>& descent)
        : data_(data), w_(descent), own_(own), leaves_(leaf_count(data.n, data.leaf)) {
        if (!in_tree()) return;
        if (threadIdx.x == 0) {
            w_.whole = 0;
            w_.waiting.start(leaves_);
            const TreeNode block = node_above(leaf_count(queries.n, queries.leaf), most_waiting, blockIdx.x);
            box_ = queries.bounds + block.index * 2 * data.dim;
        }
    }

    __device__ std::int64_t leaf() const { return leaf_.first; }
    __device__ std::int64_t leaves_taken() const { return taken_; }
    __device__ std::int64_t whole() const { return in_tree() ? w_.whole : 0; }

    // On to the next leaf that matters to some query, of which each thread has a kth; false: there is none.
    __device__ bool next_near(S kth) {
        if (!in_tree()) return next_of_all();
        if (taken_ == 0 && own_ >= 0) return take({-1, own_, own_ + 1});
        gather(kth, kth);
        if (threadIdx.x == 0) {
            const S bound = over_warps(w_.greatest, true);
            w_.chosen = {0, 0, 0};
            tk::next_near<Maximum, Dim>(
                boxes(), own_, [&](S s, const TreeNode&) { return s <= bound; }, w_.waiting, w_.chosen);
        }
        __syncthreads();
        return take(w_.chosen);
    }

    // On to the next leaf that lies in some query's reach, and not within all of theirs.
    __device__ bool next_within(S limit, bool is_query) {
        if (!in_tree()) return next_of_all();
        gather(is_query ? limit : infinite<S>, limit);
        if (threadIdx.x == 0) {
            const S smallest = over_warps(w_.least, false), largest = over_warps(w_.greatest, true);
            w_.chosen = {0, 0, 0};
            const auto whole = [&](const TreeNode& node) { w_.whole += points_of(data_, node); };
            tk::next_within<Maximum, Dim>(boxes(), smallest, largest, whole, w_.waiting, w_.chosen);
        }
        __syncthreads();
        return take(w_.chosen);
    }

    // The measures of the nearest and of the farthest place of the leaf's box; 0 and ∞ where there is none.
    template <class Query>
    __device__ S nearest_of_box(const Query& query) const {
        return has_box() ? measured(query, [](S x, S low, S high) { return outside(x, low, high); }) : S(0);
    }
    template <class Query>
    __device__ S farthest_of_box(const Query& query) const {
        return has_box() ? measured(query, [](S x, S low, S high) { return farthest(x, low, high); }) : infinite<S>;
    }
    __device__ std::int64_t points() const { return points_of(data_, leaf_); }

 private:
    __device__ bool in_tree() const { return data_.bounds != nullptr; }
    __device__ bool has_box() const { return in_tree() && leaf_.index >= 0; }
    __device__ Boxes<S> boxes() const { return {data_.bounds, box_, static_cast<int>(data_.dim)}; }
    __device__ const S* box_of(const TreeNode& node) const { return data_.bounds + node.index * 2 * data_.dim; }

    template <class Query, class Difference>
    __device__ S measured(const Query& query, const Difference& difference) const {
        const S* box = box_of(leaf_);
        const int dim = static_cast<int>(data_.dim);
        S s;
        measure<Maximum, Dim, 1>(
            dim, [&](int axis, int) { return difference(query[axis], box[axis], box[dim + axis]); },
            [](const S*) { return false; }, &s);
        return s;
    }
    __device__ bool take(const TreeNode& node) {
        leaf_ = node;
        taken_ += node.last > node.first;
        return node.last > node.first;
    }
    __device__ bool next_of_all() {
        if (taken_ == leaves_) return false;
        leaf_ = {-1, taken_, taken_ + 1};
        ++taken_;
        return true;
    }

    // The least and the greatest numbers of each warp to shared memory.
    __device__ void gather(S low, S high) {
        for (int step = 16; step > 0; step /= 2) {
            low = minimum(low, __shfl_xor_sync(0xffffffffu, low, step));
            high = maximum(high, __shfl_xor_sync(0xffffffffu, high, step));
        }
        if (threadIdx.x % 32 == 0) {
            w_.least[threadIdx.x / 32] = low;
            w_.greatest[threadIdx.x / 32] = high;
        }
        __syncthreads();
    }
    __device__ S over_warps(const S* values, bool greatest) const {
        S value = values[0];
        for (unsigned warp = 1; warp < blockDim.x / 32; ++warp)
            value = greatest ? maximum(value, values[warp]) : minimum(value, values[warp]);
        return value;
    }

    const PointSet<S>& data_;
    Descent<S>& w_;
    const std::int64_t own_, leaves_;
    const S* box_ = nullptr;  // (2, dim) of the block's queries; the first thread's
    TreeNode leaf_{-1, 0, 0};
    std::int64_t taken_ = 0;
};

}  // namespace tk::cuda
