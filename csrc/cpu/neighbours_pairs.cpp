// The k nearest others of each point by all pairs, each pair once for both of its points. Blocks of points meet in
// rounds, no block twice in one, so that threads never share a list; a list does not depend on who came first.
#include "neighbours_lists.hpp"

TK_BEGIN_NAMESPACE

template <class S, bool Maximum, bool Indexed>
class AllPairs {
 public:
    using V = Native<S>;
    // Points of one block against vectors of the other, side by side: as the registers allow.
    static constexpr int rows = 2, columns = register_bytes == 64 ? 4 : 2;

    AllPairs(const NeighboursSearchArguments<S>& arguments, const NearestLists<S, Maximum, Indexed>& lists)
        : a_(arguments), lists_(lists), dim_(static_cast<int>(arguments.data.dim)), leaf_(arguments.data.leaf) {}

    // All points of two blocks; of one with itself where they are the same.
    void meet(std::int64_t first, std::int64_t second) const {
        const std::int64_t count = count_of(first);
        for (std::int64_t i = 0; i < count; i += rows) {
            for (std::int64_t chunk = 0; chunk < leaf_; chunk += columns * lanes<S>) tile(first, i, second, chunk);
        }
    }

    std::int64_t count_of(std::int64_t block) const {
        const std::int64_t left = a_.data.n - block * leaf_;
        return left < leaf_ ? left : leaf_;
    }

 private:
    void tile(std::int64_t first, std::int64_t i, std::int64_t second, std::int64_t chunk) const {
        const S* one = a_.data.points + first * dim_ * leaf_ + i;
        const S* other = a_.data.points + second * dim_ * leaf_ + chunk;
        const std::int64_t here = first * leaf_ + i, there = second * leaf_ + chunk;
        const bool mutual = first != second;
        const auto difference = [&](int axis, int c) __attribute__((always_inline)) {
            return splat<V>(one[axis * leaf_ + c / columns]) - load<V>(other + axis * leaf_ + c % columns * lanes<S>);
        };
        // What a measure has to be below to matter to either of its points.
        V limits[rows * columns];
        TK_UNROLL
        for (int c = 0; c < rows * columns; ++c) {
            limits[c] = splat<V>(lists_.kth[here + c / columns]);
            if (mutual) limits[c] = maximum(limits[c], load<V>(lists_.kth + there + c % columns * lanes<S>));
        }
        const auto beyond = [&](const V* partial) __attribute__((always_inline)) {
            std::uint32_t near = 0;
            TK_UNROLL
            for (int c = 0; c < rows * columns; ++c) near |= less_bits<Indexed>(partial[c], limits[c]);
            return near == 0;
        };
        V s[rows * columns];
        measure<Maximum, 0, rows * columns>(dim_, difference, beyond, s);
        if (beyond(s)) return;
        for (int c = 0; c < rows * columns; ++c) {
            const std::int64_t query = here + c / columns, points = there + c % columns * lanes<S>;
            std::uint32_t near = less_bits<Indexed>(s[c], splat<V>(lists_.kth[query]));
            if (!mutual && query >= points && query < points + lanes<S>) near &= ~(1u << (query - points));
            S values[lanes<S>];
            store(values, s[c]);
            if (near != 0) lists_.offer(query, values, near, a_.data.order + points);
            if (!mutual || query >= a_.data.n) continue;
            near = less_bits<Indexed>(s[c], load<V>(lists_.kth + points));
            for (; near != 0; near &= near - 1) {
                const int lane = __builtin_ctz(near);
                lists_.offer(points + lane, values[lane], a_.data.order[query]);
            }
        }
    }

    const NeighboursSearchArguments<S>& a_;
    const NearestLists<S, Maximum, Indexed>& lists_;
    const int dim_;
    const std::int64_t leaf_;
};

template <class S, bool Maximum, bool Indexed>
static bool all_pairs(const NeighboursSearchArguments<S>& a, int threads, Interrupt interrupt) {
    using Lists = NearestLists<S, Maximum, Indexed>;
    const std::int64_t leaf = a.data.leaf, blocks = leaf_count(a.data.n, leaf);
    const int registers = Lists::registers_for(a.k);
    const Buffer<Native<S>> list(blocks * leaf * registers);
    const Buffer<IntOf<Native<S>>> ids(Indexed ? blocks * leaf * registers : 0);
    const Buffer<S> kth(blocks * leaf);
    const Lists lists{a, registers, list.get(), Indexed ? ids.get() : nullptr, kth.get()};
    const AllPairs<S, Maximum, Indexed> pairs(a, lists);
    const S bound = Lists::bound(a.upper, a.scale);
    *a.pairs = a.data.n * (blocks * leaf) / 2;

    // Groups of blocks that stay in cache while they meet.
    const std::int64_t share = blocks / (8 * threads), size = share < 1 ? 1 : share > 16 ? 16 : share;
    const std::int64_t groups = (blocks + size - 1) / size, seats = groups + groups % 2;
    const auto end = [&](std::int64_t group) { return minimum((group + 1) * size, blocks); };
    Watch watch(interrupt);
    bool on = for_each_block(groups, threads, watch, [&](std::int64_t group, int) {
        for (std::int64_t block = group * size; block < end(group); ++block)
            lists.start(block * leaf, pairs.count_of(block), leaf, bound);
        for (std::int64_t first = group * size; first < end(group); ++first)
            for (std::int64_t second = first; second < end(group); ++second) pairs.meet(first, second);
    });
    for (std::int64_t round = 0; on && round < seats - 1; ++round) {
        on = for_each_block(seats / 2, threads, watch, [&](std::int64_t table, int) {
            // Everyone but the last moves one seat on from round to round.
            const std::int64_t circle = seats - 1, here = (round + table) % circle;
            const std::int64_t there = table == 0 ? circle : (round - table + circle) % circle;
            if (here >= groups || there >= groups) return;
            for (std::int64_t first = here * size; first < end(here); ++first)
                for (std::int64_t second = there * size; second < end(there); ++second) pairs.meet(first, second);
        });
    }
    return on && for_each_block(blocks, threads, watch, [&](std::int64_t block, int) {
               for (std::int64_t i = block * leaf; i < block * leaf + pairs.count_of(block); ++i)
                   lists.write(i, a.data.order[i]);
           });
}

template <class S>
bool pairs(const NeighboursSearchArguments<S>& a, int threads, Interrupt interrupt) {
    const bool max_norm = a.max_norm || a.data.dim == 1, indexed = a.indices != nullptr;
    if (max_norm)
        return indexed ? all_pairs<S, true, true>(a, threads, interrupt)
                       : all_pairs<S, true, false>(a, threads, interrupt);
    return indexed ? all_pairs<S, false, true>(a, threads, interrupt)
                   : all_pairs<S, false, false>(a, threads, interrupt);
}

template bool pairs(const NeighboursSearchArguments<float>&, int, Interrupt);
template bool pairs(const NeighboursSearchArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
