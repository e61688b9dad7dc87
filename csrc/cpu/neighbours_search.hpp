// The k nearest points of each query: leaves of queries against leaves of points, nearest boxes first.
#pragma once

#include "neighbours_lists.hpp"

TK_BEGIN_NAMESPACE

// Distances alone, or with the indices of the points.
template <bool Indexed, class S>
bool neighbours_search_of(const NeighboursSearchArguments<S>&, int threads, Interrupt);

// Searches for one block of queries at a time.
template <class S, bool Maximum, int Dim, bool Indexed>
class BlockSearch {
 public:
    using V = Native<S>;
    using Ids = IntOf<V>;
    using Lists = NearestLists<S, Maximum, Indexed>;
    static constexpr int columns = 4;  // vectors of points that are measured side by side

    BlockSearch(const NeighboursSearchArguments<S>& arguments, const std::int32_t* lowest, Watch& watch, int thread,
                V* lists, Ids* ids, S* boxes)
        : a_(arguments),
          lowest_(lowest),
          watch_(watch),
          thread_(thread),
          dim_(static_cast<int>(arguments.data.dim)),
          leaf_(arguments.data.leaf),
          lists_{arguments, Lists::registers_for(arguments.k), lists, ids, kth_},
          box_(boxes),
          bound_(Lists::bound(arguments.upper, arguments.scale)) {}

    void run(std::int64_t block) {
        const QueryBlock<S> queries(a_.queries, block);
        queries_ = &queries;
        start();
        const std::int64_t own = a_.own ? block : -1;
        if (own >= 0) {
            for (int i = 0; i < queries.count; ++i) scan(i, own, true);
        }
        if (a_.data.bounds == nullptr)
            all(own);
        else if (a_.data.n > 0)
            descend(own);
        finish();
    }

    std::int64_t pairs() const { return pairs_; }

 private:
    std::int64_t row(int i) const { return a_.queries.order[queries_->first + i]; }

    bool is_heap() const { return lists_.registers == 0; }

    void start() {
        lists_.start(0, queries_->count, leaf_, bound_);
        if (is_heap())
            for (std::int64_t i = 0; i < leaf_; ++i) filled_[i] = 0;
    }

    // The index of the k-th of query i so far, with which a point as near has to compete.
    std::int64_t last_id(int i) const {
        if (!is_heap()) return lists_.last_id(i);
        return filled_[i] < a_.k ? std::numeric_limits<std::int32_t>::max() : a_.indices[row(i) * a_.k];
    }

    // Whether a node at measure s from the queries' box matters to one of them, `worst` being the largest kth: where it
    // is as near as their k-th are, only if it holds a lower index. Else n copies of a point would meet n² times.
    bool matters(S s, S worst, const TreeNode& node) const {
        if constexpr (Indexed) {
            if (s == worst) {
                for (int i = 0; i < queries_->count; ++i)
                    if (kth_[i] == s && lowest_[node.index] < last_id(i)) return true;
                return false;
            }
        }
        return Lists::matters(s, worst);
    }

    // Query i against every point of a leaf.
    void scan(int i, std::int64_t leaf, bool own = false) {
        const S* query = queries_->x + i;
        const S* points = a_.data.points + leaf * dim_ * leaf_;
        pairs_ += leaf_;
        for (std::int64_t chunk = 0; chunk < leaf_; chunk += columns * lanes<S>) {
            V s[columns];
            const auto difference = [&](int axis, int column) __attribute__((always_inline)) {
                return splat<V>(query[axis * leaf_]) - load<V>(points + axis * leaf_ + chunk + column * lanes<S>);
            };
            const auto beyond = [&](const V* partial) __attribute__((always_inline)) {
                const V kth = splat<V>(kth_[i]);
                std::uint32_t near = 0;
                for (int c = 0; c < columns; ++c) near |= less_bits<Indexed>(partial[c], kth);
                return near == 0;
            };
            measure<Maximum, Dim, columns>(dim_, difference, beyond, s);
            const V kth = splat<V>(kth_[i]);
            std::uint64_t near = 0;
            for (int c = 0; c < columns; ++c) near |= std::uint64_t{less_bits<Indexed>(s[c], kth)} << (c * lanes<S>);
            if (own && i >= chunk && i < chunk + columns * lanes<S>) near &= ~(std::uint64_t{1} << (i - chunk));
            if (near == 0) continue;
            const std::int32_t* order = a_.data.order + leaf * leaf_ + chunk;
            if constexpr (Indexed) {
                std::uint64_t nearer = 0;
                for (int c = 0; c < columns; ++c)
                    nearer |= std::uint64_t{less_bits<false>(s[c], kth)} << (c * lanes<S>);
                for (std::uint64_t ties = near & ~nearer; ties != 0; ties &= ties - 1)
                    if (order[__builtin_ctzll(ties)] > last_id(i)) near &= ~(ties & -ties);
            }
            S values[columns * lanes<S>];
            for (int c = 0; c < columns; ++c) store(values + c * lanes<S>, s[c]);
            offer(i, values, near, order);
        }
    }

