// Which leaves of points a block's queries look at: all of them in their order, or those that a descent of the tree
// finds near enough, nearest boxes first. The stack stands in shared memory and the first thread keeps it; all threads
// of a block call every function together.
#pragma once

#include "../core/kdtree.hpp"
#include "../core/point_sets.hpp"
#include "device.cuh"

namespace tk::cuda {

constexpr int most_waiting = 64;  // one node for each level at most, beside the one at hand

template <class S>
struct WaitingNodes {
    TreeNode nodes[most_waiting];
    S measures[most_waiting];
    int count;
    TreeNode chosen;                                          // a leaf; none where it is empty
    std::int64_t whole;                                       // points of nodes that lie within every radius
    S least[largest_leaf / 32], greatest[largest_leaf / 32];  // of each warp
};

// The node of `level` above a leaf, or the leaf itself where it stands higher than that.
TK_HD TreeNode node_above(std::int64_t leaves, int level, std::int64_t leaf) {
    TreeNode node{0, 0, leaves};
    for (int l = 0; l < level && !is_leaf(node); ++l) node = leaf < middle(node) ? left_child(node) : right_child(node);
    return node;
}

template <class S, bool Maximum, int Dim>
class TreeWalk {
 public:
    // own: the leaf that is taken first, or −1.
    __device__ TreeWalk(const PointSet<S>& data, const PointSet<S>& queries, std::int64_t own, WaitingNodes<S>& waiting)
        : data_(data), w_(waiting), own_(own), leaves_(leaf_count(data.n, data.leaf)) {
        if (!in_tree()) return;
        if (threadIdx.x == 0) {
            w_.whole = 0;
            w_.nodes[0] = {0, 0, leaves_};
            w_.measures[0] = S(0);
            w_.count = 1;
            const TreeNode block = node_above(leaf_count(queries.n, queries.leaf), most_waiting, blockIdx.x);
            box_ = queries.bounds + block.index * 2 * data.dim;
        }
    }

    __device__ std::int64_t leaf() const { return leaf_.first; }
    __device__ std::int64_t leaves_taken() const { return taken_; }
    __device__ std::int64_t whole() const { return in_tree() ? w_.whole : 0; }
    __device__ std::int64_t points_of(const TreeNode& node) const {
        return minimum(node.last * data_.leaf, data_.n) - node.first * data_.leaf;
    }

    // On to the next leaf that matters to some query, of which each thread has a kth; false: there is none.
    __device__ bool next_near(S kth) {
        if (!in_tree()) return next_of_all();
        if (taken_ == 0 && own_ >= 0) return take({-1, own_, own_ + 1});
        gather(kth, kth);
        if (threadIdx.x == 0) {
            const S bound = over_warps(w_.greatest, true);
            w_.chosen = {0, 0, 0};
            while (w_.count > 0) {
                const TreeNode node = w_.nodes[--w_.count];
                if (!(w_.measures[w_.count] <= bound)) continue;
                if (!is_leaf(node)) {
                    push_children(node, bound);
                } else if (node.first != own_) {
                    w_.chosen = node;
                    break;
                }
            }
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
            const int dim = static_cast<int>(data_.dim);
            w_.chosen = {0, 0, 0};
            while (w_.count > 0) {
                const TreeNode node = w_.nodes[--w_.count];
                const S* box = box_of(node);
                if (nearest_measure<Maximum, Dim>(dim, box_, box) > largest) continue;
                if (farthest_measure<Maximum, Dim>(dim, box_, box) <= smallest) {
                    w_.whole += points_of(node);
                } else if (!is_leaf(node)) {
                    push(right_child(node), S(0));
                    push(left_child(node), S(0));
                } else {
                    w_.chosen = node;
                    break;
                }
            }
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
    __device__ std::int64_t points() const { return points_of(leaf_); }

 private:
    __device__ bool in_tree() const { return data_.bounds != nullptr; }
    __device__ bool has_box() const { return in_tree() && leaf_.index >= 0; }
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

    __device__ void push(const TreeNode& node, S s) {
        w_.nodes[w_.count] = node;
        w_.measures[w_.count++] = s;
    }
    // The nearer child on top, of two that are as near the one whose centre is.
    __device__ void push_children(const TreeNode& node, S bound) {
        const int dim = static_cast<int>(data_.dim);
        const TreeNode left = left_child(node), right = right_child(node);
        const S left_s = nearest_measure<Maximum, Dim>(dim, box_, box_of(left));
        const S right_s = nearest_measure<Maximum, Dim>(dim, box_, box_of(right));
        const bool left_first =
            left_s < right_s || (left_s == right_s && between_centres(left) <= between_centres(right));
        if ((left_first ? right_s : left_s) <= bound) push(left_first ? right : left, left_first ? right_s : left_s);
        push(left_first ? left : right, left_first ? left_s : right_s);
    }
    // Twice the distance of two boxes' centres, squared.
    __device__ S between_centres(const TreeNode& node) const {
        const S* box = box_of(node);
        const int dim = static_cast<int>(data_.dim);
        S s = 0;
        for (int axis = 0; axis < dim; ++axis) {
            const S e = (box[axis] + box[dim + axis]) - (box_[axis] + box_[dim + axis]);
            s += e * e;
        }
        return s;
    }

    const PointSet<S>& data_;
    WaitingNodes<S>& w_;
    const std::int64_t own_, leaves_;
    const S* box_ = nullptr;  // (2, dim) of the block's queries; the first thread's
    TreeNode leaf_{-1, 0, 0};
    std::int64_t taken_ = 0;
};

}  // namespace tk::cuda
