// What the neighbour kernels share: blocks of queries over threads, and the box of a block.
#pragma once

#include "../core/neighbours.hpp"
#include "schedule.hpp"

TK_BEGIN_NAMESPACE

// Whether to stop: the calling thread asks `interrupt` about every 0.05 s, the others look what it heard.
class Watch {
 public:
    explicit Watch(Interrupt interrupt) : interrupt_(interrupt), asked_(omp_get_wtime()) {}

    bool stopped() const {
        int stop;
#pragma omp atomic read
        stop = stop_;
        return stop != 0;
    }
    // To be called every 0.05 s or more often.
    bool poll(int thread) {
        if (thread == 0) {
            const double now = omp_get_wtime();
            if (now - asked_ > 0.05) {
                asked_ = now;
                if (interrupt_.requested(interrupt_.context)) {
#pragma omp atomic write
                    stop_ = 1;
                }
            }
        }
        return stopped();
    }

 private:
    Interrupt interrupt_;
    double asked_;
    int stop_ = 0;
};

// body(block, thread) for 0 … blocks − 1.
template <class Body>
inline bool for_each_block(std::int64_t blocks, int threads, Watch& watch, const Body& body) {
#pragma omp parallel num_threads(threads)
    {
        const DenormalScope kept(Denormals::kept);
        const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic)
        for (std::int64_t block = 0; block < blocks; ++block)
            if (!watch.poll(thread)) body(block, thread);
    }
    return !watch.stopped();
}

// A leaf of queries.
template <class S>
struct QueryBlock {
    const S* x;          // (dim, leaf)
    std::int64_t first;  // of its points, in the order of the leaves
    int count;

    QueryBlock(const PointSet<S>& set, std::int64_t block)
        : x(set.points + block * set.dim * set.leaf),
          first(block * set.leaf),
          count(static_cast<int>(set.n - first < set.leaf ? set.n - first : set.leaf)) {}

    // Its box to (2, dim).
    void box(int dim, std::int64_t leaf, S* out) const {
        for (int axis = 0; axis < dim; ++axis) {
            const S* values = x + axis * leaf;
            S low = values[0], high = values[0];
            for (int i = 1; i < count; ++i) {
                low = minimum(low, values[i]);
                high = maximum(high, values[i]);
            }
            out[axis] = low;
            out[dim + axis] = high;
        }
    }
};

TK_END_NAMESPACE
