// How many points lie within a radius of each query: leaves of queries against boxes, whole where that decides.
#include "neighbours_blocks.hpp"

TK_BEGIN_NAMESPACE

template <class S, bool Maximum, int Dim>
class BlockCount {
 public:
    using V = Native<S>;
    static constexpr int columns = 4;

    BlockCount(const NeighboursCountArguments<S>& arguments, Watch& watch, int thread, S* boxes)
        : a_(arguments),
          watch_(watch),
          thread_(thread),
          dim_(static_cast<int>(arguments.data.dim)),
          leaf_(arguments.data.leaf),
          box_(boxes) {}

    void run(std::int64_t block) {
        const QueryBlock<S> queries(a_.queries, block);
        queries_ = &queries;
        smallest_ = std::numeric_limits<S>::infinity();
        largest_ = S(-1);
        for (std::int64_t i = 0; i < leaf_; ++i) {
            counts_[i] = 0;
            limits_[i] = S(-1);
            if (i >= queries.count) continue;
            const S radius = a_.radius[a_.queries.order[queries.first + i]];
            limits_[i] = largest_measure(radius, a_.scale, Maximum, !a_.strict);
            smallest_ = minimum(smallest_, limits_[i]);
            largest_ = maximum(largest_, limits_[i]);
        }
        if (a_.data.bounds == nullptr)
            all();
        else if (a_.data.n > 0)
            descend();
        for (int i = 0; i < queries.count; ++i) a_.counts[a_.queries.order[queries.first + i]] = counts_[i];
    }

 private:
    void scan(int i, std::int64_t leaf) {
        const S* query = queries_->x + i;
        const S* points = a_.data.points + leaf * dim_ * leaf_;
        const V limit = splat<V>(limits_[i]);
        int count = 0;
        for (std::int64_t chunk = 0; chunk < leaf_; chunk += columns * lanes<S>) {
            V s[columns];
            const auto difference = [&](int axis, int column) __attribute__((always_inline)) {
                return splat<V>(query[axis * leaf_]) - load<V>(points + axis * leaf_ + chunk + column * lanes<S>);
            };
            measure<Maximum, Dim, columns>(dim_, difference, [](const V*) { return false; }, s);
            for (int c = 0; c < columns; ++c) count += __builtin_popcount(less_bits<true>(s[c], limit));
        }
        counts_[i] += count;
    }

    void all() {
        const std::int64_t leaves = leaf_count(a_.data.n, leaf_);
        for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
            if (leaf % 64 == 0 && watch_.poll(thread_)) return;
            for (int i = 0; i < queries_->count; ++i) scan(i, leaf);
        }
    }

    // A leaf: outside of a query's radius, within it whole, or point by point.
    void visit(const TreeNode& node, const S* box) {
        const int points = static_cast<int>(points_of(a_.data, node));
        for (std::int64_t first = 0; first < queries_->count; first += lanes<S>) {
            const auto at = [&](int axis)
                                __attribute__((always_inline)) { return load<V>(queries_->x + axis * leaf_ + first); };
            const auto gap = [&](int axis, int) __attribute__((always_inline)) {
                return outside(at(axis), splat<V>(box[axis]), splat<V>(box[dim_ + axis]));
            };
            const auto span = [&](int axis, int) __attribute__((always_inline)) {
                return farthest(at(axis), splat<V>(box[axis]), splat<V>(box[dim_ + axis]));
            };
            const auto whole = [](const V*) { return false; };
            const V limits = load<V>(limits_ + first);
            V near, far;
            measure<Maximum, Dim, 1>(dim_, gap, whole, &near);
            measure<Maximum, Dim, 1>(dim_, span, whole, &far);
            const std::uint32_t reached = less_bits<true>(near, limits), within = less_bits<true>(far, limits);
            for (std::uint32_t bits = within; bits != 0; bits &= bits - 1)
                counts_[first + __builtin_ctz(bits)] += points;
            for (std::uint32_t bits = reached & ~within; bits != 0; bits &= bits - 1)
                scan(static_cast<int>(first) + __builtin_ctz(bits), node.first);
        }
    }

    void descend() {
        queries_->box(dim_, leaf_, box_);
        const Boxes<S> boxes{a_.data.bounds, box_, dim_};
        const auto whole = [&](const TreeNode& node) {
            for (int i = 0; i < queries_->count; ++i) counts_[i] += points_of(a_.data, node);
        };
        WaitingNodes<S> waiting;
        waiting.start(leaf_count(a_.data.n, leaf_));
        TreeNode leaf;
        for (int visits = 1; next_within<Maximum, Dim>(boxes, smallest_, largest_, whole, waiting, leaf); ++visits) {
            if (visits % 64 == 0 && watch_.poll(thread_)) return;
            visit(leaf, boxes.of(leaf));
        }
    }

    const NeighboursCountArguments<S>& a_;
    Watch& watch_;
    const int thread_, dim_;
    const std::int64_t leaf_;
    S* const box_;  // (2, dim) of the queries
    const QueryBlock<S>* queries_ = nullptr;
    S smallest_ = 0, largest_ = 0;
    S limits_[largest_leaf];
    std::int64_t counts_[largest_leaf];
};

template <class S>
bool neighbours_count(const NeighboursCountArguments<S>& arguments, int threads, Interrupt interrupt) {
    const std::int64_t box = 2 * arguments.data.dim;
    const Buffer<S> boxes(threads * box);
    Watch watch(interrupt);
    return with_norm(arguments.max_norm, arguments.data.dim, [&](auto norm, auto axes) {
        using Count = BlockCount<S, decltype(norm)::value, decltype(axes)::value>;
        const std::int64_t blocks = leaf_count(arguments.queries.n, arguments.queries.leaf);
        return for_each_block(blocks, threads, watch, [&](std::int64_t block, int thread) {
            Count(arguments, watch, thread, boxes.get() + thread * box).run(block);
        });
    });
}

template bool neighbours_count(const NeighboursCountArguments<float>&, int, Interrupt);
template bool neighbours_count(const NeighboursCountArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
