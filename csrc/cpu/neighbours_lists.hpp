// The lists of the k nearest that queries keep, k at most largest_list.
#pragma once

#include "neighbours_blocks.hpp"

TK_BEGIN_NAMESPACE

// Lists of several queries. Without indices ties do not matter, and what equals the k-th is passed over.
template <class S, bool Maximum, bool Indexed>
struct NearestLists {
    using V = Native<S>;
    using Ids = IntOf<V>;

    static constexpr int registers_for(std::int64_t k) {
        return k > largest_list ? 0 : static_cast<int>((k + lanes<S> - 1) / lanes<S>);
    }
    // What the first measure of a list has to be below (Indexed: not above), for distances below `upper`.
    static S bound(S upper, S scale) {
        const S largest = largest_measure(upper, scale, Maximum, false);
        if constexpr (Indexed)
            return largest;
        else
            return largest < S(0) ? S(0) : std::nextafter(largest, std::numeric_limits<S>::infinity());
    }
    static bool matters(S s, S kth) { return Indexed ? s <= kth : s < kth; }

    const NeighboursSearchArguments<S>& a;
    const int registers;
    V* const lists;  // (queries, registers)
    Ids* const ids;  // the same
    S* const kth;    // (queries,): measure of the k-th so far; −1 past the end

    void start(std::int64_t first, std::int64_t count, std::int64_t capacity, S bound) const {
        for (std::int64_t i = 0; i < capacity; ++i) kth[first + i] = i < count ? bound : S(-1);
        for (std::int64_t i = first * registers; i < (first + capacity) * registers; ++i) {
            lists[i] = splat<V>(std::numeric_limits<S>::infinity());
            if constexpr (Indexed) ids[i] = Ids{} + std::numeric_limits<std::int32_t>::max();
        }
    }

    // To query i the measures at the bits of `near`, of points that `order` names.
    void offer(std::int64_t i, const S* values, std::uint64_t near, const std::int32_t* order) const {
        if (registers != 1) {
            for (; near != 0; near &= near - 1) {
                const int at = __builtin_ctzll(near);
                offer(i, values[at], order[at]);
            }
            return;
        }
        V list = lists[i];  // stays in its register
        Ids list_ids;
        if constexpr (Indexed) list_ids = ids[i];
        for (; near != 0; near &= near - 1) {
            const int at = __builtin_ctzll(near);
            if constexpr (Indexed)
                insert(&list, &list_ids, 1, values[at], order[at]);
            else
                insert(&list, 1, values[at]);
        }
        lists[i] = list;
        if constexpr (Indexed) ids[i] = list_ids;
        S smallest[lanes<S>];
        store(smallest, list);
        kth[i] = minimum(kth[i], smallest[a.k - 1]);
    }

    void offer(std::int64_t i, S value, std::int32_t id) const {
        if (!matters(value, kth[i])) return;
        V* list = lists + i * registers;
        if constexpr (Indexed)
            insert(list, ids + i * registers, registers, value, id);
        else
            insert(list, registers, value);
        const S last = list[(a.k - 1) / lanes<S>][(a.k - 1) % lanes<S>];
        kth[i] = minimum(kth[i], last);
    }

    // The index of the k-th of query i; the largest of all where there are fewer.
    typename Lane<V>::Index last_id(std::int64_t i) const {
        return ids[i * registers + (a.k - 1) / lanes<S>][(a.k - 1) % lanes<S>];
    }

    // The list of query i to a row of the output.
    void write(std::int64_t i, std::int64_t row) const {
        const S inverse = S(1) / a.scale;
        S* distances = a.distances + row * a.k;
        for (std::int64_t first = 0; first < a.k; first += lanes<S>) {
            const std::int64_t place = i * registers + first / lanes<S>;
            S values[lanes<S>];
            store(values, V((Maximum ? lists[place] : square_root(lists[place])) * inverse));
            const std::int64_t count = a.k - first < lanes<S> ? a.k - first : lanes<S>;
            for (std::int64_t j = 0; j < count; ++j) {
                distances[first + j] = values[j];
                if constexpr (Indexed)
                    a.indices[row * a.k + first + j] =
                        values[j] < std::numeric_limits<S>::infinity() ? ids[place][j] : a.data.n;
            }
        }
    }
};

TK_END_NAMESPACE