    // To query i the measures at the bits of `near`, of points that `order` names.
    void offer(int i, const S* values, std::uint64_t near, const std::int32_t* order) {
        if (!is_heap()) return lists_.offer(i, values, near, order);
        for (; near != 0; near &= near - 1) {
            const int at = __builtin_ctzll(near);
            if (Lists::matters(values[at], kth_[i])) push(i, values[at], order[at]);
        }
    }

    // A long list is a heap in the row of the output.
    void push(int i, S value, std::int32_t id) {
        S* heap = a_.distances + row(i) * a_.k;
        std::int64_t* ids = Indexed ? a_.indices + row(i) * a_.k : nullptr;
        if (filled_[i] < a_.k)
            sift_up(heap, ids, filled_[i]++, value, id);
        else if (precedes<S>(value, id, heap[0], Indexed ? ids[0] : 0))
            sift_down(heap, ids, a_.k, 0, value, id);
        if (filled_[i] == a_.k && heap[0] < kth_[i]) kth_[i] = heap[0];
    }

    S worst() const {
        V worst = load<V>(kth_);
        for (std::int64_t i = lanes<S>; i < leaf_; i += lanes<S>) worst = maximum(worst, load<V>(kth_ + i));
        S values[lanes<S>];
        store(values, worst);
        for (int half = lanes<S> / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i) values[i] = maximum(values[i], values[i + half]);
        return values[0];
    }

    // The queries that a leaf's box is near enough to, against its points.
    void visit(const TreeNode& leaf, const S* box) {
        for (std::int64_t first = 0; first < queries_->count; first += lanes<S>) {
            V s;
            const auto gap = [&](int axis, int) __attribute__((always_inline)) {
                return outside(load<V>(queries_->x + axis * leaf_ + first), splat<V>(box[axis]),
                               splat<V>(box[dim_ + axis]));
            };
            measure<Maximum, Dim, 1>(dim_, gap, [](const V*) { return false; }, &s);
            const V kth = load<V>(kth_ + first);
            const std::uint32_t near = less_bits<Indexed>(s, kth),
                                ties = Indexed ? near & ~less_bits<false>(s, kth) : 0;
            for (std::uint32_t bits = near; bits != 0; bits &= bits - 1) {
                const int i = static_cast<int>(first) + __builtin_ctz(bits);
                if ((ties & bits & -bits) != 0 && lowest_[leaf.index] > last_id(i)) continue;
                scan(i, leaf.first);
            }
        }
    }

