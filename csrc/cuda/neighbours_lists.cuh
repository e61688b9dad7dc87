// The list of the k nearest that a thread keeps for its query: by measure, ties by index.
#pragma once

#include "../core/arguments.hpp"
#include "../core/neighbours.hpp"
#include "device.cuh"

namespace tk::cuda {

constexpr int register_list = 16;
constexpr std::int32_t last_id = std::numeric_limits<std::int32_t>::max();

// Ascending, in registers; k is at most Length, and the list's first Length − k places are held by −∞.
template <class S, int Length>
class NearestList {
 public:
    __device__ NearestList(const NeighboursSearchArguments<S>& a, std::int64_t row)
        : a_(a), row_(row), skipped_(Length - static_cast<int>(a.k)) {
        TK_UNROLL
        for (int i = 0; i < Length; ++i) {
            s_[i] = i < skipped_ ? -infinite<S> : infinite<S>;
            ids_[i] = last_id;
        }
    }

    __device__ S worst() const { return s_[Length - 1]; }

    __device__ void offer(S s, std::int32_t id) {
        TK_UNROLL
        for (int i = 0; i < Length; ++i) {
            if (precedes<S>(s, id, s_[i], ids_[i])) {
                const S later = s_[i];
                const std::int32_t later_id = ids_[i];
                s_[i] = s;
                ids_[i] = id;
                s = later;
                id = later_id;
            }
        }
    }

    template <bool Maximum>
    __device__ void write() const {
        const S inverse = S(1) / a_.scale;
        TK_UNROLL
        for (int i = 0; i < Length; ++i) {
            if (i < skipped_) continue;
            const std::int64_t at = row_ * a_.k + i - skipped_;
            a_.distances[at] = (Maximum ? s_[i] : square_root(s_[i])) * inverse;
            if (a_.indices != nullptr) a_.indices[at] = s_[i] < infinite<S> ? ids_[i] : a_.data.n;
        }
    }

 private:
    const NeighboursSearchArguments<S>& a_;
    const std::int64_t row_;
    const int skipped_;
    S s_[Length];
    std::int32_t ids_[Length];
};

// For any k, a heap in the row of the output, sorted in the end.
template <class S>
class NearestList<S, 0> {
 public:
    __device__ NearestList(const NeighboursSearchArguments<S>& a, std::int64_t row)
        : a_(a), heap_(a.distances + row * a.k), ids_(a.indices == nullptr ? nullptr : a.indices + row * a.k) {}

    __device__ S worst() const { return filled_ == a_.k ? heap_[0] : infinite<S>; }

    __device__ void offer(S s, std::int32_t id) {
        if (filled_ < a_.k)
            sift_up(heap_, ids_, filled_++, s, std::int64_t{id});
        else if (precedes<S>(s, id, heap_[0], ids_ == nullptr ? 0 : ids_[0]))
            sift_down(heap_, ids_, a_.k, 0, s, std::int64_t{id});
    }

    template <bool Maximum>
    __device__ void write() {
        const S inverse = S(1) / a_.scale;
        sort_heap(heap_, ids_, filled_);
        for (std::int64_t i = 0; i < filled_; ++i) heap_[i] = (Maximum ? heap_[i] : square_root(heap_[i])) * inverse;
        for (std::int64_t i = filled_; i < a_.k; ++i) {
            heap_[i] = infinite<S>;
            if (ids_ != nullptr) ids_[i] = a_.data.n;
        }
    }

 private:
    const NeighboursSearchArguments<S>& a_;
    S* const heap_;
    std::int64_t* const ids_;
    std::int64_t filled_ = 0;
};

}  // namespace tk::cuda