    void all(std::int64_t own) {
        const std::int64_t leaves = leaf_count(a_.data.n, leaf_);
        for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
            if (leaf % 64 == 0 && watch_.poll(thread_)) return;
            if (leaf == own) continue;
            for (int i = 0; i < queries_->count; ++i) scan(i, leaf);
        }
    }

    void descend(std::int64_t own) {
        queries_->box(dim_, leaf_, box_);
        const Boxes<S> boxes{a_.data.bounds, box_, dim_};
        S bound = worst();
        const auto near = [&](S s, const TreeNode& node) { return matters(s, bound, node); };
        WaitingNodes<S> waiting;
        waiting.start(leaf_count(a_.data.n, leaf_));
        TreeNode leaf;
        for (int visits = 1; next_near<Maximum, Dim>(boxes, own, near, waiting, leaf); ++visits) {
            if (visits % 64 == 0 && watch_.poll(thread_)) return;
            visit(leaf, boxes.of(leaf));
            bound = worst();
        }
    }

    void finish() {
        const std::int64_t k = a_.k;
        const S inverse = S(1) / a_.scale;
        for (int i = 0; i < queries_->count; ++i) {
            if (!is_heap()) {
                lists_.write(i, row(i));
                continue;
            }
            S* distances = a_.distances + row(i) * k;
            std::int64_t* indices = Indexed ? a_.indices + row(i) * k : nullptr;
            sort_heap(distances, indices, filled_[i]);
            for (std::int64_t j = 0; j < filled_[i]; ++j) distances[j] = root(distances[j]) * inverse;
            for (std::int64_t j = filled_[i]; j < k; ++j) {
                distances[j] = std::numeric_limits<S>::infinity();
                if constexpr (Indexed) indices[j] = a_.data.n;
            }
        }
    }
    static S root(S s) { return Maximum ? s : std::sqrt(s); }

    const NeighboursSearchArguments<S>& a_;
    const std::int32_t* const lowest_;  // (nodes,): the lowest index below each; Indexed alone
    Watch& watch_;
    const int thread_, dim_;
    const std::int64_t leaf_;
    const Lists lists_;
    S* const box_;  // (2, dim) of the queries
    const S bound_;
    const QueryBlock<S>* queries_ = nullptr;
    std::int64_t pairs_ = 0;
    S kth_[largest_leaf];
    std::int64_t filled_[largest_leaf];
};

// The lowest index of the points below each node, to `lowest`.
template <class S>
inline std::int32_t fill_lowest(const PointSet<S>& set, const TreeNode& node, std::int32_t* lowest) {
    std::int32_t least = std::numeric_limits<std::int32_t>::max();
    if (is_leaf(node)) {
        const std::int64_t count = points_of(set, node);
        for (std::int64_t i = 0; i < count; ++i) least = minimum(least, set.order[node.first * set.leaf + i]);
    } else {
        least = minimum(fill_lowest(set, left_child(node), lowest), fill_lowest(set, right_child(node), lowest));
    }
    return lowest[node.index] = least;
}

template <class S, bool Maximum, int Dim, bool Indexed>
static bool search_blocks(const NeighboursSearchArguments<S>& arguments, int threads, Interrupt interrupt) {
    using Search = BlockSearch<S, Maximum, Dim, Indexed>;
    const std::int64_t leaf = arguments.data.leaf, list = leaf * Search::Lists::registers_for(arguments.k),
                       box = 2 * arguments.data.dim;
    const Buffer<Native<S>> lists(threads * list);
    const Buffer<IntOf<Native<S>>> ids(Indexed ? threads * list : 0);
    const Buffer<S> boxes(threads * box);
    const bool descends = Indexed && arguments.data.bounds != nullptr && arguments.data.n > 0;
    const std::int64_t leaves = leaf_count(arguments.data.n, leaf);
    const Buffer<std::int32_t> lowest(descends ? 2 * leaves - 1 : 0);
    if (descends) fill_lowest(arguments.data, TreeNode{0, 0, leaves}, lowest.get());
    Watch watch(interrupt);
    std::int64_t pairs = 0;
    const bool finished =
        for_each_block(leaf_count(arguments.queries.n, leaf), threads, watch, [&](std::int64_t block, int thread) {
            Search search(arguments, lowest.get(), watch, thread, lists.get() + thread * list,
                          Indexed ? ids.get() + thread * list : nullptr, boxes.get() + thread * box);
            search.run(block);
            const std::int64_t measured = search.pairs();
#pragma omp atomic
            pairs += measured;
        });
    *arguments.pairs = pairs;
    return finished;
}

template <bool Indexed, class S>
bool neighbours_search_of(const NeighboursSearchArguments<S>& arguments, int threads, Interrupt interrupt) {
    return with_norm(arguments.max_norm, arguments.data.dim, [&](auto norm, auto axes) {
        return search_blocks<S, decltype(norm)::value, decltype(axes)::value, Indexed>(arguments, threads, interrupt);
    });
}

extern template bool neighbours_search_of<false>(const NeighboursSearchArguments<float>&, int, Interrupt);
extern template bool neighbours_search_of<false>(const NeighboursSearchArguments<double>&, int, Interrupt);
extern template bool neighbours_search_of<true>(const NeighboursSearchArguments<float>&, int, Interrupt);
extern template bool neighbours_search_of<true>(const NeighboursSearchArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
